"""The contract of a task: what a network is for. Subclass ``Task``, give data, space, loss and metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sartor.data import Splits
from sartor.errors import InputError, near
from sartor.goals import Direction
from sartor.pictures import Picture
from sartor.registry import importable
from sartor.training.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sartor.space import Architecture, Space
    from sartor.training import Learner, Step

Predictions = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A figure of merit: a function of predictions, never of a network.

    Attributes:
        function: Of the predictions.
        direction: Whether more is better.
        unit: Of the figure.
        each: Its share of each example, ``(n,)``: the figure is their mean, or grows with it. With it two networks are
            compared example by example, which tells a difference from chance.
    """

    function: Callable[[Predictions], float]
    direction: Direction = "max"
    unit: str = ""
    each: Callable[[Predictions], np.ndarray] | None = None

    def gain(self, of: Predictions, over: Predictions) -> tuple[float, float]:
        """Returns by how much some predictions are better than others of the same examples, and its standard error.

        In the unit of ``each``; the error is that of a mean of paired differences.

        Raises:
            InputError: the metric has no ``each``.
        """
        if self.each is None:
            raise InputError("expected a metric with `each`, by which examples are compared")
        better = self.each(of).astype(np.float64) - self.each(over)
        if self.direction == "min":
            better = -better
        return float(better.mean()), float(better.std(ddof=1) / np.sqrt(len(better))) if len(better) > 1 else np.inf


class Task:
    """What the network is for, bound to its data.

    A subclass gives ``data``, ``space``, ``metrics``, ``example_inputs``, ``predict`` and either ``loss`` (enough for
    most) or ``learner``. Everything else has a default. A task is rebuilt in worker processes from its class, its
    source and its options, so these must be importable and JSON-able.

    Attributes:
        Options: A frozen dataclass of annotated fields; the command line is made from it.
        recipe: How its networks are trained; ``recipe.*`` choices of an architecture override fields.
        metrics: Name -> metric; the first is primary.
        missing_values: Whether NaN stands for a missing value in what networks are given, and is no mistake.
    """

    @dataclass(frozen=True)
    class Options:
        """No options."""

    recipe: Recipe = Recipe()
    metrics: Mapping[str, Metric]
    default_epochs: ClassVar[float] = 30.0
    missing_values: ClassVar[bool] = False

    def __init__(self, source: str | None = None, **options: Any) -> None:
        known = {field.name for field in dataclasses.fields(self.Options)}
        for name in options:
            if name not in known:
                raise InputError(f"{type(self).__name__} has no option {name!r}{near(name, known)}")
        self.source = source
        self.options: Any = self.Options(**options)
        self._space: Space | None = None

    # --- what a subclass gives

    def data(self) -> Splits:
        """Returns the splits; the same for the same source and options, whoever asks."""
        raise NotImplementedError

    def space(self) -> Space:
        """Returns the default search space; its ``network`` entry (or the whole) builds the network."""
        raise NotImplementedError

    def baseline(self) -> Architecture:
        """Returns the hand-designed architecture that a search must beat; an element of ``space()``."""
        raise NotImplementedError

    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        """Returns a scalar to minimise."""
        raise NotImplementedError

    def predict(self, deployed: nn.Module, part: Any) -> Predictions:
        """Returns all that metrics and pictures read, as numpy arrays; called once with the network in eval mode."""
        raise NotImplementedError

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[torch.Tensor, ...]:
        """Returns inputs of the deployed network with the shapes and dtypes it is used with."""
        raise NotImplementedError

    # --- defaults

    def learner(self, architecture: Architecture) -> Learner:
        """Returns all that learns or remembers beside the network; the default wraps ``loss``."""
        from sartor.training import Learner

        return Learner(self.loss)

    def build(self, space: Space, architecture: Architecture) -> nn.Module:
        """Returns the stand-alone network of an architecture of ``space`` (by default ``space()``)."""
        network: nn.Module = space.build(architecture)
        return network

    def deploy(self, network: nn.Module, architecture: Architecture) -> nn.Module:
        """Returns what is exported, measured and evaluated: the network with its preprocessing."""
        return network

    def preparation(self) -> str:
        """Returns in a sentence what a network is given and expected to answer, for a person who brings a trained one.

        Empty where a network is given the data as they are.
        """
        return ""

    def recipe_for(self, architecture: Architecture) -> Recipe:
        """Returns the recipe with the architecture's own ``recipe.*`` choices put in."""
        own = {key.removeprefix("recipe."): value for key, value in architecture.items() if key.startswith("recipe.")}
        return dataclasses.replace(self.recipe, **own) if own else self.recipe

    def describe(self) -> dict[str, Any]:
        """Returns what an exported file must carry to be used: JSON-able (class names, preprocessing, input shape)."""
        return {}

    def show(self, predictions: Predictions) -> Sequence[Picture]:
        """Returns pictures of the output for the report."""
        return ()

    def inspect(self, deployed: nn.Module) -> Sequence[Picture]:
        """Returns pictures of what a trained network has learnt, whatever it is used on, for the report.

        Args:
            deployed: What ``deploy`` made of it, in eval mode; gradients are off.
        """
        return ()

    def explain(self, deployed: nn.Module, row: int, source: str | None = None) -> Sequence[Picture]:
        """Returns why a trained network says what it says of one example.

        Args:
            deployed: As for ``inspect``.
            row: Number of the example in the data, from 1.
            source: Other data than the task's own.

        Raises:
            InputError: networks of this task cannot be explained so; there is no such example.
        """
        raise InputError(
            f"the task {type(self).__name__.lower()} explains no single predictions: without --row, the choices of the"
            " search are explained"
        )

    @property
    def primary(self) -> str:
        return next(iter(self.metrics))

    def reference(self) -> dict[str, Any]:
        """Returns JSON from which ``sartor.engine.open_task`` makes an equal task in another process."""
        kind = type(self)
        return {
            "class": importable(f"{kind.__module__}:{kind.__qualname__}"),
            "source": self.source,
            "options": dataclasses.asdict(self.options),
        }
