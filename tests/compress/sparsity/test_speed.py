from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import global_masks, pruned
from sartor.compress.sparsity.sparse_file import write_sparse
from sartor.compress.sparsity.speed import measure_speed, with_csr
from sartor.errors import InputError, UnsupportedNetworkError
from sartor.export._ort import session
from sartor.export.onnx import export_onnx
from tests.compress.made import convolutional, images


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 5, 3, stride=2, padding=1, dilation=2), (2, 3, 9, 7)),
        (nn.Conv2d(3, 5, (1, 3), padding="same", bias=False), (2, 3, 9, 7)),
        (nn.Conv2d(3, 5, 1), (2, 3, 9, 7)),
        (nn.Linear(6, 4), (2, 5, 6)),
        (nn.Linear(6, 4, bias=False), (2, 6)),
    ],
)
def test_layers_on_csr_weights_compute_the_same(layer: nn.Module, shape: tuple[int, ...]) -> None:
    made = pruned(layer, global_masks(magnitude(layer), 0.7))
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(with_csr(made)(x), made(x))


def test_dense_and_sparse_latencies_are_measured_side_by_side() -> None:
    network = convolutional(16)
    made = pruned(network, global_masks(magnitude(network), 0.9)).train()
    found = measure_speed(made, (images(1),), block_s=0.002)
    assert list(found) == ["dense", "zeros", "csr", "onnxruntime"]
    assert all(figure.unit == "ms" and figure.kind == "measured" and figure.value > 0 for figure in found.values())
    assert made.training
    with pytest.raises(UnsupportedNetworkError, match="no linear layer and no plain convolution"):
        with_csr(nn.LSTM(3, 3))


def test_a_file_without_zeros_is_smaller_and_computes_the_same(tmp_path: Path) -> None:
    network = convolutional(48).eval()
    made = pruned(network, global_masks(magnitude(network), 0.95))
    export_onnx(made, (images(1),), tmp_path / "dense.onnx", description={"classes": ["a", "b", "c"]})
    dense = (tmp_path / "dense.onnx").read_bytes()
    size = write_sparse(tmp_path / "dense.onnx", tmp_path / "sparse.onnx")
    assert size == (tmp_path / "sparse.onnx").stat().st_size < 0.45 * len(dense)
    assert (tmp_path / "dense.onnx").read_bytes() == dense
    runtime = session(str(tmp_path / "sparse.onnx"), "test")
    assert runtime.get_modelmeta().custom_metadata_map["sartor.classes"] == '["a", "b", "c"]'
    x = images(4)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(runtime.run(None, {"input": x.numpy()})[0]), made(x))
    tensor = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    graph = onnx.helper.make_graph([], "full", [], [], [tensor])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "full.onnx")
    with pytest.raises(InputError, match="no weight has so many zeros"):
        write_sparse(tmp_path / "full.onnx", tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
