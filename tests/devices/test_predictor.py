import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sartor.devices._blocked import steps_of
from sartor.devices._profile import Timed
from sartor.devices.kernels import kernels_of
from sartor.devices.lookup import LookupTable, build, content_of
from sartor.devices.named import FORMAT, find_device
from sartor.devices.predictor import Measured, PredictedLatency, Predictor, fit, validate
from sartor.errors import InputError
from sartor.nets import MBConv

WIDTHS = [
    (8, 16, 3), (12, 24, 5), (16, 16, 3), (16, 32, 5), (24, 32, 3), (8, 8, 5), (20, 40, 3), (32, 48, 3), (12, 16, 5),
]


def network(narrow, wide, kernel):
    blocks = MBConv(3, narrow, kernel=kernel, expand=3), MBConv(narrow, wide, kernel=kernel, expand=2)
    return nn.Sequential(*blocks).eval()


def made(narrow, wide, kernel, side=12):
    """A network as a runtime would time it that takes 1 us an operation and 1 us for 100,000 multiply-accumulates."""
    kernels = kernels_of(network(narrow, wide, kernel), (torch.zeros(1, 3, side, side),))
    profile, total = [], 0.0
    for step in steps_of(kernels, 16):
        ms = 1e-3 + step.macs / 1e5 * 1e-3
        total += ms
        out = (1, int(step.channels_out), int(step.places), 1) if step.channels_out else (1, int(step.write), 1, 1)
        side = int(step.read) // max(1, int(step.channels_in))
        image = (1, int(step.channels_in), side, 1) if step.channels_in else (1, int(step.read), 1, 1)
        if step.kind.startswith(("convolution", "pointwise", "depthwise")):
            each = 1 if step.kind.startswith("depthwise") else int(step.channels_in)
            edge = int(round(step.size**0.5))
            profile.append(Timed("Conv", (image, (int(step.channels_out), each, edge, edge)), out, ms + 2e-3))
        else:
            kind = {"reorder out": "ReorderOutput", "reorder in": "ReorderInput"}.get(step.kind, "Add")
            profile.append(Timed(kind, ((1, 16, int(step.read) // 16, 1),), (1, int(step.write), 1, 1), ms + 2e-3))
    return Measured(f"{narrow}-{wide}-{kernel}", kernels, total, tuple(profile))


@pytest.fixture(scope="module")
def networks():
    return [made(*shape) for shape in WIDTHS]


def test_operators_that_follow_the_model_are_recovered(networks):
    model = fit(networks[:7])
    for held in networks[7:]:
        assert model.predict_ms(held.kernels) == pytest.approx(held.latency_ms, rel=0.03)
    assert model.block == 16


def test_what_the_profiler_adds_is_taken_off(networks):
    slowed = [
        replace(n, profile=tuple(replace(t, ms=t.ms + 5e-3) for t in n.profile)) for n in networks
    ]
    plain, other = fit(networks).predict_ms(networks[0].kernels), fit(slowed).predict_ms(networks[0].kernels)
    assert other == pytest.approx(plain, rel=1e-6)


def test_networks_without_a_profile_are_fitted_on_their_totals(networks):
    model = fit([replace(n, profile=()) for n in networks])
    predicted = [model.predict_ms(n.kernels) for n in networks]
    assert np.corrcoef(predicted, [n.latency_ms for n in networks])[0, 1] > 0.95


def test_no_part_of_a_time_is_negative(networks):
    model = fit(networks)
    assert all(value >= 0 for values in model.operators.values() for value in values)
    assert min(model.factors.values()) >= 0 and model.per_step_ms >= 0 and model.constant_ms >= 0


def test_the_error_is_that_of_networks_held_out(networks):
    found = validate(networks, seed=0)
    assert found.num_networks == len(networks) and found.mean <= found.p90 < 0.2
    noisy = [replace(n, latency_ms=n.latency_ms * (1.5 if i % 2 else 1)) for i, n in enumerate(networks)]
    assert validate(noisy).mean > 2 * found.mean


def test_a_predictor_survives_json(networks):
    model = fit(networks)
    again = Predictor.from_json(json.loads(json.dumps(model.to_json())))
    assert again.predict_ms(networks[0].kernels) == model.predict_ms(networks[0].kernels)


def test_too_few_networks_or_a_latency_of_nothing_are_refused(networks):
    with pytest.raises(InputError, match="at least 5 networks"):
        fit(networks[:4])
    with pytest.raises(InputError, match="network 8-16-3: expected a positive latency"):
        fit([replace(networks[0], latency_ms=0.0), *networks[1:]])


def file_of(tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    return path


def test_a_calibrated_file_is_a_device_with_its_error(networks, tmp_path):
    content = {
        "format": FORMAT, "kind": "predictor", "device": "a board", "predictor": fit(networks).to_json(),
        "validation": vars(validate(networks)),
    }
    found = find_device(str(file_of(tmp_path, content)))
    assert found.label == "mine" and isinstance(found.device, PredictedLatency)
    figure = found.device.predict(network(8, 16, 3), (torch.zeros(1, 3, 12, 12),))["latency_ms"]
    assert figure.kind == "estimated" and figure.error == pytest.approx(validate(networks).p90, abs=1e-4)
    assert figure.value == pytest.approx(networks[0].latency_ms, rel=0.03)
    assert "held out" in figure.note


def test_a_table_adds_up_operators_and_names_one_that_it_lacks(networks, tmp_path):
    content = content_of(networks, networks[:2], "a board")
    device = LookupTable(str(file_of(tmp_path, content)))
    figure = device.estimate(network(8, 16, 3), (torch.zeros(1, 3, 12, 12),))["latency_ms"]
    assert figure.value == pytest.approx(networks[0].latency_ms, rel=0.03)
    with pytest.raises(InputError, match="has no operator .*convolution"):
        device.estimate(nn.Conv2d(3, 7, 3), (torch.zeros(1, 3, 12, 12),))
    with pytest.raises(InputError, match="that were profiled"):
        build([replace(networks[0], profile=())])


def test_a_file_that_lacks_something_says_what(tmp_path):
    path = file_of(tmp_path, {"format": FORMAT, "kind": "predictor", "device": "x"})
    with pytest.raises(InputError, match="is no calibrated device: KeyError\\('predictor'\\)"):
        PredictedLatency(str(path))
