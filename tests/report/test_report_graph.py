"""The drawing of a network's graph."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.report._graph import Drawing, draw, shape_text


def node(key: int, label: str, *inputs: int, shape: tuple[int, ...] = (1, 8), params: int = 0) -> dict[str, Any]:
    kind = label.split(" ")[0]
    return {
        "id": key, "label": label, "kind": kind, "shape": list(shape), "params": params, "macs": 0,
        "inputs": list(inputs),
    }  # fmt: skip


def random_graph(seed: int, size: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    nodes = [node(0, "input")]
    for i in range(1, size):
        inputs = rng.choice(i, size=min(i, int(rng.integers(1, 4))), replace=False)
        near = [max(0, i - 1 - int(k) % 6) for k in inputs]
        nodes.append(node(i, str(rng.choice(["Conv2d 3x3", "ReLU", "add", "Linear"])), *dict.fromkeys(near), params=i))
    return {"nodes": nodes}


def boxes(drawing: Drawing) -> int:
    return sum(len(section.boxes) for section in drawing.sections)


def test_light_operations_share_the_box_of_what_they_follow() -> None:
    nodes = [
        node(0, "input"), node(1, "Conv2d 3x3", 0, params=72), node(2, "BatchNorm2d", 1, params=16), node(3, "ReLU", 2),
        node(4, "Conv2d 1x1", 3), node(5, "output", 4),
    ]  # fmt: skip
    drawing = draw({"nodes": nodes})
    assert drawing.num_operations == 6 and boxes(drawing) == 4
    box = drawing.sections[1].boxes[0]
    assert box.title == "Conv2d 3x3" and box.lines == ("BatchNorm2d, ReLU", "8, 88 params") and box.kind == "conv"
    assert "BatchNorm2d" in box.tip and "72 parameters" in box.tip


def test_an_operation_read_by_two_is_not_joined_to_either() -> None:
    nodes = [node(0, "Conv2d", ), node(1, "ReLU", 0), node(2, "tanh", 0), node(3, "add", 1, 2)]  # fmt: skip
    assert boxes(draw({"nodes": nodes})) == 4


def test_a_long_chain_is_cut_at_every_box_so_that_it_flows() -> None:
    chain = {"nodes": [node(0, "input"), *(node(i, "Conv2d 3x3", i - 1) for i in range(1, 80))]}
    drawing = draw(chain)
    assert len(drawing.sections) == 80 and drawing.num_columns > 1
    assert {section.boxes[0].x for section in drawing.sections} == {0.0}


def test_a_residual_branch_stays_in_one_piece_with_the_chain_straight() -> None:
    nodes = [
        node(0, "input"), node(1, "Conv2d a", 0), node(2, "Conv2d b", 1), node(3, "Conv2d c", 2), node(4, "add", 3, 1),
        node(5, "Linear", 4),
    ]  # fmt: skip
    drawing = draw({"nodes": nodes})
    branch = drawing.sections[2]
    assert [box.title for box in branch.boxes] == ["Conv2d b", "Conv2d c", "add"]
    assert max(abs(box.x) for box in branch.boxes) < 1
    # In from above twice, out below once, and the bends of the edge beside.
    assert sum(path.startswith("M0.0 0.0") for path, _ in branch.paths) == 2


@pytest.mark.parametrize("seed", range(8))
def test_boxes_never_overlap_and_every_operation_is_drawn_once(seed: int) -> None:
    graph = random_graph(seed)
    drawing = draw(graph)
    tips = [line for section in drawing.sections for box in section.boxes for line in box.tip.split("\n")]
    assert len(tips) == len(graph["nodes"])
    for section in drawing.sections:
        rows: dict[float, list[tuple[float, float]]] = {}
        for box in section.boxes:
            rows.setdefault(box.y, []).append((box.x - box.width / 2, box.x + box.width / 2))
            assert -drawing.left <= box.x - box.width / 2 and box.x + box.width / 2 <= drawing.right
            assert box.y >= 0 and box.y + box.height <= section.height
        for spans in rows.values():
            assert all(a[1] < b[0] for a, b in pairwise(sorted(spans)))
        tops = sorted(rows)
        heights = {top: max(box.height for box in section.boxes if box.y == top) for top in tops}
        assert all(a + heights[a] < b for a, b in pairwise(tops))


def test_an_arrow_ends_at_every_box_once_for_each_source() -> None:
    graph = random_graph(3)
    drawing = draw(graph)
    arrows = sum(arrow for section in drawing.sections for _, arrow in section.paths)
    joined = len(graph["nodes"]) - boxes(drawing)
    assert arrows == sum(len(n["inputs"]) for n in graph["nodes"]) - joined


def test_the_drawing_is_the_same_every_time() -> None:
    assert draw(random_graph(1)) == draw(random_graph(1))


def test_a_cycle_is_an_error_that_names_a_node_and_an_empty_graph_is_empty() -> None:
    with pytest.raises(InputError, match="cycle through '1'"):
        draw({"nodes": [node(0, "input"), node(1, "add", 0, 2), node(2, "ReLU", 1)]})
    assert draw({"nodes": []}).sections == ()


def test_edges_over_many_layers_without_number_are_not_drawn_but_counted() -> None:
    # A loop over time: each step reads the one before and a piece of what was made at the beginning.
    steps = [node(2 + i, "linear", *((1 + i, 0) if i else (0,))) for i in range(100)]
    drawing = draw({"nodes": [node(0, "input"), *steps]})
    assert drawing.sections == () and drawing.num_operations == 101


def test_a_second_input_stands_above_its_reader_and_unknown_inputs_are_left_out() -> None:
    nodes = [node(0, "input 0"), node(1, "Conv2d a", 0), node(2, "input 1"), node(3, "cat", 1, 2, 99)]
    drawing = draw({"nodes": nodes})
    places = {box.title: (n, box.y) for n, section in enumerate(drawing.sections) for box in section.boxes}
    assert len(places) == 4
    assert places["input 1"] == places["Conv2d a"] < places["cat"]


def test_shapes_are_written_without_a_batch_of_one_when_asked() -> None:
    assert shape_text((1, 8, 4, 4)) == "1×8×4×4" and shape_text((1, 8, 4, 4), batch=False) == "8×4×4"
    assert shape_text((1,), batch=False) == "1" and shape_text(()) == ""


def test_the_graph_that_a_device_traces_is_drawn() -> None:
    torch = pytest.importorskip("torch")
    from sartor.devices.graph import trace

    class Residual(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(4, 4, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(4)

        def forward(self, x: Any) -> Any:
            return x + torch.relu(self.norm(self.conv(x)))

    graph = trace(torch.nn.Sequential(Residual(), Residual()).eval(), (torch.zeros(1, 4, 8, 8),)).to_json()
    drawing = draw(graph)
    titles = [box.title for section in drawing.sections for box in section.boxes]
    assert titles == ["input", "Conv2d 3x3", "+", "Conv2d 3x3", "+", "output"]
