"""x"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.registry import TaskSpec

if TYPE_CHECKING:
    from sartor.tasks.control.task import Control

__all__ = ["SPEC", "Control"]

SPEC = TaskSpec(
    "control",
    "sartor.tasks.control.task:Control",
    summary="act in an environment of gymnasium: policies by imitation or by reinforcement",
    extra="control",
    citation="Lechner et al. 2020, Nature Machine Intelligence 2, 642-652",
    options="sartor.tasks.control.options:Options",
    sources=("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"),
)


def __getattr__(name: str) -> Any:
    # The task needs torch, listing tasks must not load it.
    if name != "Control":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sartor.tasks.control.task import Control

    return Control
