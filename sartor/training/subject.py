"""What is trained: one network, or the networks that a step draws from a supernet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import nn

from sartor.training.step import Step

if TYPE_CHECKING:
    from sartor.space import Architecture


@runtime_checkable
class Subject(Protocol):
    """What owns the weights, and which networks of it a step uses.

    Attributes:
        module: All weights and buffers: what is optimised, averaged and saved.
    """

    module: nn.Module

    def draw(self, step: Step) -> Iterable[tuple[Architecture | None, nn.Module]]:
        """Returns the networks of this step; their losses are averaged. Random choices come from ``step``."""
        ...


class Single:
    """One network."""

    def __init__(self, module: nn.Module, architecture: Architecture | None = None) -> None:
        self.module, self.architecture = module, architecture

    def draw(self, step: Step) -> Iterable[tuple[Architecture | None, nn.Module]]:
        return ((self.architecture, self.module),)
