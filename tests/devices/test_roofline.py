import pytest
import torch
from torch import nn

from sartor.devices.roofline import Roofline, file_sha256
from sartor.errors import InputError

TARGET = """
name = "toy"
title = "For arithmetic by hand"
kind = "asic"
[peak.fp32]
value = 1.0
unit = "GFLOP/s"
source = "made up"
[peak.int8]
value = 4.0
unit = "GOP/s"
source = "made up"
[bandwidth]
value = 1.0
unit = "GB/s"
source = "made up"
[energy.operation.fp32]
value = 2.0
unit = "pJ"
source = "made up"
[energy.byte.dram]
value = 10.0
unit = "pJ/B"
source = "made up"
"""
SRAM = '[memory.sram]\nvalue = 1.0\nunit = "MiB"\nsource = "made up"\n'


@pytest.fixture
def target(tmp_path):
    def write(text=TARGET):
        path = tmp_path / "toy.toml"
        path.write_text(text)
        return str(path)

    return write


def network():
    # 1x1: 16 in, 16 out, 8x8 places: 16384 macs; reads 4096 B, weights 1024 B, writes 4096 B.
    return nn.Conv2d(16, 16, 1, bias=False), (torch.zeros(1, 16, 8, 8),)


def test_a_kernel_bound_by_operations_takes_operations_over_the_peak(target):
    figure = Roofline(target()).estimate(*network())["latency_ms"]
    assert figure.value == pytest.approx(2 * 16384 / 1e9 * 1e3)
    assert figure.kind == "estimated" and figure.error is None and "not validated" in figure.note


def test_a_kernel_bound_by_memory_takes_bytes_over_the_bandwidth(target):
    slow = target(TARGET.replace("value = 1.0\nunit = \"GB/s\"", "value = 10.0\nunit = \"MB/s\""))
    assert Roofline(slow).estimate(*network())["latency_ms"].value == pytest.approx(9216 / 1e7 * 1e3)


def test_energy_counts_operations_and_bytes(target):
    expected = (2 * 16384 * 2e-12 + 9216 * 10e-12) * 1e3
    assert Roofline(target()).estimate(*network())["energy_mj"].value == pytest.approx(expected)


def test_what_fits_on_the_chip_is_not_moved(target):
    figures = Roofline(target(TARGET + SRAM)).estimate(*network())
    # Input and output still are, weights are not.
    assert figures["energy_mj"].value == pytest.approx((2 * 16384 * 2e-12 + 8192 * 10e-12) * 1e3)


def test_a_lower_precision_computes_at_its_own_peak_and_moves_fewer_bytes(target):
    device = Roofline(target(), precision="int8")
    assert device.figures == ("latency_ms",)
    assert device.estimate(*network())["latency_ms"].value == pytest.approx(2 * 16384 / 4e9 * 1e3)


def test_a_precision_that_the_target_lacks_is_refused(target):
    with pytest.raises(InputError, match="toy has no peak at 'fp16'"):
        Roofline(target(), precision="fp16")


def test_a_target_without_a_reliable_peak_is_refused():
    with pytest.raises(InputError, match="apple-a13-ane has no peak operations"):
        Roofline("apple-a13-ane")


def test_a_file_that_was_changed_since_is_refused(target):
    path = target()
    before = file_sha256(path)
    Roofline(path, sha256=before)
    target(TARGET.replace("toy", "other"))
    with pytest.raises(InputError, match="not the one that this run began with"):
        Roofline(path, sha256=before)
