"""The vision Transformer's space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.spaces import transformer
from sartor.testing.spaces import check_space


def num_params(channels: int, classes: int, patch: int, tokens: int, dim: int, layers: list[tuple[int, int]]) -> int:
    """Closed form for heads of 16 features: (heads, ratio) of each layer."""
    total = (channels * patch**2 + 1) * dim + tokens * dim + 2 * dim + (dim + 1) * classes
    for heads, ratio in layers:
        width, inside = 16 * heads, ratio * dim
        total += 4 * dim + 3 * dim * width + 2 * width + (width + 1) * dim
        total += (dim + 1) * inside + (inside + 1) * dim
    return total


def test_the_space_keeps_what_every_space_promises() -> None:
    check_space(transformer.transformer(1, 3, 8), build=3)


def test_the_count_is_the_product_of_what_each_layer_chooses() -> None:
    assert transformer.transformer(3, 10, 32).count() == 3 * sum((4 * 4) ** depth for depth in (2, 3, 4))
    assert transformer.transformer(3, 10, 32, dims=(192, 216, 240), depths=(12, 13, 14), heads=(3, 4)).count() == (
        3 * sum((2 * 4) ** depth for depth in (12, 13, 14))
    )


def test_networks_have_the_closed_number_of_parameters() -> None:
    space = transformer.transformer(3, 10, 28)
    for architecture in space.sample(np.random.default_rng(0), 5):
        layers = [
            (architecture[f"layers.{i}.heads"], architecture[f"layers.{i}.ffn_ratio"])
            for i in range(architecture["depth"])
        ]
        expected = num_params(3, 10, 4, 49, architecture["dim"], layers)
        assert sum(each.numel() for each in space.build(architecture).parameters()) == expected


@pytest.mark.parametrize("size", [1, 8, (9, 14), 28, (30, 17), (64, 64)])
def test_images_of_any_size_give_logits_and_every_weight_learns(size: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    shape = size if isinstance(size, tuple) else (size, size)
    space = transformer.transformer(2, 5, size)
    for architecture in [transformer.hand_designed(space), space.sample(np.random.default_rng(0))]:
        network = space.build(architecture)
        logits = network(torch.randn(3, 2, *shape))
        assert logits.shape == (3, 5)
        logits.square().sum().backward()
        still = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
        # One token reads itself alone, whatever queries and keys say.
        assert all(size == 1 and ("query" in name or "key" in name) for name in still)


def test_patches_leave_about_seven_a_side() -> None:
    assert [transformer.patch_of((side, side + 3)) for side in (1, 8, 14, 28, 32, 64, 224)] == [2, 2, 2, 4, 4, 8, 32]
    for side in range(14, 300):
        assert 4 <= side / transformer.patch_of((side, side)) <= 10
    with pytest.raises(InputError, match="at least 1 pixel"):
        transformer.transformer(1, 3, 0)


def test_a_person_takes_three_layers_of_three_heads() -> None:
    chosen = transformer.hand_designed(transformer.transformer(3, 10, 32))
    assert (chosen["dim"], chosen["depth"]) == (48, 3)
    assert {chosen[f"layers.{i}.heads"] for i in range(3)} == {3}
