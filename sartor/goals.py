"""What is wanted (objectives) and what must hold (limits). No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sartor.errors import InputError, near
from sartor.trials import Trial
from sartor.units import canonical, format_figure, of_device, parse_figure

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Objective:
    """A metric or cost to maximise or minimise."""

    name: str
    direction: Direction = "max"

    def loss(self, value: float) -> float:
        """Returns ``value`` oriented so that smaller is better."""
        return -value if self.direction == "max" else value


@dataclass(frozen=True)
class Limit:
    """An upper bound that a cost figure must not exceed, in the figure's canonical unit."""

    name: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Reads ``latency=1ms``, ``latency<=1ms`` or ``params=200k``; of one of several devices ``latency@pi=30ms``."""
        match = re.fullmatch(r"\s*([A-Za-z_]+(?:@[\w.-]+)?)\s*(?:<=|=|:)\s*(\S.*?)\s*", text)
        if not match:
            raise InputError(f"expected a limit such as latency=1ms or params=200k, got {text!r}")
        name = canonical(match[1])
        return cls(name, parse_figure(name, match[2]))

    def excess(self, value: float) -> float:
        """Returns 0 when ``value`` meets the limit, else how far beyond it is, relative to the bound."""
        if math.isnan(value):
            return math.inf
        return max(0.0, value / self.bound - 1.0)

    def __str__(self) -> str:
        return f"{self.name} <= {format_figure(self.name, self.bound)}"


@dataclass(frozen=True)
class Goals:
    """Objectives, the primary first, and limits: all that a strategy knows of what is good."""

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        if not self.objectives:
            raise InputError("expected at least one objective")
        names = [objective.name for objective in self.objectives]
        if len(set(names)) < len(names):
            raise InputError(f"an objective is named twice: {names}")

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Goals:
        """Returns the goals of a recorded run, by its configuration."""
        return cls(
            tuple(Objective(name, direction) for name, direction in config["objectives"]),
            tuple(Limit(name, bound) for name, bound in config["limits"]),
        )

    @property
    def primary(self) -> Objective:
        return self.objectives[0]

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that costs to trade are of, where there are several (``latency_ms@pi``)."""
        found = [of_device(objective.name)[1] for objective in self.objectives]
        return tuple(dict.fromkeys(device for device in found if device is not None))

    def on(self, device: str) -> Goals:
        """Returns the objectives of one device, and those of none; all limits still hold.

        Raises:
            InputError: no objective is of that device.
        """
        if device not in self.devices:
            raise InputError(f"no objective is a figure of a device {device!r}{near(device, self.devices)}")
        kept = tuple(o for o in self.objectives if of_device(o.name)[1] in (None, device))
        return Goals(kept, self.limits)

    def losses(self, trial: Trial) -> np.ndarray:
        """Returns the objectives of a complete trial, smaller is better, as float64 of shape ``(num_objectives,)``."""
        values = trial.values
        missing = [o.name for o in self.objectives if o.name not in values]
        if missing:
            raise InputError(f"trial {trial.number} has no {missing[0]!r}; it has {sorted(values)}")
        return np.array([o.loss(values[o.name]) for o in self.objectives], dtype=np.float64)

    def excess(self, values: Mapping[str, float]) -> float:
        """Returns the summed relative excess over the limits that ``values`` knows; 0 when all hold."""
        return float(sum(limit.excess(values[limit.name]) for limit in self.limits if limit.name in values))

    def broken(self, values: Mapping[str, float]) -> list[Limit]:
        """Returns the limits that the known values break."""
        return [limit for limit in self.limits if limit.name in values and limit.excess(values[limit.name]) > 0]


def default_goals(metric: str, direction: Direction, limits: Sequence[Limit], extra: Sequence[str] = ()) -> Goals:
    """Returns the metric against the first limited cost (latency when none is limited), and further costs if named."""
    costs = [canonical(name) for name in extra] or [limits[0].name if limits else "latency_ms"]
    return Goals((Objective(metric, direction), *(Objective(cost, "min") for cost in costs)), tuple(limits))
