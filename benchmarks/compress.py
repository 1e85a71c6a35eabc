"""Compression: pruning, zeros, teachers, fewer bits, caches; one part a file, peers beside.

    python benchmarks/compress.py --quick                         # minutes: shows that all runs; decides nothing
    python benchmarks/compress.py                                 # hours on one core
    python benchmarks/compress.py --parts structured cache        # some of them

Each part is a file ``benchmarks/_compress_PART.py`` that runs alone too, says what is measured and how, and keeps its
``RESULTS``, negative ones included. Torch-Pruning 1.6.1, the peer of structured pruning, is used where it is installed.
The last line is one JSON object of the figures of all parts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Behind everything else: a file here is called encodings, as a package of the standard library is.
sys.path.append(str(Path(__file__).parent))

from sartor._environment import environment

PARTS = tuple(sorted(path.stem.removeprefix("_compress_") for path in Path(__file__).parent.glob("_compress_*.py")
                     if "\ndef run(" in path.read_text(encoding="utf-8")))  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="short trainings; decides nothing")
    arguments = parser.parse_args()
    print(json.dumps(environment()))
    figures: dict[str, float] = {}
    for part in arguments.parts:
        print(f"{part}:", flush=True)
        figures |= importlib.import_module(f"_compress_{part}").run(arguments.quick)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
