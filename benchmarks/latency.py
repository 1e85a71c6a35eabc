"""How far measured latency and counted costs can be trusted, and what they cost.

    python benchmarks/latency.py            # about 4 minutes
    python benchmarks/latency.py --quick    # within a minute

Claims of ``sartor.devices.cpu`` and ``sartor.devices.counts`` that this reproduces: the spread of ``latency_ms`` over
repeated sessions, on the machine as it is, beside a process that keeps a core busy, and beside one that trains and
gives way; the agreement of both ONNX exporters; the time that a candidate takes. The first column is only what it
says when nothing else runs: ``others`` is how many cores were busy with something else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from sartor._environment import environment
from sartor.devices.counts import Counts
from sartor.devices.cpu import CpuLatency
from sartor.devices.runtimes.onnxruntime import FEATURE
from sartor.export import onnx as exporters
from sartor.export._ort import session
from sartor.spaces.mbconv import mbconv

SEED = 0
BUSY = """
import torch
from sartor._quiet import give_way
torch.set_num_threads(1)
layer, images = torch.nn.Conv2d(32, 32, 3), torch.randn(16, 32, 32, 32)
while True:
    {give_way}
    layer(images).sum().backward()
"""


@contextmanager
def beside(code: str) -> Iterator[None]:
    """Runs a process while measuring."""
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    time.sleep(5)  # torch's import
    try:
        yield
    finally:
        process.kill()
        process.wait()


def networks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    """Returns three networks of the ready-made space: the 10th, 50th and 90th of a hundred by multiply-accumulates."""
    torch.manual_seed(SEED)
    space, inputs, device = mbconv(1, 10, 28), (torch.rand(1, 1, 28, 28),), Counts()
    built = [space.build(architecture).eval() for architecture in space.sample(np.random.default_rng(SEED), 100)]
    built.sort(key=lambda module: device.count(module, inputs)["macs"].value)
    return {name: (built[i], inputs) for name, i in (("small", 10), ("medium", 50), ("large", 90))}


def sessions(module: nn.Module, inputs: tuple[torch.Tensor, ...], count: int) -> tuple[np.ndarray, list[str], float]:
    """Returns latencies in ms of ``count`` sessions, their notes, and seconds a session."""
    begin = time.perf_counter()
    figures = [CpuLatency().measure(module, inputs)["latency_ms"] for _ in range(count)]
    seconds = (time.perf_counter() - begin) / count
    return np.array([figure.value for figure in figures]), [f.note for f in figures if f.note], seconds


def runtime_ms(model: bytes, feeds: dict[str, np.ndarray]) -> float:
    runtime, runs = session(model, FEATURE), []
    for _ in range(10):
        runtime.run(None, feeds)
    until = time.perf_counter() + 0.1
    while time.perf_counter() < until:
        begin = time.perf_counter()
        runtime.run(None, feeds)
        runs.append(time.perf_counter() - begin)
    return float(np.percentile(runs, 10) * 1e3)


def compare_exporters(module: nn.Module, inputs: tuple[torch.Tensor, ...], rounds: int) -> dict[str, float]:
    """Returns latency of what the modern exporter makes over the fast one's (minimum of alternating rounds)."""
    begin = time.perf_counter()
    fast, name = exporters.convert_to_measure(module, inputs, FEATURE)
    middle = time.perf_counter()
    modern = exporters._convert(module, inputs, dynamic=False).SerializeToString()
    end = time.perf_counter()
    assert name == "torchscript", name
    feeds = {"input": inputs[0].numpy()}
    pairs = np.array([[runtime_ms(fast, feeds), runtime_ms(modern, feeds)] for _ in range(rounds)])
    return {"ratio": float(pairs[:, 1].min() / pairs[:, 0].min()), "fast_s": middle - begin, "modern_s": end - middle}


def count_ms(number: int) -> tuple[float, float]:
    """Returns the median milliseconds of the processor to count a candidate: shapes met anew, and met before."""
    space, inputs, device = mbconv(1, 10, 28), (torch.rand(1, 1, 28, 28),), Counts()
    built = [space.build(architecture).eval() for architecture in space.sample(np.random.default_rng(SEED), number)]
    device.count(built[0], inputs)  # imports
    passes = []
    for _ in range(2):
        spent = []
        for module in built[1:]:
            begin = time.thread_time()
            device.count(module, inputs)
            spent.append((time.thread_time() - begin) * 1e3)
        passes.append(float(np.median(spent)))
    return passes[0], passes[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one network, 3 sessions")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(json.dumps(environment()))
    others = psutil.cpu_percent(1.0) / 100 * (os.cpu_count() or 1)
    print(f"others: {others:.2f} cores busy; batch 1, one thread, float32, seed {SEED}")
    chosen = dict(list(networks().items())[1:2]) if quick else networks()
    num_sessions = 3 if quick else 10
    found: dict[str, Any] = {"others_cores": round(others, 2), "sessions": num_sessions}
    modes = {
        "as it is": None,
        "beside a busy core": BUSY.format(give_way="pass"),
        "beside a training that gives way": BUSY.format(give_way="give_way()"),
    }
    reference: dict[str, float] = {}
    worst = dict.fromkeys(modes, 0.0)
    for mode, code in modes.items():
        for name, (module, inputs) in chosen.items():
            if code is None:
                values, notes, seconds = sessions(module, inputs, num_sessions)
                reference[name] = float(values.min())
            else:
                with beside(code):
                    values, notes, seconds = sessions(module, inputs, num_sessions)
            off = float(np.abs(values / reference[name] - 1).max())
            worst[mode] = max(worst[mode], off)
            print(
                f"{mode:34} {name:7} {np.median(values):.4f} ms, {values.min():.4f} to {values.max():.4f}, at most"
                f" {off:.1%} off the least, {len(notes)} of {num_sessions} said to be busy, {seconds:.2f} s a candidate"
            )
            found[f"seconds_per_candidate ({mode})"] = round(seconds, 3)
    found |= {f"largest_deviation ({mode})": round(value, 4) for mode, value in worst.items()}
    compared = [compare_exporters(module, inputs, 3 if quick else 10) for module, inputs in chosen.values()]
    for name, one in zip(chosen, compared, strict=True):
        times = f"{one['modern_s']:.2f} s against {one['fast_s']:.2f} s to export"
        print(f"exporters {name:7} modern over fast: latency {one['ratio']:.3f}, {times}")
    found["exporter_latency_ratio"] = [round(one["ratio"], 4) for one in compared]
    new, known = count_ms(10 if quick else 40)
    found |= {"counts_ms_new_shapes": round(new, 2), "counts_ms_known_shapes": round(known, 2)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
