import copy
import errno
import json
import logging
import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import sartor
from sartor.errors import ExportError, InputError, MissingExtraError
from sartor.export import onnx as export_module
from sartor.export.onnx import export_onnx
from sartor.testing.randomness import global_random_state

DESCRIPTION = {
    "classes": ["circle", "Ünïcode"], "input": {"height": 6, "width": 6}, "task": "shapes",
    "architecture": {"width": 4, "blocks.0.kernel": 3}, "metrics": {"accuracy": 0.5},
}


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU6(), nn.Dropout(), nn.Flatten(), nn.Linear(64, 2)
        )


INPUTS = (torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0)),)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network and its file, exported once while it was in training mode, and all that was said and changed."""
    module = network().train()
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = global_random_state()
    path = tmp_path_factory.mktemp("export") / "shapes.onnx"
    report = export_onnx(module, INPUTS, path, description=DESCRIPTION)
    random = (before, global_random_state())
    return {"module": module, "weights": weights, "path": path, "report": report, "random": random}


@pytest.fixture
def ready_made(exported, monkeypatch):
    """Skips the exporter: it returns the model that was exported once."""
    monkeypatch.setattr(export_module, "_convert", lambda module, inputs, dynamic: onnx.load(exported["path"]))


def test_the_file_computes_what_the_network_does_for_any_batch(exported):
    module = copy.deepcopy(exported["module"]).eval()
    session = onnxruntime.InferenceSession(exported["path"], providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        images = torch.rand(batch, 1, 6, 6)
        with torch.no_grad():
            expected = module(images).numpy()
        np.testing.assert_allclose(session.run(None, {"input": images.numpy()})[0], expected, atol=1e-5)


def test_the_report_says_what_was_checked(exported):
    report = exported["report"]
    assert report.path == exported["path"] and report.bytes == exported["path"].stat().st_size
    assert report.dynamic_batch and report.num_checked == 9
    assert 0 <= report.max_difference < 1e-5
    assert (report.format, report.precision) == ("onnx", "fp32")


def test_the_description_is_in_the_metadata_beside_the_version(exported):
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load(exported["path"]).metadata_props}
    assert metadata == {"sartor.version": sartor.__version__, **{f"sartor.{k}": v for k, v in DESCRIPTION.items()}}


def test_the_file_tells_nothing_of_the_machine_it_was_made_on(exported):
    content = exported["path"].read_bytes()
    for word in (b"site-packages", b"stack_trace", os.getcwd().encode(), b".py"):
        assert word not in content


def test_export_leaves_the_network_and_the_random_state_alone(exported):
    module = exported["module"]
    assert exported["random"][0] == exported["random"][1]
    assert all(part.training for part in module.modules())
    assert all(torch.equal(tensor, exported["weights"][name]) for name, tensor in module.state_dict().items())


def test_export_says_nothing(tmp_path, capfd, caplog):
    export_onnx(nn.Linear(2, 2), (torch.zeros(1, 2),), tmp_path / "a.onnx", description={})
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    class Net(nn.Module):
        def forward(self, number, index):
            return number - index, index * 2

    report = export_onnx(Net(), (torch.rand(1, 3), torch.tensor([[4, 5, 6]])), tmp_path / "a.onnx", description={})
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["input_0", "input_1"]
    first, second = session.run(None, {"input_0": np.ones((2, 3), np.float32), "input_1": np.full((2, 3), 3)})
    assert first[0, 0] == -2 and second[0, 0] == 6


def test_a_network_of_fixed_batch_is_exported_for_one(tmp_path):
    class One(nn.Module):
        def forward(self, x):
            if x.shape[0] != 1:
                raise ValueError("one at a time")
            return x * 2

    report = export_onnx(One(), (torch.rand(1, 3),), tmp_path / "a.onnx", description={})
    assert not report.dynamic_batch
    shape = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    assert shape == [1, 3]


def test_a_file_that_differs_from_torch_is_not_kept(tmp_path, ready_made):
    path = tmp_path / "a.onnx"
    with pytest.raises(ExportError, match=r"differs from torch by [0-9.]+ .*more than the 0\.0001 allowed"):
        export_onnx(network(seed=1), INPUTS, path, description={})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_older_file(tmp_path, ready_made):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"older")
    with pytest.raises(ExportError):
        export_onnx(network(seed=1), INPUTS, path, description={})
    assert path.read_bytes() == b"older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]


def test_outputs_that_are_not_numbers_are_a_difference(tmp_path, ready_made):
    broken = network()
    with torch.no_grad():
        broken[5].bias.fill_(float("nan"))
    with pytest.raises(ExportError, match="gives an output that is not a number"):
        export_onnx(broken, INPUTS, tmp_path / "a.onnx", description={})


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, ready_made, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"cannot write .*a\.onnx: No space left on device"):
        export_onnx(network(), INPUTS, tmp_path / "a.onnx", description={})
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_says_why_and_nothing_else(tmp_path, capfd):
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ExportError, match="a value of a tensor decides what is computed"):
        export_onnx(Branching(), (torch.rand(1, 3),), tmp_path / "a.onnx", description={})
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_missing_folder_and_a_folder_in_its_place_are_refused(tmp_path):
    with pytest.raises(InputError, match="no folder .*nowhere"):
        export_onnx(network(), INPUTS, tmp_path / "nowhere" / "a.onnx", description={})
    with pytest.raises(InputError, match="expected a file to write, got the folder"):
        export_onnx(network(), INPUTS, tmp_path, description={})


def test_a_description_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="description that is JSON"):
        export_onnx(network(), INPUTS, tmp_path / "a.onnx", description={"when": object()})


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'exporting to ONNX needs the package .{package}.*sartor\[onnx\]'):
        export_onnx(network(), INPUTS, tmp_path / "a.onnx", description={})


def test_the_codec_whose_batch_cannot_be_dynamic_is_exported_with_a_fixed_one(tmp_path):
    from tests.odd_tasks.codec import CodecTask

    task = CodecTask()
    architecture = task.baseline()
    deployed = task.deploy(task.build(task.space(), architecture), architecture).eval()
    report = export_onnx(deployed, task.example_inputs(architecture), tmp_path / "codec.onnx", description={})
    assert report.max_difference < 1e-4 and (tmp_path / "codec.onnx").exists()
