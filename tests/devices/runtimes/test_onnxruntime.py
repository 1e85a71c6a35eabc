import numpy as np
import torch
from torch import nn

from sartor.devices.cpu import CpuLatency
from sartor.devices.runtimes import Runtime
from sartor.devices.runtimes.onnxruntime import OnnxRuntime
from sartor.registry import specs


class TwoInputs(nn.Module):
    def forward(self, unread, scale, image):
        return image * scale


def test_every_runtime_that_is_listed_is_a_runtime():
    for spec in specs("runtimes").values():
        if spec.extra == "onnx":
            assert isinstance(spec.load()(), Runtime)


def test_the_prepared_call_computes_what_the_network_does():
    module, image = nn.Conv2d(1, 2, 3), torch.rand(1, 1, 5, 5)
    (out,) = OnnxRuntime().prepare(module, (image,))()
    np.testing.assert_allclose(out, module(image).detach().numpy(), atol=1e-5)


def test_inputs_keep_their_places_where_one_is_not_read():
    given = (torch.zeros(1), torch.full((1,), 3.0), torch.ones(1, 2))
    (out,) = OnnxRuntime().prepare(TwoInputs(), given)()
    assert out.tolist() == [[3.0, 3.0]]


def test_the_runtime_is_part_of_the_name_under_which_figures_are_kept():
    assert CpuLatency(runtime="onnxruntime").name.endswith("1 thread, ONNX Runtime)")
