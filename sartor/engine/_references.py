"""Parts by importable names, so that another process can find them; classes of a script by the script's file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from sartor.errors import InputError
from sartor.registry import resolve


def _main_file() -> Path | None:
    """Returns the file of the script that runs as ``__main__``, or None in a notebook, at a prompt, with ``-c``."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).resolve() if file and Path(file).is_file() else None


def importable(target: str) -> str:
    """Returns a name for ``target`` that other processes can load.

    ``__main__:Net`` becomes ``package.module:Net`` when started with ``-m``, else ``/path/of/script.py:Net``; where
    neither exists (a notebook, standard input) it stays.
    """
    module, _, attribute = target.rpartition(":")
    if module != "__main__":
        return target
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return f"{spec.name}:{attribute}"
    file = _main_file()
    return target if file is None else f"{file}:{attribute}"


def check_reachable(target: str) -> None:
    """Raises when a worker process could not load ``target``.

    Raises:
        InputError: it is defined in a notebook, on standard input or inside a function.
    """
    module, _, attribute = target.rpartition(":")
    name = attribute.rpartition(".")[2]
    if "<locals>" in attribute:
        where = "inside a function"
    elif module == "__main__":
        where = "in a notebook or on standard input"
    else:
        return
    raise InputError(
        f"{name} is defined {where}, where worker processes cannot find it: put it at the top of a file of its own, "
        "or use workers=0 to run everything in this process"
    )


def load_target(target: str) -> Any:
    """Imports and returns ``package.module:attribute`` or ``/path/of/script.py:attribute``.

    A script is run once under another name than ``__main__``, so what it guards by ``if __name__ == "__main__":`` is
    not started; in the process where it is the main script it is not run again.

    Raises:
        InputError: no such file or attribute.
    """
    module, _, attribute = target.rpartition(":")
    if not module.endswith(".py"):
        return resolve(target)
    path = Path(module)
    if path == _main_file():
        loaded = sys.modules["__main__"]
    else:
        name = f"sartor_script_{path.stem}_{hashlib.sha256(module.encode()).hexdigest()[:8]}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None or not path.is_file():
                raise InputError(f"expected a Python script, found none at {module}: {attribute} was defined there")
            # Known before it runs, as dataclasses and pickle look their module up.
            sys.modules[name] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(sys.modules[name])
            except BaseException:
                del sys.modules[name]
                raise
        loaded = sys.modules[name]
    value: Any = loaded
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise InputError(f"{module} has no {attribute}")
        value = getattr(value, part)
    return value
