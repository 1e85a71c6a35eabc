"""Pictures of a task's output as plain values: tasks make them, ``report`` draws them, one file keeps them.

No drawing library and no torch here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Gallery:
    """Small images with captions, e.g. the mistakes of a classifier.

    Attributes:
        images: uint8, shape ``(n, height, width, 3)`` or ``(n, height, width)`` for grey.
        captions: One for each image.
        title: What is shown.
    """

    images: np.ndarray
    captions: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Matrix:
    """A labelled matrix, e.g. a confusion matrix: shape ``(rows, columns)``."""

    values: np.ndarray
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()
    row_title: str = ""
    column_title: str = ""
    title: str = ""


@dataclass(frozen=True)
class Lines:
    """Several series over one axis: ``x`` has shape ``(n,)``, ``y`` ``(num_series, n)``."""

    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...] = ()
    x_label: str = ""
    y_label: str = ""
    title: str = ""


@dataclass(frozen=True)
class Curve:
    """A function of one variable, with how sure it is and where the data are, e.g. a term of an additive model.

    Attributes:
        x: Ascending numbers, shape ``(n,)``; positions 0 .. n - 1 when there are ``ticks``.
        y: Values, ``(num_series, n)``.
        low, high: A band around each series, ``(num_series, n)``.
        density: Share of the data in bins of equal width from the first to the last ``x``, or at each of the ticks.
        names: Of the series; none for one.
        ticks: Names of the positions, when the variable is of categories.
        x_label, y_label: Of the axes.
        title: What is shown.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    density: np.ndarray
    names: tuple[str, ...] = ()
    ticks: tuple[str, ...] = ()
    x_label: str = ""
    y_label: str = ""
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    rows: tuple[tuple[str, ...], ...]
    header: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Wires:
    """Neurons in layers and the synapses between them, e.g. a neural circuit policy.

    Attributes:
        layer: Of each neuron, int ``(n,)``, from 0; signals come in at the first.
        activity: Of each, 0..1: how full it is drawn.
        source, target: Neurons that a synapse comes from and goes to, int ``(m,)``.
        weight: Of each synapse, ``(m,)``: above 0 it excites.
        names: Of the neurons.
        tips: What is said of each.
        layers: Names of the layers.
        title: What is shown.
    """

    layer: np.ndarray
    activity: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    names: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    title: str = ""


Picture = Gallery | Matrix | Lines | Curve | Table | Wires
_KINDS: dict[str, type] = {kind.__name__: kind for kind in (Gallery, Matrix, Lines, Curve, Table, Wires)}


def save(pictures: Sequence[Picture], path: Path) -> None:
    """Writes all pictures to one ``.npz``: arrays as they are, the rest as JSON; readable without pickle."""
    arrays: dict[str, np.ndarray] = {}
    header = []
    for i, picture in enumerate(pictures):
        plain: dict[str, object] = {"kind": type(picture).__name__}
        for field in dataclasses.fields(picture):
            value = getattr(picture, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{i}.{field.name}"] = value
            else:
                plain[field.name] = value
        header.append(plain)
    with open(path, "wb") as file:
        np.savez_compressed(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def load(path: Path) -> list[Picture]:
    """Reads what ``save`` wrote."""
    out: list[Picture] = []
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        for i, plain in enumerate(header):
            kind = _KINDS[plain.pop("kind")]
            fields = {name: _tuples(value) for name, value in plain.items()}
            fields |= {key.split(".", 1)[1]: file[key] for key in file.files if key.startswith(f"{i}.")}
            out.append(kind(**fields))
    return out


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
