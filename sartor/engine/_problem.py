"""What is evaluated, as importable names and JSON: rebuilt equal in the parent and in every worker."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sartor.engine._references import check_reachable
from sartor.errors import InputError
from sartor.goals import Limit
from sartor.registry import importable, located, resolve
from sartor.trials import Fidelity

if TYPE_CHECKING:
    from sartor.contracts import Device, Estimator
    from sartor.space import Space
    from sartor.task import Task

DeviceReference = str | tuple[str, Mapping[str, Any]]
"""``module:Class``, or that and the keyword options it is made with."""


def open_task(reference: Mapping[str, Any]) -> Task:
    """Returns the task of ``Task.reference()``, made anew; modules of the working directory count.

    Raises:
        InputError: its class cannot be found.
    """
    target = importable(str(reference["class"]))
    make = located(target, "the task", "it where it was when it was used first: in the working directory, or installed")
    task: Task = make(reference["source"], **reference["options"])
    return task


@dataclass(frozen=True)
class Problem:
    """Task, space, devices, limits and estimator by name.

    Attributes:
        task: ``Task.reference()``.
        devices: In the order they are asked; cheap and exact ones first.
        estimator: ``module:Class``, made as ``Class(task, space, splits, fidelities, **estimator_options)``; its
            splits have no test part.
        estimator_options: JSON.
        fidelities: Of the estimator, ascending.
        limits: An architecture that breaks one is not estimated.
        space: ``module:function`` that returns the space, or None for the task's own.
    """

    task: Mapping[str, Any]
    devices: tuple[DeviceReference, ...] = ()
    estimator: str = "sartor.estimators.training:Training"
    estimator_options: Mapping[str, Any] = field(default_factory=dict)
    fidelities: tuple[Fidelity, ...] = (Fidelity(1.0),)
    limits: tuple[Limit, ...] = ()
    space: str | None = None

    def to_json(self) -> str:
        """Returns JSON with every name importable by another process.

        Raises:
            InputError: an option is not JSON.
        """
        value = {
            "task": {**self.task, "class": importable(str(self.task["class"]))},
            "devices": [
                [importable(device), {}] if isinstance(device, str) else [importable(device[0]), dict(device[1])]
                for device in self.devices
            ],
            "estimator": importable(self.estimator),
            "estimator_options": dict(self.estimator_options),
            "fidelities": [[fidelity.amount, fidelity.unit] for fidelity in self.fidelities],
            "limits": [[limit.name, limit.bound] for limit in self.limits],
            "space": None if self.space is None else importable(self.space),
        }
        try:
            return json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"options of tasks, devices and estimators must be JSON, to be made again in workers: {error}"
            ) from error

    @classmethod
    def from_json(cls, text: str) -> Problem:
        value = json.loads(text)
        return cls(
            task=value["task"],
            devices=tuple((target, options) for target, options in value["devices"]),
            estimator=value["estimator"],
            estimator_options=value["estimator_options"],
            fidelities=tuple(Fidelity(amount, unit) for amount, unit in value["fidelities"]),
            limits=tuple(Limit(name, bound) for name, bound in value["limits"]),
            space=value["space"],
        )

    def check_reachable(self) -> None:
        """Raises when worker processes could not load a part.

        Raises:
            InputError: a part is defined in a notebook, on standard input or inside a function.
        """
        value = json.loads(self.to_json())
        targets = [value["task"]["class"], value["estimator"], *(target for target, _ in value["devices"])]
        for target in [*targets, *([value["space"]] if value["space"] else [])]:
            check_reachable(target)

    def open(self) -> OpenedProblem:
        """Makes every part.

        Raises:
            InputError: a part cannot be found or made; or what the task, its data or the estimator raise.
        """
        task = open_task(self.task)
        space = task.space() if self.space is None else resolve(importable(self.space))()
        devices = []
        for reference in self.devices:
            target, options = (reference, {}) if isinstance(reference, str) else reference
            device = resolve(importable(target))(**options)
            if device.needs == "trained":
                raise InputError(f"device {device.name!r} needs a trained network; limits are checked before training")
            key = device.name + (json.dumps(dict(options), sort_keys=True) if options else "")
            devices.append((key, device))
        # The test part stays out of reach of whatever is searched.
        splits = dataclasses.replace(task.data(), test=None)
        make = resolve(importable(self.estimator))
        estimator = make(task, space, splits, self.fidelities, **self.estimator_options)
        return OpenedProblem(task, space, tuple(devices), estimator, self.limits)


@dataclass(frozen=True)
class OpenedProblem:
    """The parts of a problem, made.

    Attributes:
        devices: With the keys under which the record keeps their figures: the name, and options if any.
    """

    task: Task
    space: Space
    devices: tuple[tuple[str, Device], ...]
    estimator: Estimator
    limits: tuple[Limit, ...]
