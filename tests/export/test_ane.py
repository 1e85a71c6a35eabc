from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sartor.errors import InputError
from sartor.export import ane
from sartor.export.ane import Operation, check, chips


def operation(kind="relu", shapes=((1, 8, 4, 4),), types=("float16",), bits=(16,), weight=(), **values):
    return Operation(kind, "out", values, tuple(shapes), tuple(bits), tuple(types), tuple(weight))


def rules_broken(op):
    return {(f.rule, f.severity) for rule in ane.RULES for f in rule(op)}


@pytest.mark.parametrize(
    ("op", "broken"),
    [
        (operation(), None),
        (operation(types=("float32",), bits=(32,)), ("float16", "forbids")),
        (operation("cast", types=("float32",), bits=(32,)), None),
        (operation(types=("int32",), bits=(32,)), ("float16", "forbids")),
        (operation(shapes=((1, 2, 3, 4, 5),)), ("rank", "forbids")),
        (operation(shapes=((1, None, 4, 4),)), ("static shapes", "forbids")),
        (operation(shapes=((1, 1, 1, 16_384),)), None),
        (operation(shapes=((1, 1, 1, 16_385),)), ("sizes", "forbids")),
        (operation(shapes=((1, 65_537, 1, 1),)), ("sizes", "forbids")),
        (operation("conv", weight=(8, 8, 3, 13)), None),
        (operation("conv", weight=(8, 8, 3, 14)), ("kernel", "forbids")),
        (operation("conv", weight=(8, 8, 3, 3, 3)), ("convolution", "forbids")),
        (operation("conv", weight=(8, 8, 3, 3), dilations=(2, 2)), ("dilation", "slows")),
        (operation("max_pool", kernel_sizes=(13, 13), strides=(2, 2)), None),
        (operation("avg_pool", kernel_sizes=(14, 14), strides=(2, 2)), ("pool", "forbids")),
        (operation("max_pool", kernel_sizes=(3, 3), strides=(3, 3)), ("pool", "forbids")),
        (operation("lstm"), ("recurrent", "forbids")),
        (operation("scatter_nd"), ("scatter", "forbids")),
        (operation("custom_thing"), ("custom", "forbids")),
        (operation("non_zero"), ("data-dependent", "forbids")),
        (operation("reduce_prod"), ("reduce_prod", "forbids")),
        (operation("reduce_argmax", shapes=((1, 2_049),)), ("arg", "forbids")),
        (operation(shapes=((1, 64, 128, 127),)), None),
        (operation(shapes=((1, 64, 128, 128),)), ("operand", "slows")),
    ],
)
def test_each_rule_finds_what_it_is_for_and_nothing_at_its_limit(op, broken):
    assert rules_broken(op) == (set() if broken is None else {broken})


def test_every_finding_says_what_to_change_and_where_the_rule_is_from():
    wide = operation("lstm", shapes=((1, 2, 3, 4, None),), types=("float32",))
    for op in (wide, operation("conv", weight=(1, 1, 1, 99))):
        for rule in ane.RULES:
            for finding in rule(op):
                assert finding.change and finding.source and "'out'" in finding.operation


def test_the_chips_go_from_a11_to_m5_each_with_its_source():
    found = {chip.name: chip for chip in chips()}
    assert {"A11", "A17 Pro", "M1", "M4", "M5"} <= set(found)
    assert all(chip.source for chip in found.values())
    assert (found["A11"].tops, found["M4"].tops, found["M5"].tops) == (0.6, 38, None)
    assert found["A17 Pro"].w8a8 and not found["A16"].w8a8


def test_what_is_no_core_ml_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no file .*a.mlpackage"):
        check(tmp_path / "a.mlpackage")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected a Core ML \.mlpackage"):
        check(tmp_path / "a.onnx")


@pytest.mark.filterwarnings("ignore")
def test_a_converted_network_is_read_and_judged(tmp_path):
    pytest.importorskip("coremltools", reason="coremltools is not installed: extra coreml")
    from sartor.registry import find

    exporter = find("exporters", "coreml").load()
    inputs = (torch.rand(1, 3, 32, 32),)
    good = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
    exporter.export(good, inputs, tmp_path / "good.mlpackage", precision="fp16")
    verdict = check(tmp_path / "good.mlpackage")
    assert verdict.is_eligible and verdict.num_operations >= 4 and "runs on" not in str(verdict)
    bad = nn.Sequential(nn.Conv2d(3, 8, (1, 15)), nn.MaxPool2d(4))
    exporter.export(bad, inputs, tmp_path / "bad.mlpackage", precision="fp16")
    verdict = check(tmp_path / "bad.mlpackage")
    assert {finding.rule for finding in verdict.findings} == {"kernel", "pool"}
    assert not verdict.is_eligible and "not eligible" in str(verdict)
    exporter.export(good, inputs, tmp_path / "wide.mlpackage", precision="fp32")
    assert {finding.rule for finding in check(tmp_path / "wide.mlpackage").findings} == {"float16"}
    damaged = tmp_path / "damaged.mlpackage" / "Data"
    damaged.mkdir(parents=True)
    (damaged / "model.mlmodel").write_bytes(b"no protobuf")
    with pytest.raises(InputError, match="is not a Core ML model, or damaged"):
        check(tmp_path / "damaged.mlpackage")


def test_a_range_of_input_shapes_is_a_finding():
    kind = SimpleNamespace(multiArrayType=SimpleNamespace(WhichOneof=lambda name: "shapeRange"))
    spec = SimpleNamespace(description=SimpleNamespace(input=[SimpleNamespace(name="x", type=kind)]))
    (finding,) = ane._inputs(spec)
    assert finding.rule == "static shapes" and "EnumeratedShapes" in finding.change
