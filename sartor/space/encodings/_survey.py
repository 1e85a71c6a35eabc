"""What the graphs of a space are made of: all of them where they are few, else a sample that is always the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sartor.space import Architecture, Graph, Space
from sartor.space.encodings._isomorphism import contracted

MAX_LISTED = 20_000
"""Spaces of up to so many architectures are listed."""
_NUM_SAMPLED = 2_000
_NUM_GROWN = 200
"""Mutations in search of the largest graph."""


@dataclass(frozen=True)
class Survey:
    """Attributes:
    graphs: Different ones, without what lies on no path from input to output, in order of appearance.
    complete: Whether these are all graphs of the space.
    """

    graphs: tuple[Graph, ...]
    complete: bool


def graphs_of(space: Space, architectures: Iterable[Architecture], contract: bool = False) -> list[Graph]:
    """Returns the graph of each, without what lies on no path from input to output, skips contracted if wanted."""
    graphs = [space.graph(architecture) for architecture in architectures]
    made: dict[Graph, Graph] = {}
    for graph in graphs:
        if graph not in made:
            live = graph.live()
            made[graph] = contracted(live) if contract else live
    return [made[graph] for graph in graphs]


def drawn(space: Space, rng: np.random.Generator, num: int) -> list[Architecture]:
    """Returns architectures, half uniform over architectures and half over each choice: large and small ones."""
    return [*space.sample(rng, num - num // 2), *space.sample_choices(rng, num // 2)]


def listed(space: Space) -> list[Architecture] | None:
    """Returns all architectures of a small space, or None."""
    if space.continuous:
        return None
    found = list(itertools.islice(space, MAX_LISTED + 1))
    return found if len(found) <= MAX_LISTED else None


def members(space: Space, rng: np.random.Generator, num: int) -> tuple[Sequence[Architecture], bool]:
    """Returns all architectures of a small space, else ``num`` drawn ones; and whether these are all."""
    everything = listed(space)
    return (drawn(space, rng, num), False) if everything is None else (everything, True)


def survey(space: Space, contract: bool = False) -> Survey:
    """Returns the graphs of a space, or of a sample and of what grows from its largest graph by mutation."""
    rng = np.random.default_rng(0)
    found, complete = members(space, rng, _NUM_SAMPLED)
    graphs = dict.fromkeys(graphs_of(space, found, contract))
    if not complete:
        size, largest = max((len(space.graph(each).labels), i) for i, each in enumerate(found))
        base = found[largest]
        for _ in range(_NUM_GROWN):
            grown = space.mutate(base, rng)
            graph = graphs_of(space, [grown], contract)[0]
            graphs[graph] = None
            if len(graph.labels) >= size:
                base, size = grown, len(graph.labels)
    return Survey(tuple(graphs), complete)
