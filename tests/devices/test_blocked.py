import pytest
import torch
from torch import nn

from sartor.devices._blocked import steps_of
from sartor.devices.kernels import kernels_of


def kinds(module, *shape, block=16):
    return [step.kind for step in steps_of(kernels_of(module.eval(), (torch.zeros(*shape),)), block)]


def test_few_channels_are_read_as_they_are_and_written_in_blocks():
    assert kinds(nn.Conv2d(3, 16, 3), 1, 3, 8, 8) == ["convolution direct", "reorder out"]


def test_a_pooling_of_whole_blocks_stays_in_them_and_one_of_a_part_does_not():
    whole, part = (nn.Sequential(nn.Conv2d(3, n, 3), nn.MaxPool2d(2)) for n in (16, 8))
    assert kinds(whole, 1, 3, 8, 8) == ["convolution direct", "max_pool blocked", "reorder out"]
    assert kinds(part, 1, 3, 8, 8) == ["convolution direct", "reorder out", "max_pool"]


def test_channels_are_padded_to_whole_blocks():
    step = steps_of(kernels_of(nn.Conv2d(20, 24, 1), (torch.zeros(1, 20, 4, 4),)), 16)[1]
    assert (step.kind, step.channels_in, step.channels_out, step.macs) == ("pointwise blocked", 32, 32, 16 * 32 * 32)


def test_without_blocks_nothing_is_copied():
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.MaxPool2d(2))
    assert kinds(module, 1, 3, 8, 8, block=1) == ["convolution", "max_pool"]


@pytest.mark.parametrize("space", ["mbconv", "resnet-like", "once-for-all", "hierarchical"])
def test_convolutions_and_copies_are_as_many_as_the_runtime_makes(space, tmp_path, monkeypatch):
    from sartor import _quiet
    from sartor._calibrate import SpaceTable, draw
    from sartor.devices._profile import profile
    from sartor.devices.predictor import _block

    monkeypatch.setattr(_quiet, "_folder", lambda: tmp_path)
    monkeypatch.setattr("sartor.devices._profile._PROFILED_S", 0.0)
    spaces = SpaceTable()
    module, inputs = draw(1, 3, spaces, names=[space])[0].build(spaces)
    timed = profile(module, inputs)
    steps = [step.kind for step in steps_of(kernels_of(module, inputs), _block(timed))]
    found = [each.kind for each in timed]
    convolutions = [kind for kind in steps if kind.split()[0] in ("convolution", "pointwise", "depthwise", "grouped")]
    assert len(convolutions) == found.count("Conv")
    assert steps.count("reorder out") == found.count("ReorderOutput")
    assert steps.count("reorder in") == found.count("ReorderInput")
