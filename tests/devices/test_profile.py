import pytest
import torch
from torch import nn

from sartor import _quiet
from sartor.devices._profile import Timed, _timed, profile


def node(name, shape, microseconds):
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds,
        "args": {"op_name": name, "input_type_shape": [{"float": shape}], "output_type_shape": [{"float": shape}]},
    }


def test_operators_are_averaged_over_the_fastest_quarter_of_the_runs():
    events = [{"cat": "Session", "name": "model_run", "dur": 9}]
    for slow in (100, 0, 100, 100, 2, 100, 100, 100):
        events += [node("Conv", [1, 8], 10 + slow), node("Add", [1, 8], 3)]
    conv, add = _timed(events, 8)
    assert (conv.ms, add.ms) == (pytest.approx(0.011), pytest.approx(0.003))
    assert conv == Timed("Conv", ((1, 8),), (1, 8), conv.ms)


def test_a_network_is_profiled_operator_by_operator(tmp_path, monkeypatch):
    monkeypatch.setattr(_quiet, "_folder", lambda: tmp_path)
    found = profile(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Softmax(1)), (torch.rand(1, 2, 2),))
    assert [timed.kind for timed in found][-2:] == ["Gemm", "Softmax"]
    assert found[-1].output == (1, 2) and all(timed.ms > 0 for timed in found)
    assert Timed.from_json(found[0].to_json()).kind == found[0].kind
