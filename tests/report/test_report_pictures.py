"""Pictures of a task's output as the page shows them."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from sartor.pictures import Curve, Gallery, Lines, Matrix, Table, Wires
from sartor.report._pictures import MAX_IMAGES, MAX_SIDE, GalleryView, MatrixView, confusion, interval, per_class, view


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def matrix(values: list[list[int]], names: tuple[str, ...] = ("cat", "dog")) -> Matrix:
    return Matrix(np.array(values), names, names, "true", "predicted", "Confusion")


def test_small_images_keep_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 9), np.uint8)
    shown = view(Gallery(pixels, ("a", "b", "c"), "Mistakes"))
    assert isinstance(shown, GalleryView) and shown.pixelated
    for shot, expected in zip(shown.shots, pixels, strict=True):
        np.testing.assert_array_equal(decoded(shot.uri), expected)


def test_large_images_are_made_small_and_many_are_counted() -> None:
    pixels = np.zeros((MAX_IMAGES + 5, 300, 200, 3), np.uint8)
    shown = view(Gallery(pixels))
    assert isinstance(shown, GalleryView)
    assert (len(shown.shots), shown.total, shown.pixelated) == (MAX_IMAGES, MAX_IMAGES + 5, False)
    assert max(decoded(shown.shots[0].uri).shape) == MAX_SIDE


def test_an_empty_gallery_has_no_shots() -> None:
    shown = view(Gallery(np.zeros((0, 8, 8), np.uint8), (), "Mistakes"))
    assert isinstance(shown, GalleryView) and shown.shots == ()


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    n, right, z = 360, 349, 1.959963984540054
    found = interval(matrix([[180, 5], [6, 169]]), right / n)
    p = right / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert found is not None
    assert found == pytest.approx((centre - half, centre + half, n))


def test_a_metric_that_is_not_the_accuracy_of_the_matrix_gets_no_interval() -> None:
    assert interval(matrix([[5, 0], [1, 4]]), 0.8) is None
    assert interval(matrix([[0, 0], [0, 0]]), 0.0) is None


def test_recall_and_precision_are_by_definition_and_classes_without_examples_have_none() -> None:
    table = per_class(matrix([[8, 2, 0], [1, 3, 0], [0, 0, 0]], ("cat", "dog", "owl")))
    assert table.rows == (
        ("dog", "4", "0.750", "0.600"),
        ("cat", "10", "0.800", "0.889"),
        ("owl", "0", "none", "none"),
    )


def test_the_most_frequent_confusions_come_first_with_their_share_of_the_row() -> None:
    shown = view(matrix([[8, 2], [5, 5]]))
    assert isinstance(shown, MatrixView)
    assert shown.confusions == (("dog", "cat", 5, 0.5), ("cat", "dog", 2, 0.2))


def test_matrices_that_are_no_confusion_are_shown_without_right_and_wrong() -> None:
    plain = Matrix(np.array([[0.25, -1.0]]), ("row",), ("a", "b"))
    shown = view(plain)
    assert isinstance(shown, MatrixView)
    assert confusion([plain]) is None and not shown.square and shown.confusions == ()
    assert [(cell.text, cell.negative) for cell in shown.cells[0]] == [("0.25", False), ("-1.00", True)]
    small = view(Matrix(np.array([[12.345, -0.004], [0.0, -7.0]])))
    assert isinstance(small, MatrixView)
    assert [[cell.text for cell in row] for row in small.cells] == [["12.3", "0.0"], ["0.0", "-7.0"]]
    signed = view(Matrix(np.full((100, 2), [1.0, -1.0])))
    assert isinstance(signed, MatrixView)
    assert decoded(signed.uri)[0].tolist() == [[0, 114, 178], [213, 94, 0]]


def test_a_matrix_of_many_classes_becomes_one_image() -> None:
    names = tuple(f"class {i}" for i in range(100))
    shown = view(matrix(np.eye(100, dtype=int).tolist(), names))
    assert isinstance(shown, MatrixView)
    assert shown.cells == () and decoded(shown.uri).shape == (100, 100, 3)
    assert tuple(decoded(shown.uri)[0, 0]) == (0, 114, 178) and tuple(decoded(shown.uri)[0, 1]) == (255, 255, 255)


def test_lines_keep_gaps_and_tables_know_their_numeric_columns() -> None:
    lines = view(Lines(np.arange(2), np.array([[1.0, math.nan]]), ("a",), "x", "y"))
    assert lines.kind == "lines" and lines.series[0]["y"] == [1.0, None]  # type: ignore[union-attr]
    table = view(Table((("cat", "0.5"), ("dog", "12%")), ("class", "recall")))
    assert table.kind == "table" and table.numeric == (False, True)  # type: ignore[union-attr]


def test_a_curve_is_drawn_inside_its_axes_with_its_band_and_density() -> None:
    x = np.linspace(0, 10, 20)
    y = np.stack([np.sin(x), np.cos(x)])
    drawn = view(Curve(x, y, y - 0.1, y + 0.1, np.full(5, 0.2), ("a", "b"), x_label="t", y_label="v", title="waves"))
    assert drawn.kind == "curve" and [line.name for line in drawn.lines] == ["a", "b"] and len(drawn.bars) == 5
    for px, py, _, tip in drawn.points:
        assert drawn.left <= px <= drawn.right and 0 <= py <= drawn.bottom and tip.startswith(("a, t ", "b, t "))
    named = view(Curve(np.arange(2.0), y[:1, :2], y[:1, :2], y[:1, :2], np.array([0.9, 0.1]), ticks=("no", "yes")))
    assert [text for _, text in named.x_ticks] == ["no", "yes"] and named.bars[0].height > named.bars[1].height


def test_a_circuit_is_drawn_layer_by_layer_with_signs_and_strengths() -> None:
    drawn = view(
        Wires(
            layer=np.array([0, 0, 1, 1, 2]),
            activity=np.array([1.0, 1.0, 0.2, 3.0, 0.5]),
            source=np.array([0, 1, 2, 2, 3]),
            target=np.array([2, 3, 2, 3, 4]),
            weight=np.array([0.5, -2.0, 1.0, -1.0, 0.1]),
            names=("x", "y", "a", "b", "<m>"),
            tips=("seen", "seen", "idle", "busy", "acts"),
            layers=("sensory", "inter", "motor"),
        )
    )
    assert drawn.kind == "wires" and [name for _, name in drawn.layers] == ["sensory", "inter", "motor"]
    columns = [neuron.x for neuron in drawn.neurons]
    assert columns[0] == columns[1] < columns[2] == columns[3] < columns[4] and columns[4] < drawn.width
    assert all(0 < neuron.y < drawn.height and 0 <= neuron.fill <= 1 for neuron in drawn.neurons)
    assert drawn.neurons[3].tip == "b: busy"
    # The strongest last and thickest.
    assert drawn.synapses[-1].tip == "y inhibits b: -2" and not drawn.synapses[-1].excites
    assert [s.width for s in drawn.synapses] == sorted(s.width for s in drawn.synapses)
    assert "a excites a: 1" in {synapse.tip for synapse in drawn.synapses}
