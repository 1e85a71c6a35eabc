import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sartor.errors import ExportError, InputError, MissingExtraError
from sartor.export import Exporter, Loaded
from sartor.export._exporter import Differences
from sartor.registry import find, specs
from sartor.testing import check_exporter

PACKAGES = {
    "onnx": ["onnxruntime"], "openvino": ["openvino", "nncf"], "executorch": ["executorch", "torchao"],
    "litert": ["litert_torch", "ai_edge_quantizer"], "coreml": ["coremltools"],
    "hls4ml": ["hls4ml"],
}
# Each conversion takes a second or more: the precisions that take another way through a format.
TESTED = {
    "onnx": ("fp16", "int8", "int8-weights", "int4-weights"), "openvino": ("fp32", "int8", "int4-weights"),
    "executorch": ("fp32", "int8"), "litert": ("fp32", "int8", "int4-weights"),
    "coreml": ("fp16", "int4-weights", "palette4"), "hls4ml": ("fixed8",),
}


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8, padding=1),
            nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(128, 3),
        )


def rows(num, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.rand(1, 1, 6, 6, generator=generator),) for _ in range(num)]


def exporter_of(name) -> Exporter:
    for package in PACKAGES[name]:
        if package not in sys.modules:
            pytest.importorskip(package.partition(".")[0], reason=f"{package} is not installed: extra {name}")
    if name == "hls4ml" and shutil.which("g++") is None:
        pytest.skip("there is no g++")
    return find("exporters", name).load()


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_every_format_conforms_and_its_files_compute_what_the_network_does(name, tmp_path):
    exporter = exporter_of(name)
    reports = check_exporter(exporter, network(), rows(1)[0], rows(16), tmp_path, TESTED[name])
    if exporter.unrunnable():
        assert all(report.max_difference is None and report.notes for report in reports.values())
        return
    if "fp32" in reports:
        assert reports["fp32"].max_difference < 1e-5
    bounds = {"fp32": 1e-5, "fp16": 1e-3, "int8": 0.05, "int8-weights": 0.02, "int4-weights": 0.3, "fixed8": 0.05}
    for precision, report in reports.items():
        assert report.rms_difference < bounds[precision]


def test_every_format_is_listed_with_its_extra():
    known = specs("exporters")
    assert set(PACKAGES) <= set(known)
    assert all(spec.extra == name for name, spec in known.items() if name in PACKAGES)


@pytest.mark.parametrize("name", ["openvino", "executorch", "litert", "coreml", "hls4ml"])
def test_a_missing_package_names_feature_package_and_command(name, tmp_path, monkeypatch):
    exporter = find("exporters", name).load()
    package = next(p for p in exporter.packages if not p.startswith("onnx"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"exporting to {exporter.title} needs .*{package}.*sartor\[{name}\]"):
        path, (first, *_) = tmp_path / f"a{exporter.suffix}", exporter.precisions
        exporter.export(network(), rows(1)[0], path, precision=first, calibration=rows(1))
    assert list(tmp_path.iterdir()) == []


def test_int8_without_calibration_data_is_refused_before_anything_is_converted(tmp_path):
    with pytest.raises(InputError, match="int8 needs calibration data"):
        find("exporters", "onnx").load().export(network(), rows(1)[0], tmp_path / "a.onnx", precision="int8")


def test_a_wrong_precision_says_which_there_are(tmp_path):
    with pytest.raises(InputError, match="ExecuTorch has no precision 'fp16'.*it has fp32, int8"):
        find("exporters", "executorch").load().export(network(), rows(1)[0], tmp_path / "a.pte", precision="fp16")


class Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def deep(function):
    """A network whose layer 1.1 computes a function."""
    return nn.Sequential(nn.Conv2d(1, 1, 3), nn.Sequential(nn.ReLU(), Called(function)))


def exported(name, module, tmp_path, **options):
    exporter = exporter_of(name)
    path, (first, *_) = tmp_path / f"a{exporter.suffix}", exporter.precisions
    return exporter.export(module, rows(1)[0], path, precision=first, calibration=rows(2), **options)


FUNCTIONS = {
    # Under its own name, under that of a decomposition, and as one of several operators that it runs as.
    "linalg_qr": lambda x: torch.linalg.qr(x)[0],
    "erf_?inv": lambda x: torch.erfinv(0.5 * x),
    "_?linalg_svd(vals)?": torch.linalg.svdvals,
}


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
@pytest.mark.parametrize("operator", FUNCTIONS)
@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_an_operator_that_a_format_lacks_is_named_with_its_layer(name, operator, tmp_path, capfd):
    with pytest.raises(ExportError, match=rf"no operator for torch's {operator}, which is called in layer '1\.1'"):
        exported(name, deep(FUNCTIONS[operator]), tmp_path)
    assert list(tmp_path.iterdir()) == []
    if name in ("onnx", "openvino", "hls4ml"):
        # The others' libraries write to the terminal when first loaded.
        assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_network_whose_values_decide_what_is_computed_is_refused_by_its_layer(name, tmp_path):
    module = deep(lambda x: x * 2 if x.sum() > 0 else x)
    with pytest.raises(ExportError, match=r"fixed shapes, but in layer '1\.1' a value of a tensor .*torch\.where"):
        exported(name, module, tmp_path)
    assert list(tmp_path.iterdir()) == [] and not module[1][1]._forward_hooks


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
def test_indexing_by_values_is_refused_where_a_format_cannot(tmp_path):
    with pytest.raises(ExportError, match=r"LiteRT has no operator for torch's index, .*'1\.1'"):
        exported("litert", deep(lambda x: x[x > 0]), tmp_path)


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_network_that_counts_its_rows_is_for_one_row_alone(name, tmp_path):
    module = Called(lambda x: x * int(x.shape[0]))
    assert not exported(name, module, tmp_path).dynamic_batch
    with pytest.raises(ExportError, match="tried with batches of any size: leave the dynamic batch out"):
        exported(name, module, tmp_path, dynamic_batch=True)


def written(value):
    """An exporter whose files always compute the same."""

    def write(module, inputs, path, precision, calibration, dynamic):
        path.write_text("file")
        return ()

    def load(path):
        return Loaded(lambda arrays: lambda: [np.full((1, 2), value, np.float32)])

    return Exporter("made", "Made", ".made", ("fp32", "int8-weights"), "onnx", (), write, load)


@pytest.mark.parametrize("precision", ["fp32", "int8-weights"])
def test_a_file_that_computes_something_else_is_not_kept(tmp_path, precision):
    path = tmp_path / "a.made"
    path.write_text("older")
    with pytest.raises(ExportError, match="differs from torch by .* allowed .*Made.* was not written"):
        written(9.0).export(nn.Linear(2, 2), (torch.ones(1, 2),), path, precision=precision)
    assert [file.name for file in tmp_path.iterdir()] == ["a.made"] and path.read_text() == "older"


@pytest.mark.parametrize(
    "value, why",
    [(np.full((1, 3), 1.0, np.float32), r"an output of shape \(1, 3\) where torch's is \(1, 2\)"),
     (np.full((1, 2), np.nan, np.float32), "an output that is not a number")],
)
def test_a_file_whose_outputs_are_of_another_kind_is_said_to_be(value, why, tmp_path):
    exporter = replace(written(0.0), load=lambda path: Loaded(lambda arrays: lambda: [value]))
    with pytest.raises(ExportError, match=f"differs from torch: it gives {why}.*was not written; export to another"):
        exporter.export(nn.Linear(2, 2), (torch.ones(1, 2),), tmp_path / "a.made")
    assert list(tmp_path.iterdir()) == []


def test_the_tolerance_can_be_given(tmp_path):
    report = written(0.5).export(nn.Linear(2, 2), (torch.ones(1, 2),), tmp_path / "a.made", tolerance=10.0)
    assert report.max_difference > 1e-4 and report.bytes == 4


def test_a_dynamic_batch_that_a_format_has_not_is_refused(tmp_path):
    with pytest.raises(InputError, match="Made files are written for a batch of 1"):
        written(0.0).export(nn.Linear(2, 2), (torch.ones(1, 2),), tmp_path / "a.made", dynamic_batch=True)


def test_a_file_for_a_batch_of_one_takes_more_row_by_row():
    loaded = Loaded(lambda arrays: lambda: [arrays[0] * 2, arrays[0].sum(axis=1)])
    doubled, sums = loaded([np.arange(6, dtype=np.float32).reshape(3, 2)])
    assert doubled.tolist() == [[0, 2], [4, 6], [8, 10]] and sums.tolist() == [1, 5, 9]


def test_differences_are_relative_to_the_scale_and_infinite_where_there_is_none_to_take():
    found = Differences()
    found.add(np.array([1.0, 11.0]), np.array([1.0, 10.0]))
    assert found.largest == pytest.approx(0.1) and found.rms == pytest.approx(1 / np.sqrt(101))
    found.add(np.array([np.nan]), np.array([1.0]))
    assert found.largest == float("inf") and found.rms == float("inf")
    shapes = Differences()
    shapes.add(np.zeros(2), np.zeros(3))
    assert shapes.largest == float("inf") and not shapes.rms <= 1.0
