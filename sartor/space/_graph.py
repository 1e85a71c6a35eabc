"""An architecture as a graph of labelled nodes: what path, adjacency and graph-kernel encodings read.

A space says how its networks are wired by ``Space(tree, graph=function)``. Where it does not, the graph is read off the
tree: calls in the order written, each with the choices of its own arguments, one after the other. For chains this is
the data flow; for other networks it is still one graph an architecture, in which what is near in the tree is near.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sartor.errors import SpaceError
from sartor.space._compile import (
    Call,
    Compiled,
    Compute,
    Entries,
    Fixed,
    Items,
    Pick,
    PickNumber,
    PickOrder,
    PickSubset,
    Plan,
    Splice,
)
from sartor.space._nodes import name_of

INPUT, OUTPUT = "input", "output"
_MAX_PATHS = 4096
"""Paths listed of one graph: a dense graph has more than anything can learn from."""


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph with one input and one output.

    Attributes:
        labels: Of each node, in an order in which edges go forward; the first is ``input``, the last ``output``. A
            label is a name and, behind spaces, what was chosen: ``"MBConv kernel=5 expand=3"``.
        edges: ``(source, target)`` with source < target.

    Raises:
        SpaceError: An edge does not go forward, or the ends are not input and output.
    """

    labels: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or self.labels[0] != INPUT or self.labels[-1] != OUTPUT:
            raise SpaceError(f"a graph begins with {INPUT} and ends with {OUTPUT}, got labels {self.labels}")
        for source, target in self.edges:
            if not 0 <= source < target < len(self.labels):
                raise SpaceError(f"edge {source}-{target} does not go forward among {len(self.labels)} nodes")

    @classmethod
    def chain(cls, labels: Iterable[str]) -> Graph:
        """Returns the graph in which each node feeds the next."""
        nodes = (INPUT, *labels, OUTPUT)
        return cls(nodes, tuple((i, i + 1) for i in range(len(nodes) - 1)))

    @classmethod
    def of_edges(cls, num_nodes: int, operations: Mapping[tuple[int, int], str | None]) -> Graph:
        """Returns the graph of a cell whose operations lie on its edges: each operation becomes a node.

        Args:
            num_nodes: Of the cell; 0 is its input and the last its output.
            operations: (source, target) -> label, or None where there is no edge.
        """
        present = sorted((target, source) for (source, target), label in operations.items() if label is not None)
        labels = (INPUT, *(str(operations[source, target]) for target, source in present), OUTPUT)
        into = defaultdict(list)
        for i, (target, _) in enumerate(present, 1):
            into[target].append(i)
        edges = []
        for i, (_, source) in enumerate(present, 1):
            edges += [(0, i)] if source == 0 else [(j, i) for j in into[source]]
        last = len(labels) - 1
        edges += [(i, last) for i in into[num_nodes - 1]]
        return cls(labels, tuple(sorted(edges)))

    def live(self) -> Graph:
        """Returns the graph without the nodes that lie on no path from input to output."""
        last = len(self.labels) - 1
        forward, backward = {0}, {last}
        for source, target in sorted(self.edges):
            if source in forward:
                forward.add(target)
        for source, target in sorted(self.edges, reverse=True):
            if target in backward:
                backward.add(source)
        kept = sorted((forward & backward) | {0, last})
        at = {node: i for i, node in enumerate(kept)}
        if len(kept) == len(self.labels) and all(s in forward and t in backward for s, t in self.edges):
            return self
        edges = tuple((at[s], at[t]) for s, t in self.edges if s in at and t in at and s in forward and t in backward)
        return Graph(tuple(self.labels[i] for i in kept), edges)

    def paths(self) -> list[tuple[str, ...]]:
        """Returns the labels along each path from input to output, ends left out; at most 4,096 paths."""
        targets = defaultdict(list)
        for source, target in self.edges:
            targets[source].append(target)
        last = len(self.labels) - 1
        found: list[tuple[str, ...]] = []
        stack: list[tuple[int, tuple[str, ...]]] = [(0, ())]
        while stack and len(found) < _MAX_PATHS:
            node, labels = stack.pop()
            for target in targets[node]:
                if target == last:
                    found.append(labels)
                else:
                    stack.append((target, (*labels, self.labels[target])))
        return found


class GraphReader:
    """Reads the graph of one architecture off the tree.

    Args:
        compiled: The tree.
        codes: Code of every slot, -1 where inactive.
        numbers: Slot of a float range -> its value.
    """

    def __init__(self, compiled: Compiled, codes: Sequence[int], numbers: Mapping[int, float]) -> None:
        self._compiled, self._codes, self._numbers = compiled, codes, numbers

    def read(self, plan: Plan) -> Graph:
        """Returns the calls in order, each with its own choices; choices outside of calls make a node of their own."""
        nodes, loose = self._visit(plan)
        return Graph.chain([*([" ".join(("choices", *loose))] if loose else []), *nodes])

    def _token(self, slot: int, value: Any) -> str:
        parts = [part for part in self._compiled.slots[slot].key.split(".") if not part.isdigit()]
        return f"{parts[-1] if parts else 'choice'}={value}".replace(" ", "")

    def _visit(self, plan: Plan) -> tuple[list[str], list[str]]:
        """Returns the labels of the calls under a place, and what is chosen there outside of any call."""
        match plan:
            case Pick(slot, options, node):
                code = self._codes[slot]
                nodes, loose = self._visit(options[code])
                token = self._token(slot, node.labels[code])
                return ([f"{nodes[0]} {token}", *nodes[1:]], loose) if nodes else ([], [token, *loose])
            case PickSubset(slot, items, node):
                domain: Any = self._compiled.slots[slot].domain
                taken = domain.members(self._codes[slot])
                nodes, loose = self._all([items[i] for i in taken])
                return nodes, [*(self._token(slot, node.names[i]) for i in taken), *loose]
            case PickOrder(slot):
                return [], [self._token(slot, self._compiled.slots[slot].domain[self._codes[slot]])]
            case PickNumber(slot):
                # Ten classes: labels are compared for equality.
                share = self._compiled.slots[slot].node.share(self._numbers[slot])
                return [], [self._token(slot, f"{share:.1f}")]
            case Splice(times, items):
                nodes, loose = self._visit(times)
                own = self._all(items[: self._count(times, len(items))])
                return [*nodes, *own[0]], [*loose, *own[1]]
            case Call(function, arguments, keywords):
                nodes, loose = self._all([part for _, part in (*arguments, *keywords)])
                return [" ".join((name_of(function).replace(" ", ""), *loose)), *nodes], []
            case Items(_, items):
                return self._all(items)
            case Entries(entries):
                return self._all([entry for _, entry in entries])
            case Fixed() | Compute():
                return [], []

    def _all(self, plans: Iterable[Plan]) -> tuple[list[str], list[str]]:
        nodes: list[str] = []
        loose: list[str] = []
        for plan in plans:
            found = self._visit(plan)
            nodes += found[0]
            loose += found[1]
        return nodes, loose

    def _count(self, times: Plan, most: int) -> int:
        match times:
            case Fixed(value):
                return int(value)
            case Pick(slot, options, _):
                return self._count(options[self._codes[slot]], most)
            case _:
                return most
