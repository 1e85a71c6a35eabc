"""Turns recorded pictures of a task's output into what the page can show: text, shares and inline images."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import stats

from sartor.pictures import Curve, Gallery, Lines, Matrix, Picture, Table, Wires
from sartor.report._curve import CurveView, curve
from sartor.report._wires import WiresView, wires

MAX_IMAGES = 60
"""Images of one gallery that are put into the page."""
MAX_SIDE = 128
"""Longest side in pixels of an image in the page."""
PIXEL_ART = 48
"""Images up to this side are enlarged with sharp pixels."""
MAX_CELLS_SIDE = 32
"""Matrices with more rows or columns are drawn as one image, without figures."""
NUM_CONFUSIONS = 8


@dataclass(frozen=True)
class Shot:
    uri: str
    caption: str


@dataclass(frozen=True)
class GalleryView:
    title: str
    shots: tuple[Shot, ...]
    total: int
    pixelated: bool
    kind: str = "gallery"


@dataclass(frozen=True)
class Cell:
    """One entry of a matrix.

    Attributes:
        text: Its figure.
        share: Of its row, or its size beside the largest, in [0, 1].
        good: On the diagonal of a confusion matrix.
        negative: Below 0.
    """

    text: str
    share: float
    good: bool
    negative: bool


@dataclass(frozen=True)
class MatrixView:
    """A matrix with figures, or (``uri``) as an image when large; with the most frequent confusions in words."""

    title: str
    row_title: str
    column_title: str
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    uri: str
    confusions: tuple[tuple[str, str, int, float], ...]
    square: bool
    kind: str = "matrix"


@dataclass(frozen=True)
class LinesView:
    """Lines for the page's script: names and points."""

    title: str
    x_label: str
    y_label: str
    series: list[dict[str, object]]
    kind: str = "lines"


@dataclass(frozen=True)
class TableView:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    kind: str = "table"


View = GalleryView | MatrixView | LinesView | CurveView | WiresView | TableView


def view(picture: Picture) -> View:
    """Returns what the page shows of a picture."""
    if isinstance(picture, Gallery):
        return _gallery(picture)
    if isinstance(picture, Matrix):
        return _matrix(picture)
    if isinstance(picture, Lines):
        return _lines(picture)
    if isinstance(picture, Curve):
        return curve(picture)
    if isinstance(picture, Wires):
        return wires(picture)
    return table(picture)


def confusion(pictures: Sequence[Picture]) -> Matrix | None:
    """Returns the first matrix of counts whose rows and columns have the same labels, or None."""
    for picture in pictures:
        if isinstance(picture, Matrix) and _is_confusion(picture):
            return picture
    return None


def interval(matrix: Matrix, accuracy: float) -> tuple[float, float, int] | None:
    """Returns the 95% interval of an accuracy and the number of examples, where the matrix is of that accuracy.

    Wilson 1927, from the counts of a confusion matrix; None when the matrix' accuracy is another.
    """
    total = int(matrix.values.sum())
    right = int(np.trace(matrix.values))
    if not total or abs(right / total - accuracy) > 1e-4:
        return None
    bounds = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    return float(bounds.low), float(bounds.high), total


def per_class(matrix: Matrix) -> Table:
    """Returns recall and precision of each class of a confusion matrix, the worst recall first."""
    counts = matrix.values.astype(np.int64)
    support, predicted, right = counts.sum(1), counts.sum(0), np.diag(counts)

    def share(part: int, whole: int) -> str:
        return f"{part / whole:.3f}" if whole else "none"

    order = sorted(range(len(counts)), key=lambda i: (right[i] / support[i] if support[i] else 2.0, i))
    rows = tuple(
        (matrix.row_labels[i], str(support[i]), share(right[i], support[i]), share(right[i], predicted[i]))
        for i in order
    )
    return Table(rows, ("class", "examples", "recall", "precision"), "Per class, the hardest first")


def _is_confusion(matrix: Matrix) -> bool:
    values = matrix.values
    return (
        values.ndim == 2
        and values.shape[0] == values.shape[1] == len(matrix.row_labels)
        and matrix.row_labels == matrix.column_labels
        and bool(np.all(values >= 0))
        and bool(np.all(values == np.rint(values)))
    )


def _gallery(gallery: Gallery) -> GalleryView:
    images = gallery.images[:MAX_IMAGES]
    captions = [*gallery.captions, *[""] * len(images)]
    side = max(images.shape[1:3]) if len(images) else 0
    shots = tuple(Shot(_uri(image), str(caption)) for image, caption in zip(images, captions, strict=False))
    return GalleryView(gallery.title, shots, len(gallery.images), side <= PIXEL_ART)


def _uri(pixels: np.ndarray) -> str:
    """Returns uint8 pixels ``(height, width[, 3])`` as a data address: PNG, or JPEG of a smaller copy when large."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    small = max(image.size) <= PIXEL_ART
    if not small:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 85}))
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _matrix(matrix: Matrix) -> MatrixView:
    values = np.asarray(matrix.values, dtype=np.float64)
    square = _is_confusion(matrix)
    rows = matrix.row_labels or tuple(str(i) for i in range(values.shape[0]))
    columns = matrix.column_labels or tuple(str(i) for i in range(values.shape[1]))
    sums = values.sum(1, keepdims=True) if square else np.full((len(values), 1), np.abs(values).max(initial=0.0))
    shares = np.divide(np.abs(values), sums, out=np.zeros_like(values), where=sums != 0)
    large = max(values.shape) > MAX_CELLS_SIDE
    cells: tuple[tuple[Cell, ...], ...] = ()
    if not large:
        text = _figures(values)
        cells = tuple(
            tuple(
                Cell(text(value), float(share), square and i == j, value < 0)
                for j, (value, share) in enumerate(zip(row, row_shares, strict=True))
            )
            for i, (row, row_shares) in enumerate(zip(values, shares, strict=True))
        )
    confusions: list[tuple[str, str, int, float]] = []
    if square:
        off = values.copy()
        np.fill_diagonal(off, 0)
        for flat in np.argsort(-off, axis=None, kind="stable")[:NUM_CONFUSIONS]:
            i, j = divmod(int(flat), off.shape[1])
            if off[i, j] > 1:
                confusions.append((rows[i], columns[j], int(off[i, j]), float(shares[i, j])))
    return MatrixView(
        matrix.title,
        matrix.row_title,
        matrix.column_title,
        rows,
        columns,
        cells,
        _heat(shares, square, values < 0) if large else "",
        tuple(confusions),
        square,
    )


def _figures(values: np.ndarray) -> Callable[[float], str]:
    """Returns how the entries of a matrix are written: with as many decimals as the largest has of three figures."""
    largest = np.abs(values).max(initial=0.0)
    if np.all(values == np.rint(values)) or not 1e-3 <= largest < 1e6:
        return lambda value: f"{value:.3g}" if value != round(value) else f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    return lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}"


def _heat(shares: np.ndarray, square: bool, negative: np.ndarray) -> str:
    """Returns a heat map of the roots of the shares, white to blue; below 0 and errors of a confusion matrix to red."""
    depth = np.sqrt(shares)[..., None]
    ends = np.full((*shares.shape, 3), (0, 114, 178), np.float64)
    ends[~np.eye(len(shares), dtype=bool) if square else negative] = (213, 94, 0)
    pixels = np.rint(255 + (ends - 255) * depth).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _lines(lines: Lines) -> LinesView:
    names = [*lines.names, *(f"series {i}" for i in range(len(lines.names), len(lines.y)))]
    x = [float(v) for v in lines.x]
    series: list[dict[str, object]] = [
        {"name": name, "x": x, "y": [float(v) if np.isfinite(v) else None for v in y]}
        for name, y in zip(names, lines.y, strict=False)
    ]
    return LinesView(lines.title, lines.x_label, lines.y_label, series)


def table(picture: Table) -> TableView:
    """Returns a table with its numeric columns marked, to be set flush right."""
    num_columns = max([len(picture.header), *(len(row) for row in picture.rows)], default=0)
    numeric = tuple(all(_is_number(row[k]) for row in picture.rows if k < len(row)) for k in range(num_columns))
    return TableView(picture.title, picture.header, picture.rows, numeric)


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%").replace(",", ""))
    except ValueError:
        return text in ("", "none", "-")
    return True
