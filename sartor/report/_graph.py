"""Draws the graph of a network in layers: where each box goes, not how it looks.

Layers by longest path, crossings reduced by barycentres, places by least squares (Sugiyama, Tagawa and Toda 1981; the
placing is isotonic regression, exact for a given order). Operations that only follow another (normalisation,
activation) share its box. Where all that leads from one layer to the next comes from one box the drawing is cut, so
that a long network flows in columns like text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from sartor.errors import InputError
from sartor.units import format_figure

BOX_GAP, LAYER_GAP, STUB = 14.0, 26.0, 13.0
LINE, PADDING = 15.0, 9.0
TITLE_WIDTH, TEXT_WIDTH = 8.3, 6.9
"""Average width in pixels of a character in the two sizes of type used, in a wide face (DejaVu Sans)."""
LONGEST_TEXT = 30
MOST_BENDS = 3_000
"""Of all edges; a drawing with 20,000, of 700 operations, took minutes and was a thicket."""
NUM_SWEEPS = 9
HEAVY = ("conv", "linear", "matmul", "attention", "lstm", "gru", "rnn", "embedding", "pool", "mm", "input", "output")
"""Parts of kind names that always begin a box."""
KINDS = {
    "border": ("input", "output"),
    "conv": ("conv",),
    "dense": ("linear", "addmm", "matmul", "gemm"),
    "mix": ("attention", "lstm", "gru", "rnn"),
    "merge": ("add", "cat", "mul", "sub"),
    "pool": ("pool", "mean", "flatten", "reshape", "view"),
    "light": ("norm", "relu", "gelu", "silu", "swish", "sigmoid", "tanh", "softmax", "dropout"),
}
"""Class of operation, for its colour -> parts of kind names or labels, tried in this order."""


@dataclass(frozen=True)
class Box:
    """One box of the drawing, in pixels of its section.

    Attributes:
        x, y: Centre and top edge.
        kind: Class of operation, for its colour.
        title: First operation.
        lines: What follows in the same box, output shape, parameters.
        tip: All that is known, one operation a line.
    """

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str
    lines: tuple[str, ...]
    tip: str


@dataclass(frozen=True)
class Section:
    """Layers between two places where all edges that cross come from one box; these meet the border at x = 0.

    Attributes:
        left, right: How far it reaches from x = 0, both positive.
        paths: SVG path data, and whether an arrow ends it.
    """

    left: float
    right: float
    height: float
    boxes: tuple[Box, ...]
    paths: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Drawing:
    """Sections to be read one below the other, their x = 0 aligned, and how many columns suit their height."""

    sections: tuple[Section, ...]
    left: float
    right: float
    height: float
    num_operations: int

    @property
    def width(self) -> float:
        return self.left + self.right

    @property
    def num_columns(self) -> int:
        return max(1, min(6, round(self.height / 620)))


@dataclass
class _Vertex:
    """A box to be placed, or (without nodes) a bend of an edge that spans layers."""

    nodes: list[Mapping[str, Any]] = field(default_factory=list)
    layer: int = 0
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)
    width: float = 10.0
    height: float = 0.0
    x: float = 0.0


def draw(graph: Mapping[str, Any]) -> Drawing:
    """Returns the drawing of a recorded graph; without sections where its edges span so many layers that nobody could
    follow them, as those of a network do that goes over time step by step.

    Args:
        graph: ``{"nodes": [{"id", "name", "label", "kind", "shape", "params", "macs", "inputs"}]}``, as
            ``sartor.devices.graph`` records it; inputs that are no nodes are ignored, ids are compared as text.

    Raises:
        InputError: the graph has a cycle.
    """
    nodes = {str(node["id"]): node for node in graph["nodes"]}
    if not nodes:
        return Drawing((), 0.0, 0.0, 0.0, 0)
    vertices = _boxes(nodes)
    _assign_layers(vertices)
    if sum(vertices[i].layer - vertex.layer - 1 for vertex in vertices for i in vertex.below) > MOST_BENDS:
        return Drawing((), 0.0, 0.0, 0.0, len(nodes))
    layers = _order(_with_bends(vertices), vertices)
    _place(layers, vertices)
    return _compose(layers, vertices, len(nodes))


def _boxes(nodes: Mapping[str, Mapping[str, Any]]) -> list[_Vertex]:
    """Groups each operation with the light ones that alone follow it, in the order of the nodes."""
    inputs = {
        key: list(dict.fromkeys(str(i) for i in node.get("inputs", ()) if str(i) in nodes))
        for key, node in nodes.items()
    }
    consumers: dict[str, list[str]] = defaultdict(list)
    for key, sources in inputs.items():
        for source in sources:
            consumers[source].append(key)
    vertices: list[_Vertex] = []
    home: dict[str, int] = {}
    for key in _topological(nodes, inputs, consumers):
        node, sources = nodes[key], inputs[key]
        follows = len(sources) == 1 and len(consumers[sources[0]]) == 1 and _light(node, nodes[sources[0]])
        if follows:
            home[key] = home[sources[0]]
            vertices[home[key]].nodes.append(node)
        else:
            home[key] = len(vertices)
            vertices.append(_Vertex([node]))
    edges = dict.fromkeys((home[source], home[key]) for key, sources in inputs.items() for source in sources)
    for upper, lower in edges:
        if upper != lower:
            vertices[upper].below.append(lower)
            vertices[lower].above.append(upper)
    for vertex in vertices:
        title, lines, _ = _texts(vertex.nodes)
        vertex.width = max(len(title) * TITLE_WIDTH, *(len(line) * TEXT_WIDTH for line in lines), 60.0) + 2 * PADDING
        vertex.height = LINE * (1 + len(lines)) + PADDING
    return vertices


def _light(node: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a node only follows another: same shape and neither an operation with weights of its own nor a merge."""
    kind = f"{node.get('kind', '')} {node.get('label', '')}".lower()
    heavy = any(word in kind for word in HEAVY) or any(
        word in str(before.get("kind", "")).lower() for word in ("input", "output")
    )
    return not heavy and list(node.get("shape", ())) == list(before.get("shape", ()))


def _topological(
    nodes: Mapping[str, Any], inputs: Mapping[str, Sequence[str]], consumers: Mapping[str, Sequence[str]]
) -> list[str]:
    waiting = {key: len(sources) for key, sources in inputs.items()}
    ready = [key for key in nodes if not waiting[key]]
    order: list[str] = []
    while ready:
        key = ready.pop(0)
        order.append(key)
        for consumer in consumers[key]:
            waiting[consumer] -= 1
            if not waiting[consumer]:
                ready.append(consumer)
    if len(order) < len(nodes):
        raise InputError(f"the graph has a cycle through {next(key for key in nodes if key not in order)!r}")
    return order


def _assign_layers(vertices: list[_Vertex]) -> None:
    for vertex in vertices:
        vertex.layer = 1 + max((vertices[i].layer for i in vertex.above), default=-1)
    # Vertices without inputs (constants, further inputs) stand just above their first reader.
    for vertex in vertices:
        if not vertex.above and vertex.below:
            vertex.layer = min(vertices[i].layer for i in vertex.below) - 1


def _with_bends(vertices: list[_Vertex]) -> list[list[int]]:
    """Splits edges that span layers by bends and returns the vertex numbers of each layer."""
    for source in range(len(vertices)):
        for target in list(vertices[source].below):
            spanned = range(vertices[source].layer + 1, vertices[target].layer)
            if not spanned:
                continue
            bends = range(len(vertices), len(vertices) + len(spanned))
            chain = [source, *bends, target]
            vertices.extend(
                _Vertex(layer=layer, above=[above], below=[below])
                for layer, above, below in zip(spanned, chain, chain[2:], strict=False)
            )
            _replace(vertices[source].below, target, bends[0])
            _replace(vertices[target].above, source, bends[-1])
    layers: list[list[int]] = [[] for _ in range(1 + max(v.layer for v in vertices))]
    for i, vertex in enumerate(vertices):
        layers[vertex.layer].append(i)
    return layers


def _replace(values: list[int], old: int, new: int) -> None:
    values[values.index(old)] = new


def _order(layers: list[list[int]], vertices: list[_Vertex]) -> list[list[int]]:
    """Orders each layer by its neighbours' barycentres, down and up in turn; returns the order of fewest crossings."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers, vertices)
    for sweep in range(NUM_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for layer in layers[1:] if down else layers[-2::-1]:
            place = {i: k for other in layers for k, i in enumerate(other)}

            def centre(i: int, place: Mapping[int, int] = place, down: bool = down) -> float:
                near = vertices[i].above if down else vertices[i].below
                return sum(place[j] for j in near) / len(near) if near else float(place[i])

            layer.sort(key=centre)
        crossings = _crossings(layers, vertices)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _crossings(layers: Sequence[Sequence[int]], vertices: Sequence[_Vertex]) -> int:
    total = 0
    for layer in layers[:-1]:
        place = {j: k for k, j in enumerate(layers[vertices[layer[0]].layer + 1])}
        ends = [(k, place[j]) for k, i in enumerate(layer) for j in vertices[i].below]
        total += sum((a - c) * (b - d) < 0 for n, (a, b) in enumerate(ends) for c, d in ends[:n])
    return total


def _place(layers: Sequence[Sequence[int]], vertices: Sequence[_Vertex]) -> None:
    """Gives each vertex the x nearest to its neighbours that keeps the order and the gaps."""
    for layer in layers:
        x = 0.0
        for i in layer:
            vertices[i].x = x + vertices[i].width / 2
            x += vertices[i].width + BOX_GAP
    for sweep in range(NUM_SWEEPS):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            wanted = []
            for i in layer:
                near = (vertices[i].above if sweep % 2 == 0 else vertices[i].below) or vertices[i].above + vertices[
                    i
                ].below
                # Boxes stand under boxes and bends under bends, so that chains and the edges beside them are straight.
                alike = [j for j in near if bool(vertices[j].nodes) == bool(vertices[i].nodes)] or near
                wanted.append(float(np.mean([vertices[j].x for j in alike])) if alike else vertices[i].x)
            widths = np.array([vertices[i].width + BOX_GAP for i in layer])
            offsets = np.concatenate([[0.0], np.cumsum((widths[:-1] + widths[1:]) / 2)])
            # Least squares under x[k+1] - x[k] >= the gap: isotonic regression of the wanted places less the offsets.
            # A bend gives way to a box.
            weights = np.array([1.0 if vertices[i].nodes else 1e-4 for i in layer])
            places = isotonic_regression(np.array(wanted) - offsets, weights=weights).x + offsets
            for i, x in zip(layer, places, strict=True):
                vertices[i].x = float(x)
    _straighten(layers, vertices)


def _straighten(layers: Sequence[Sequence[int]], vertices: Sequence[_Vertex]) -> None:
    """Puts all bends of an edge at one x where the boxes beside them leave room, the outermost edges first."""
    chains = []
    for vertex in vertices:
        for i in vertex.below if vertex.nodes else ():
            chain = []
            bend = i
            while not vertices[bend].nodes:
                chain.append(bend)
                bend = vertices[bend].below[0]
            if len(chain) > 1:
                chains.append(chain)

    def fits(i: int, x: float) -> bool:
        layer = layers[vertices[i].layer]
        k = layer.index(i)
        return all(
            abs(x - vertices[j].x) >= (vertices[i].width + vertices[j].width) / 2 + 2
            and (x > vertices[j].x) == (n == 0)
            for n, j in ((n, layer[k + step]) for n, step in enumerate((-1, 1)) if 0 <= k + step < len(layer))
        )

    for chain in sorted(chains, key=lambda chain: -max(vertices[i].x for i in chain)):
        places = [vertices[i].x for i in chain]
        x = next((x for x in (max(places), min(places)) if all(fits(i, x) for i in chain)), None)
        if x is not None:
            for i in chain:
                vertices[i].x = x


def _compose(layers: Sequence[Sequence[int]], vertices: Sequence[_Vertex], num_operations: int) -> Drawing:
    """Cuts the placed layers wherever all edges that cross come from one box, and draws each part."""
    groups: list[list[Sequence[int]]] = []
    for k, layer in enumerate(layers):
        single = k > 0 and sum(bool(vertices[i].below) for i in layers[k - 1]) == 1
        if k == 0 or (single and all(vertices[i].above for i in layer)):
            groups.append([])
        groups[-1].append(layer)
    sections = [_section(group, vertices, first=n == 0, last=n == len(groups) - 1) for n, group in enumerate(groups)]
    return Drawing(
        tuple(sections),
        max(section.left for section in sections),
        max(section.right for section in sections),
        sum(section.height for section in sections),
        num_operations,
    )


def _section(group: Sequence[Sequence[int]], vertices: Sequence[_Vertex], *, first: bool, last: bool) -> Section:
    """Draws some layers about x = 0, where edges from the section above come in and those to the one below leave."""
    source = None if first else vertices[group[0][0]].above[0]
    middle = float(np.mean([vertices[i].x for i in group[0]])) if source is None else vertices[source].x
    tops: dict[int, float] = {}
    y = 0.0 if first else STUB if len(group[0]) == 1 else LAYER_GAP
    for layer in group:
        for i in layer:
            tops[i] = y
        y += max(vertices[i].height for i in layer) + LAYER_GAP
    height = y - LAYER_GAP + (0.0 if last else STUB)
    boxes, paths = [], []
    if not first:
        paths += [(_curve(0.0, 0.0, vertices[i].x - middle, tops[i]), bool(vertices[i].nodes)) for i in group[0]]
    for layer in group:
        depth = max(vertices[i].height for i in layer)
        for i in layer:
            vertex = vertices[i]
            x, bottom = vertex.x - middle, tops[i] + (vertex.height if vertex.nodes else depth)
            if vertex.nodes:
                title, lines, tip = _texts(vertex.nodes)
                kind = _class(vertex.nodes[0])
                boxes.append(Box(x, tops[i], vertex.width, vertex.height, kind, title, lines, tip))
            else:
                paths.append((f"M{x:.1f} {tops[i]:.1f}V{bottom:.1f}", False))
            for j in vertex.below:
                if j in tops:
                    paths.append((_curve(x, bottom, vertices[j].x - middle, tops[j]), bool(vertices[j].nodes)))
            if i in group[-1] and vertex.below and not last:
                paths.append((_curve(x, bottom, 0.0, height), False))
    inside = [vertices[i] for layer in group for i in layer]
    left = max(middle - vertex.x + vertex.width / 2 for vertex in inside) + 2
    right = max(vertex.x - middle + vertex.width / 2 for vertex in inside) + 2
    return Section(max(left, 4.0), max(right, 4.0), height, tuple(boxes), tuple(paths))


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    if abs(x0 - x1) < 0.5:
        return f"M{x0:.1f} {y0:.1f}V{y1:.1f}"
    bend = max(10.0, (y1 - y0) * 0.55)
    return f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"


def _class(node: Mapping[str, Any]) -> str:
    """Returns the class of an operation by which it is coloured."""
    text = f"{node.get('kind', '')} {node.get('label', '')}".lower()
    for name, words in KINDS.items():
        if any(word in text for word in words):
            return name
    return "other"


def _texts(nodes: Sequence[Mapping[str, Any]]) -> tuple[str, tuple[str, ...], str]:
    """Returns title, further lines and tip of a box that holds ``nodes``."""
    first, last = nodes[0], nodes[-1]
    lines = []
    if len(nodes) > 1:
        lines.append(_short(", ".join(str(node.get("label", "")) for node in nodes[1:])))
    facts = [shape_text(last.get("shape", ()), batch=False)]
    params = sum(int(node.get("params") or 0) for node in nodes)
    if params:
        facts.append(f"{format_figure('params', params)} params")
    facts = [fact for fact in facts if fact]
    if facts:
        lines.append(_short(", ".join(facts)))
    tip = "\n".join(_tip(node) for node in nodes)
    return _short(str(first.get("label") or first.get("kind") or first["id"])), tuple(lines), tip


def _tip(node: Mapping[str, Any]) -> str:
    parts = [
        str(node.get("name", "")),
        str(node.get("label", "")),
        str(node.get("kind", "")),
        shape_text(node.get("shape", ())),
    ]
    for name, unit in (("params", "parameters"), ("macs", "multiply-accumulates")):
        if node.get(name):
            parts.append(f"{int(node[name]):,} {unit}")
    return " | ".join(dict.fromkeys(part for part in parts if part))


def shape_text(shape: Sequence[Any], batch: bool = True) -> str:
    """Returns e.g. ``1×16×8×8``, or without a batch of one ``16×8×8``; nothing for a scalar or an unknown shape."""
    sizes = list(shape or ())
    if not batch and len(sizes) > 1 and sizes[0] == 1:
        sizes = sizes[1:]
    return "×".join(str(size) for size in sizes)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
