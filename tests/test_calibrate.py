import json

import pytest

from sartor import _calibrate
from sartor._calibrate import SpaceTable, calibrate, draw
from sartor.devices.kernels import kernels_of
from sartor.devices.named import find_device
from sartor.errors import InputError
from sartor.trials import Figure


@pytest.fixture
def measured(monkeypatch):
    """A device on which a network takes 1 us for 100,000 multiply-accumulates and 10 us besides."""
    names = []

    def measure(each, spaces, device):
        names.append(each.name)
        macs = sum(kernel.macs for kernel in kernels_of(*each.build(spaces)))
        figure = Figure(0.01 + macs / 1e8, "ms", error=0.03, kind="measured")
        return {"latency": figure.to_json(), "profile": []}

    monkeypatch.setattr(_calibrate, "_measure", measure)
    return names


def test_a_calibration_writes_a_device_with_the_error_on_networks_held_out(measured, tmp_path):
    found = calibrate(tmp_path / "mine.json", networks=12, names=["mbconv"], forms=[(28, 1)])
    assert found.validation.num_networks == 12 and found.validation.spearman > 0.8
    assert find_device(str(found.file)).device.validation == found.validation
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_an_interrupted_calibration_goes_on_where_it_was(measured, tmp_path):
    def interrupt(done, name, figure):
        if done == 4:
            raise KeyboardInterrupt

    options = {"networks": 8, "names": ["mbconv"], "forms": [(28, 1)]}
    with pytest.raises(KeyboardInterrupt):
        calibrate(tmp_path / "mine.json", **options, on_network=interrupt)
    calibrate(tmp_path / "mine.json", **options)
    assert len(measured) == len(set(measured)) == 8
    assert json.loads((tmp_path / "mine.json").read_text())["networks"] == measured


def test_the_network_of_a_number_depends_on_the_seed_alone():
    spaces = SpaceTable()
    assert draw(3, 1, spaces) == draw(5, 1, spaces)[:3] != draw(3, 2, spaces)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"networks": 7}, "expected 8 to 1000 networks, got 7"),
        ({"device": "raspberry-pi-4"}, "does not measure: calibrate on cpu or on http"),
        ({"names": ["mbconf"]}, "did you mean 'mbconv'"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        calibrate(tmp_path / "mine.json", **options)
    with pytest.raises(InputError, match=r"expected a \.json file"):
        calibrate(tmp_path / "mine.toml")
