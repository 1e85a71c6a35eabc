from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sartor.compress.quantisation.static import quantise_static
from sartor.compress.quantisation.weight_only import four_bit_file
from sartor.errors import DataError, InputError
from sartor.export._ort import session
from sartor.export.onnx import export_onnx
from tests.compress.made import convolutional, images


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("static") / "net.onnx"
    network = convolutional(32).eval()
    export_onnx(network, (images(1),), path, description={"classes": ["a", "b", "c"]})
    return path, network


def test_an_int8_file_is_smaller_and_computes_nearly_the_same(exported: tuple[Path, nn.Module], tmp_path: Path) -> None:
    source, network = exported
    before = source.read_bytes()
    report = quantise_static(source, tmp_path / "int8.onnx", [images(64)])
    assert source.read_bytes() == before
    assert report.num_quantised == 4
    assert report.bytes == (tmp_path / "int8.onnx").stat().st_size < 0.5 * report.bytes_before
    x = images(16, 1)
    ours = session(str(report.path), "test").run(None, {"input": x.numpy()})[0]
    with torch.no_grad():
        theirs = network(x).numpy()
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()
    kept = {entry.key: entry.value for entry in onnx.load(report.path).metadata_props}
    assert kept["sartor.classes"] == '["a", "b", "c"]'
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_inputs_that_do_not_fit_are_refused(exported: tuple[Path, nn.Module], tmp_path: Path) -> None:
    source, _ = exported
    out = tmp_path / "int8.onnx"
    broken = images(4)
    broken[1, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="calibration batch 0: 1 of"):
        quantise_static(source, out, [broken])
    with pytest.raises(InputError, match="at least one batch"):
        quantise_static(source, out, [])
    with pytest.raises(InputError, match="does not take the calibration inputs"):
        quantise_static(source, out, [torch.zeros(2, 5, 8, 8)])
    with pytest.raises(InputError, match="takes 1 inputs, a calibration batch has 2"):
        quantise_static(source, out, [(images(2), images(2))])
    with pytest.raises(InputError, match="write to another"):
        quantise_static(source, source, [images(2)])
    with pytest.raises(InputError, match="no folder"):
        quantise_static(source, tmp_path / "no" / "int8.onnx", [images(2)])
    with pytest.raises(InputError, match="there is no"):
        quantise_static(tmp_path / "none.onnx", out, [images(2)])
    assert list(tmp_path.iterdir()) == []


def test_four_bits_for_matrix_products(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 128, bias=False), nn.ReLU(), nn.Linear(128, 3, bias=False))
    x = torch.randn(5, 2, 64)
    export_onnx(network, (x[:1],), tmp_path / "net.onnx", description={})
    size = four_bit_file(tmp_path / "net.onnx", tmp_path / "four.onnx")
    assert size < 0.5 * (tmp_path / "net.onnx").stat().st_size
    given = session(str(tmp_path / "four.onnx"), "test").run(None, {"input": x.numpy()})[0]
    wanted = network(x).detach().numpy()
    assert np.abs(given - wanted).mean() < 0.25 * np.abs(wanted).mean()
    with pytest.raises(InputError, match="power of 2"):
        four_bit_file(tmp_path / "net.onnx", tmp_path / "other.onnx", block=24)
