import json

import pytest

from sartor.devices.named import OnDevice, find_device, read_device_file, several
from sartor.errors import InputError
from tests.devices.test_roofline import TARGET


@pytest.mark.parametrize(
    "text, label, target",
    [
        ("counts", "counts", "sartor.devices.counts:Counts"),
        ("cpu:onnxruntime", "cpu-onnxruntime", "sartor.devices.cpu:CpuLatency"),
        ("raspberry-pi-4", "raspberry-pi-4", "sartor.devices.roofline:Roofline"),
        ("pi=raspberry-pi-4", "pi", "sartor.devices.roofline:Roofline"),
        ("http://board:8790/", "board", "sartor.devices.remote:Remote"),
        ("phone=http://10.0.0.2:8790", "phone", "sartor.devices.remote:Remote"),
        ("own.devices:Board", "Board", "own.devices:Board"),
    ],
)
def test_devices_are_found_by_what_people_call_them(text, label, target):
    found = find_device(text)
    assert (found.label, found.target) == (label, target)


def test_a_precision_follows_a_colon():
    assert find_device("cortex-m7:fp32").device.precision == "fp32"


def test_a_target_of_ones_own_is_pinned_to_its_content(tmp_path):
    file = tmp_path / "toy.toml"
    file.write_text(TARGET)
    found = find_device(str(file))
    file.write_text(TARGET + "\n")
    with pytest.raises(InputError, match="not the one that this run began with"):
        found.device.name  # noqa: B018


@pytest.mark.parametrize(
    "text, message",
    [
        ("raspbery-pi-4", "did you mean 'raspberry-pi-4'"),
        ("cpu:onxruntime", "did you mean 'onnxruntime'"),
        ("counts:fast", "takes no option"),
        ("my pi=cpu", "a name of letters"),
        ("none.json", "cannot read the device file"),
        ("http://", "expected an address"),
    ],
)
def test_what_names_no_device_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        find_device(text)


def test_a_json_file_that_is_no_device_is_refused(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"format": "sartor-device-1", "kind": "toaster"}))
    with pytest.raises(InputError, match="is no device file"):
        read_device_file(file)


def test_figures_of_several_devices_carry_their_names():
    counts, pi, tpu = several(["raspberry-pi-4", "counts", "tpu=edge-tpu"])
    assert counts.device.figures[0] == "params"
    assert pi.device.figures == ("latency_ms@raspberry-pi-4",)
    assert tpu.device.figures == ("latency_ms@tpu", "energy_mj@tpu")


def test_figures_of_one_device_keep_theirs():
    assert not any(isinstance(each.device, OnDevice) for each in several(["counts", "edge-tpu"]))


def test_two_devices_of_one_name_are_refused():
    with pytest.raises(InputError, match="two devices are called 'a'"):
        several(["a=edge-tpu", "a=raspberry-pi-4"])
