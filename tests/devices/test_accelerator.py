import numpy as np
import pytest
import torch
from torch import nn

from sartor.devices.accelerator import Accelerator, Layer, Mapping, best_mapping, hardware, layer_cost
from sartor.devices.kernels import kernels_of
from sartor.devices.named import find_device
from sartor.errors import InputError
from sartor.space import Space

LAYER = Layer(out_channels=64, in_channels=32, groups=1, height=16, width=16, window=9, inputs=32 * 18 * 18)
ROOM = 1e9


def test_a_layer_in_one_tile_moves_everything_once():
    cost = layer_cost(LAYER, Mapping(channels=64, rows=16), buffer_bytes=ROOM)
    assert cost.memory_bytes == LAYER.inputs + LAYER.weights + LAYER.outputs
    assert cost.operations == 2 * LAYER.macs


def test_tiles_of_channels_read_the_inputs_again_unless_these_stay():
    passing = layer_cost(LAYER, Mapping(channels=16, rows=16, stays="weights"), buffer_bytes=ROOM)
    staying = layer_cost(LAYER, Mapping(channels=16, rows=16, stays="inputs"), buffer_bytes=ROOM)
    assert passing.memory_bytes - staying.memory_bytes == 3 * LAYER.inputs


def test_tiles_of_rows_read_their_overlap_again():
    whole = layer_cost(LAYER, Mapping(channels=64, rows=16), buffer_bytes=ROOM)
    cut = layer_cost(LAYER, Mapping(channels=64, rows=4), buffer_bytes=ROOM)
    assert whole.memory_bytes < cut.memory_bytes < whole.memory_bytes + LAYER.inputs


def test_a_full_array_takes_one_cycle_for_256_multiplications_and_depthwise_layers_waste_it():
    assert layer_cost(LAYER, Mapping(channels=64), buffer_bytes=ROOM).cycles == LAYER.macs / 256
    depthwise = Layer(1, 1, 64, 16, 16, 9, 64 * 18 * 18)
    cycles = {d: layer_cost(depthwise, Mapping(d, 64), buffer_bytes=ROOM).cycles for d in ("weights", "outputs")}
    assert cycles["weights"] == depthwise.macs / 16 and cycles["outputs"] == depthwise.macs / 256


def test_a_tile_that_does_not_fit_is_cut():
    small = layer_cost(LAYER, Mapping(channels=64, rows=16), buffer_bytes=20_000)
    assert small.memory_bytes > layer_cost(LAYER, Mapping(channels=64, rows=16), buffer_bytes=ROOM).memory_bytes


def test_four_bits_halve_the_bytes_and_two_of_four_the_operations():
    plain = layer_cost(LAYER, Mapping(channels=64, rows=16), buffer_bytes=ROOM)
    narrow = layer_cost(LAYER, Mapping(channels=64, rows=16), buffer_bytes=ROOM, bits=4)
    sparse = layer_cost(LAYER, Mapping(channels=64, rows=16), buffer_bytes=ROOM, sparsity="2:4")
    assert narrow.memory_bytes == plain.memory_bytes / 2 and narrow.operations == plain.operations
    assert sparse.operations == plain.operations / 2 and sparse.cycles == plain.cycles / 2
    assert plain.memory_bytes - sparse.memory_bytes == LAYER.weights * (1 - 0.5 * 1.25)


def test_the_best_mapping_is_no_worse_than_any_other():
    best = best_mapping(LAYER, 65536.0)

    def score(mapping):
        cost = layer_cost(LAYER, mapping, buffer_bytes=65536.0)
        return (cost.operations / 2 + 6 * cost.buffer_bytes + 200 * cost.memory_bytes) * cost.cycles

    assert all(score(best) <= score(Mapping(d, c, r, s)) for d in ("weights", "outputs") for c in (8, 128)
               for r in (1, 32) for s in ("weights", "inputs"))


def test_the_layers_of_a_network_multiply_what_its_kernels_do():
    module = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(),
                           nn.Linear(8 * 16, 5))
    kernels = [k for k in kernels_of(module, (torch.zeros(1, 4, 8, 8),)) if k.macs]
    assert [Layer.of(kernel).macs for kernel in kernels] == [kernel.macs for kernel in kernels]


def test_a_part_of_the_network_takes_the_choices_of_its_path():
    device, module = Accelerator(), nn.Sequential(nn.Conv2d(16, 32, 3), nn.Sequential(nn.Conv2d(32, 32, 3)))
    kernels = kernels_of(module, (torch.zeros(1, 16, 12, 12),))
    plain = device.estimate(kernels, {})["energy_mj"].value
    narrow = device.estimate(kernels, {"hardware.1.bits": 4})["energy_mj"].value
    both = device.estimate(kernels, {"hardware.1.bits": 4, "hardware.0.bits": 4})["energy_mj"].value
    assert both < narrow < plain


def test_choices_of_hardware_are_part_of_a_space():
    space = Space({"network": nn.ReLU, "hardware": hardware(["stage1", "stage2"])})
    assert space.count() == (2 * 2 * 2 * 5 * 6 * 2) ** 2
    architecture = space.sample(np.random.default_rng(0), 1)[0]
    assert architecture["hardware.stage1.bits"] in (4, 8)


def test_it_is_a_device_of_a_search_and_says_what_a_target_lacks():
    assert find_device("accelerator").device.figures == ("latency_ms", "energy_mj")
    with pytest.raises(InputError, match="has no 'sram'"):
        Accelerator("edge-tpu")
