"""Once-for-All's elastic chain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.spaces import once_for_all
from sartor.testing.spaces import check_space


def test_the_space_keeps_what_every_space_promises() -> None:
    check_space(once_for_all.once_for_all(1, 3, 8), samples=20, build=3)


def test_each_block_chooses_for_itself() -> None:
    blocks = 9**2 + 9**3 + 9**4
    assert once_for_all.once_for_all(3, 10, 28).count() == 4 * blocks**3
    # The paper's has five stages: 25 * blocks^5 = 5.4e20.
    assert once_for_all.once_for_all(3, 10, 224, resolutions=range(128, 225, 4)).count() == 25 * blocks**4
    widths = ((16,), (24, 32), (48, 64, 96))
    assert once_for_all.once_for_all(3, 10, 28, stage_widths=widths).count() == 4 * 2 * 3 * blocks**3


def test_resolutions_are_those_of_the_paper_scaled() -> None:
    assert once_for_all.resolutions_of(224) == (128, 160, 192, 224)
    assert once_for_all.resolutions_of((28, 40)) == (16, 20, 24, 28)
    assert once_for_all.resolutions_of(1) == (1,)


@pytest.mark.parametrize("size", [(8, 8), (16, 20), (28, 28), (64, 64)])
def test_networks_take_every_resolution(size: tuple[int, int]) -> None:
    space = once_for_all.once_for_all(2, 5, size)
    for architecture in [once_for_all.hand_designed(space), space.sample(np.random.default_rng(0))]:
        network = space.build(architecture).eval()
        for side in space.values("data.resolution"):
            assert network(torch.zeros(2, 2, side, side)).shape == (2, 5)


def test_keys_say_stage_and_block_and_reach_the_network() -> None:
    space = once_for_all.once_for_all(1, 3, 28, stage_widths=((8, 16), (24,), (48,)))
    chosen = dict(once_for_all.hand_designed(space)) | {"stage1.width": 8, "stage2.blocks.1.kernel": 7}
    network = space.build(chosen | {"stage2.blocks.1.expand": 6})
    stem, first, second, third = network.blocks
    assert (stem.out_channels, first.out_channels, second.out_channels, third.out_channels) == (16, 8, 24, 48)
    depthwise = second.blocks[1].layers[1].conv
    assert depthwise.kernel_size == (7, 7) and depthwise.out_channels == 6 * 24


def test_every_weight_has_a_gradient() -> None:
    space = once_for_all.once_for_all(1, 3, 28)
    network = space.build(once_for_all.hand_designed(space))
    network(torch.zeros(2, 1, 28, 28)).sum().backward()
    assert all(each.grad is not None for each in network.parameters())


def test_widths_for_too_few_stages_are_refused() -> None:
    with pytest.raises(InputError, match="need 4 stages"):
        once_for_all.once_for_all(3, 10, 64, stage_widths=((8,), (16,)))
