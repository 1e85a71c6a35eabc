import pytest

from sartor.devices.targets import load_target, target_names
from sartor.errors import InputError

GOOD = """
name = "board"
title = "A board"
kind = "mcu"
[peak.int8]
value = 4.0
unit = "GOP/s"
source = "data sheet"
"""


def written(tmp_path, text):
    path = tmp_path / "board.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", target_names())
def test_every_shipped_target_loads_under_its_own_name_and_each_number_has_a_source(name):
    target = load_target(name)
    assert target.name == name
    assert all(quantity.source and quantity.si > 0 for _, quantity in target.numbers())
    assert any(target.numbers()) or "No reliable figure" in target.notes


def test_the_kinds_of_devices_that_people_deploy_to_are_there():
    assert {load_target(name).kind for name in target_names()} == {"cpu", "gpu", "npu", "mcu", "fpga", "asic"}
    chips = {name for name in target_names() if name.startswith("apple-")}
    assert {"apple-a11-ane", "apple-a19-ane", "apple-m1-ane", "apple-m5-ane"} <= chips


def test_a_number_is_read_in_base_units(tmp_path):
    assert load_target(written(tmp_path, GOOD)).peak["int8"].si == 4e9


@pytest.mark.parametrize(
    "change, message",
    [
        (('"GOP/s"', '"GHz"'), r"board\.toml: peak\.int8: 'GHz' is no unit of operations a second"),
        (('"GOP/s"', '"GB/s"'), r"peak\.int8: 'GB/s' is no unit of operations a second; expected one of MOP/s"),
        (("4.0", "-4.0"), r"peak\.int8: expected a positive number, got -4\.0"),
        (("4.0", "true"), r"expected a positive number, got True"),
        (('source = "data sheet"', ""), r"expected a value, a unit and a source, got \['unit', 'value'\]"),
        (('"data sheet"', '""'), r"expected a source"),
        (("peak.int8", "peak.int9"), r"unknown key 'peak\.int9'"),
        (('"mcu"', '"toaster"'), r"kind: expected one of cpu"),
        (('name = "board"', ""), r"expected a text name"),
        (("[peak.int8]", "[peek.int8]"), r"unknown key 'peek'; did you mean 'peak'"),
        (("value = 4.0", "value ="), r"is not TOML"),
    ],
)
def test_a_wrong_device_file_is_refused_with_file_and_key(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_target(written(tmp_path, GOOD.replace(*change)))


def test_an_unknown_name_says_the_nearest():
    with pytest.raises(InputError, match="did you mean 'raspberry-pi-4'"):
        load_target("raspbery-pi-4")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot read the device file"):
        load_target(tmp_path / "none.toml")
