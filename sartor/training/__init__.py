"""The one training loop: ``fit``, with its ``Subject``, ``Learner``, ``Step``, ``Recipe`` and ``Schedule``.

``fit(subject, learner, data, recipe, total=..., seed=...)`` serves single networks, supernets, compression and
several players (a generator and its discriminator, weights and architecture logits) alike. A step is a function of
(seed, step): data order and random numbers are derived from them, so nothing of a generator or an iterator is saved
and continued, resumed and uninterrupted trainings end bit-equal on one machine.

``recipe`` and ``schedule`` need no torch; the other names load it when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.training.recipe import Recipe
from sartor.training.schedule import Schedule

if TYPE_CHECKING:
    from sartor.training._fit import fit
    from sartor.training.learner import Learner, to_device
    from sartor.training.state import TrainingState
    from sartor.training.step import Step
    from sartor.training.subject import Single, Subject

_HOME = {
    "fit": "sartor.training._fit",
    "Learner": "sartor.training.learner",
    "to_device": "sartor.training.learner",
    "TrainingState": "sartor.training.state",
    "Step": "sartor.training.step",
    "Single": "sartor.training.subject",
    "Subject": "sartor.training.subject",
}

__all__ = ["Learner", "Recipe", "Schedule", "Single", "Step", "Subject", "TrainingState", "fit", "to_device"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sartor.training' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
