"""What an engine says while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sartor.trials import Figure, Trial


@dataclass(frozen=True)
class Started:
    """A worker begins a trial, or goes on with it from its checkpoint."""

    trial: Trial


@dataclass(frozen=True)
class Progress:
    """The latest of a trial's series."""

    trial: Trial
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Costs:
    """A device counted or measured a trial's architecture; not said when the figures were known already."""

    trial: Trial
    device: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Finished:
    """A trial ended ``complete`` or ``infeasible``, and is in the record."""

    trial: Trial


@dataclass(frozen=True)
class Failed:
    """A trial ended ``failed``, and is in the record; the traceback is in ``<number>.log``."""

    trial: Trial


@dataclass(frozen=True)
class Lost:
    """The worker of a trial died; the trial is tried again unless this was its last attempt (then ``Failed`` follows).

    Attributes:
        reason: How the worker died.
        again: Whether it is tried again.
    """

    trial: Trial
    reason: str
    again: bool


Event = Started | Progress | Costs | Finished | Failed | Lost
