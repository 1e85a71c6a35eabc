"""The search space: choices in an ordinary tree of partials, compiled into a finite-domain constraint network.

    from functools import partial
    from sartor.space import OneOf, Repeat, Shared, Space

    width = Shared("width", OneOf(16, 24, 32))
    space = Space(partial(Chain, 3, blocks=[
        partial(MBConv, out_channels=width, kernel=OneOf(3, 5, 7), stride=2),
        Repeat(OneOf(partial(MBConv, out_channels=width, expand=OneOf(3, 6)), skip=partial(nn.Identity)),
               times=OneOf(1, 2, 3)),
    ]))
    architecture = space.sample(rng)
    network = space.build(architecture)

Any class or function becomes searchable without being changed. Conditional choices are nesting; one choice in many
places is `Shared`; a value computed from shared choices is `Derived`. Keys are argument paths: ``blocks.0.kernel``; a
shared choice's key is its name. Counting, sampling, varying, encoding and printing build nothing and load no torch.

One definition, several readings: ``space.build(architecture)`` is a stand-alone network, ``space.supernet()`` a store
of weights on windows of which every architecture runs (`Supernet`), ``space.mixture(example_inputs)`` the continuous
relaxation (`Mixture`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.space._architecture import Architecture
from sartor.space._graph import Graph
from sartor.space._nodes import (
    Derived,
    Factory,
    FloatRange,
    IntRange,
    OneOf,
    Permutation,
    Repeat,
    Shared,
    Subset,
)
from sartor.space._space import CountEstimate, Space

if TYPE_CHECKING:
    from sartor.space._mixture import Mixture as Mixture
    from sartor.space._supernet import Supernet as Supernet

_HOME = {"Mixture": "sartor.space._mixture", "Supernet": "sartor.space._supernet"}
"""What loads torch, and so is imported when first asked for, and not by ``import *``."""

__all__ = [
    "Architecture",
    "CountEstimate",
    "Derived",
    "FloatRange",
    "IntRange",
    "OneOf",
    "Permutation",
    "Factory",
    "Graph",
    "Repeat",
    "Shared",
    "Space",
    "Subset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sartor.space' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
