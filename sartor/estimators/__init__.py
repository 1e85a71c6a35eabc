"""Performance estimation: architecture, fidelity and seed to metrics of the validation part.

``Training`` trains to a fidelity; ``predicted_work`` says what that takes and needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.estimators.work import predicted_work

if TYPE_CHECKING:
    from sartor.estimators.training import Training, evaluate, steps_for

__all__ = ["Training", "evaluate", "predicted_work", "steps_for"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sartor.estimators' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module("sartor.estimators.training"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
