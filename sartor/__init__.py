"""Sartor finds the right neural network for your data and your device.

    import sartor

    task = sartor.load_task("images", "path/to/folder-per-class")
    front = sartor.search(task, limits=["latency=1ms", "params=200k"], budget="10m")
    print(front)

Names are loaded when first used: importing this package loads neither torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "sartor.space": (
        "Architecture",
        "Derived",
        "FloatRange",
        "IntRange",
        "OneOf",
        "Permutation",
        "Factory",
        "Repeat",
        "Shared",
        "Space",
        "Subset",
    ),
    "sartor.trials": ("Fidelity", "Figure", "Proposal", "Trial"),
    "sartor.goals": ("Goals", "Limit", "Objective"),
    "sartor.data": ("Rows", "Sealed", "Splits"),
    "sartor.task": ("Metric", "Task"),
    "sartor.registry": ("Spec", "TaskSpec"),
    "sartor.contracts": ("Candidate", "Context", "Device", "Estimator", "Strategy"),
    "sartor.front": ("Front",),
    "sartor.errors": ("SartorError",),
    "sartor.runs": ("Record",),
    "sartor._search": ("load_task", "search", "train"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Architecture",
    "Candidate",
    "Context",
    "Derived",
    "Device",
    "Estimator",
    "Fidelity",
    "Figure",
    "FloatRange",
    "Front",
    "Goals",
    "IntRange",
    "Limit",
    "Metric",
    "Objective",
    "OneOf",
    "Permutation",
    "Proposal",
    "Factory",
    "Record",
    "Repeat",
    "Rows",
    "SartorError",
    "Sealed",
    "Shared",
    "Space",
    "Spec",
    "Splits",
    "Strategy",
    "Subset",
    "Task",
    "TaskSpec",
    "Trial",
    "load_task",
    "search",
    "train",
]

if TYPE_CHECKING:
    from sartor._search import load_task, search, train
    from sartor.contracts import Candidate, Context, Device, Estimator, Strategy
    from sartor.data import Rows, Sealed, Splits
    from sartor.errors import SartorError
    from sartor.front import Front
    from sartor.goals import Goals, Limit, Objective
    from sartor.registry import Spec, TaskSpec
    from sartor.runs import Record
    from sartor.space import (
        Architecture,
        Derived,
        Factory,
        FloatRange,
        IntRange,
        OneOf,
        Permutation,
        Repeat,
        Shared,
        Space,
        Subset,
    )
    from sartor.task import Metric, Task
    from sartor.trials import Fidelity, Figure, Proposal, Trial


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'sartor' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_MODULE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
