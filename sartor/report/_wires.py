"""Neurons in layers as a drawing: a column a layer, synapses between them by sign and strength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.pictures import Wires

COLUMN, ROW, TOP, RADIUS = 190.0, 30.0, 30.0, 9.0
LEFT = 130.0
"""For the names of the first layer, which stand before it; those of the others stand behind."""
BEHIND = 150.0
THICKEST, THINNEST = 4.0, 0.6
LONGEST_NAME = 20


@dataclass(frozen=True)
class Neuron:
    x: float
    y: float
    fill: float
    name: str
    tip: str
    first: bool


@dataclass(frozen=True)
class Synapse:
    path: str
    width: float
    excites: bool
    tip: str


@dataclass(frozen=True)
class WiresView:
    """Positions in the units of the drawing."""

    title: str
    layers: tuple[tuple[float, str], ...]
    neurons: tuple[Neuron, ...]
    synapses: tuple[Synapse, ...]
    width: float
    height: float
    radius: float = RADIUS
    kind: str = "wires"


def wires(picture: Wires) -> WiresView:
    """Returns the drawing."""
    num_layers = int(picture.layer.max(initial=0)) + 1
    sizes = [int((picture.layer == k).sum()) for k in range(num_layers)]
    height = TOP + ROW * max(sizes) + 10
    place = np.zeros((len(picture.layer), 2))
    for k in range(num_layers):
        own = np.flatnonzero(picture.layer == k)
        gap = (height - TOP - 10) / max(1, len(own))
        place[own, 0] = LEFT + COLUMN * k
        place[own, 1] = TOP + gap * (np.arange(len(own)) + 0.5)

    def name(i: int) -> str:
        return picture.names[i] if i < len(picture.names) else str(i + 1)

    largest = max(float(np.abs(picture.weight).max(initial=0.0)), 1e-300)
    synapses = []
    # The strongest last, so that they lie on top.
    for k in np.argsort(np.abs(picture.weight), kind="stable"):
        source, target, weight = int(picture.source[k]), int(picture.target[k]), float(picture.weight[k])
        (x0, y0), (x1, y1) = place[source], place[target]
        width = THINNEST + (THICKEST - THINNEST) * abs(weight) / largest
        excites = weight >= 0
        said = f"{name(source)} {'excites' if excites else 'inhibits'} {name(target)}: {weight:.3g}"
        synapses.append(Synapse(_path(x0, y0, x1, y1), round(width, 2), excites, said))
    neurons = tuple(
        Neuron(
            float(place[i, 0]), float(place[i, 1]), round(float(np.clip(picture.activity[i], 0, 1)), 3),
            _short(name(i)), f"{name(i)}: {picture.tips[i]}" if i < len(picture.tips) else name(i),
            bool(picture.layer[i] == 0),
        )
        for i in range(len(place))
    )  # fmt: skip
    layers = tuple((LEFT + COLUMN * k, text) for k, text in enumerate(picture.layers[:num_layers]))
    return WiresView(
        picture.title, layers, neurons, tuple(synapses), LEFT + COLUMN * (num_layers - 1) + BEHIND, height
    )


def _path(x0: float, y0: float, x1: float, y1: float) -> str:
    if x0 != x1:
        middle = (x0 + x1) / 2
        return f"M{x0:.1f},{y0:.1f}C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
    if y0 == y1:  # onto itself
        return f"M{x0:.1f},{y0 - RADIUS:.1f}c-22,-16 -22,{2 * RADIUS + 16:.1f} 0,{2 * RADIUS:.1f}"
    out = 20 + abs(y1 - y0) / 5
    return f"M{x0:.1f},{y0:.1f}C{x0 - out:.1f},{y0:.1f} {x1 - out:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
