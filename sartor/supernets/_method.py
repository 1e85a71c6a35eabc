"""What the ways of sharing weights have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture
    from sartor.training import Learner, Recipe, Step


@runtime_checkable
class Method(Protocol):
    """A way of sharing weights; a `sartor.training.Subject`.

    Made as ``Class(space, inputs, *, part=None, seed=0, **own)``: a space, example inputs of its networks, the entry
    of a dict space as for `Space.build`, the seed of the initial weights. Everything that training changes is in
    ``module`` or in the learner, as parameters or buffers, so that a checkpoint of both goes on exactly; random choices
    come from the step.

    Attributes:
        module: Weights, and logits of alternatives where there are some.
    """

    module: nn.Module

    def draw(self, step: Step) -> Iterable[tuple[Architecture | None, nn.Module]]:
        """Returns the networks of a step; their losses are averaged."""
        ...

    def recipe(self, recipe: Recipe) -> Recipe:
        """Returns the recipe with what the method needs otherwise, e.g. an optimiser of its own for the logits."""
        ...

    def learner(self, inner: Learner) -> Learner:
        """Returns what is learned beside the module: ``inner``, a task's own, or one around it."""
        ...


class SharedWeights(Protocol):
    """A module that has the weights of every architecture: `sartor.space.Supernet`, or several of them."""

    def network(self, arch: Architecture) -> nn.Module:
        """Returns the architecture's network on the weights as they are now, to be used at once."""
        ...

    def child(self, arch: Mapping[str, Any]) -> nn.Module:
        """Returns the architecture's network with a copy of its weights."""
        ...


@runtime_checkable
class Sampled(Method, Protocol):
    """A method whose weights score every architecture."""

    @property
    def weights(self) -> SharedWeights:
        """The weights that were trained."""
        ...


@runtime_checkable
class Differentiable(Method, Protocol):
    """A method that learns which alternatives to take, and derives one architecture.

    Its learner has one player more, ``architecture``, which trains the logits on rows of its own. Between steps
    ``module`` is a network: all alternatives, under the logits as they are.
    """

    def derive(self) -> Architecture:
        """Returns the best architecture under the logits as they are now."""
        ...

    def indicators(self) -> Mapping[str, float]:
        """Returns what tells whether the search collapses: ``skip_share`` at least, in 0..1, of the derived cells."""
        ...
