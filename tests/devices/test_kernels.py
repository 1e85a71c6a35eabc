import pytest
import torch
from torch import nn

from sartor.devices.counts import Counts
from sartor.devices.kernels import kernels_of
from sartor.nets import MBConv


class Residual(nn.Module):
    def __init__(self, shared=False):
        super().__init__()
        self.first, self.norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.act, self.shared = nn.ReLU(), shared

    def forward(self, x):
        y = self.norm(self.first(x))
        out = self.act(y + x)
        return out + y if self.shared else out


def kinds(module, *shape):
    return [(kernel.kind, kernel.fused) for kernel in kernels_of(module.eval(), (torch.zeros(*shape),))]


def test_normalisation_addition_and_activation_are_fused_into_the_convolution():
    assert kinds(Residual(), 1, 4, 6, 6) == [("convolution", ("normalise", "add", "activation"))]


def test_nothing_is_fused_where_the_output_is_read_again():
    assert kinds(Residual(shared=True), 1, 4, 6, 6) == [
        ("convolution", ("normalise",)), ("add", ()), ("activation", ()), ("add", ()),
    ]


def test_activations_that_runtimes_do_not_fuse_stay_alone():
    assert kinds(nn.Sequential(nn.Conv2d(1, 2, 1), nn.GELU()), 1, 1, 4, 4) == [("pointwise", ()), ("gelu", ())]


@pytest.mark.parametrize(
    "groups, size, kind", [(1, 3, "convolution"), (1, 1, "pointwise"), (2, 3, "grouped"), (4, 3, "depthwise")]
)
def test_convolutions_are_told_apart_by_groups_and_window(groups, size, kind):
    (kernel,) = kernels_of(nn.Conv2d(4, 4, size, groups=groups), (torch.zeros(1, 4, 5, 5),))
    assert (kernel.kind, kernel.groups, kernel.size) == (kind, groups, size * size)


def test_bytes_are_those_of_the_tensors_moved():
    (kernel,) = kernels_of(nn.Conv2d(1, 2, 3), (torch.zeros(1, 1, 5, 5),))
    assert (kernel.read_bytes, kernel.weight_bytes, kernel.write_bytes) == (25 * 4, (18 + 2) * 4, 18 * 4)


def test_an_addition_reads_the_other_operand():
    (kernel,) = kernels_of(Residual().eval(), (torch.zeros(1, 4, 6, 6),))
    assert kernel.read_bytes == 2 * 4 * 36 * 4


def test_macs_add_up_to_the_exact_count():
    module, inputs = MBConv(8, 8, kernel=3, expand=3, squeeze_excite=True).eval(), (torch.zeros(1, 8, 7, 7),)
    exact = Counts().count(module, inputs)["macs"].value
    assert sum(kernel.macs for kernel in kernels_of(module, inputs)) == exact
