from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from sartor.compress.distillation.mapping import _in_order, cka, map_layers
from sartor.errors import InputError, UnsupportedNetworkError
from sartor.nets.transformer import TransformerBlock, VisionTransformer
from tests.compress.made import convolutional, images


def test_cka_is_one_for_turned_and_scaled_features_and_small_for_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 6)
    turn = torch.linalg.qr(torch.randn(6, 6))[0]
    assert cka(x, 3 * x @ turn + 1) == pytest.approx(1)
    assert cka(x, torch.randn(200, 6)) < 0.1
    kernel = (x - x.mean(0)) @ (x - x.mean(0)).T
    y = torch.randn(200, 3) + x[:, :3]
    other = (y - y.mean(0)) @ (y - y.mean(0)).T
    assert cka(x, y) == pytest.approx(float((kernel * other).sum() / (kernel.norm() * other.norm())), rel=1e-4)


def test_pairs_have_the_largest_sum_that_keeps_the_order() -> None:
    scores = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    best = max(
        itertools.combinations(range(5), 3), key=lambda columns: sum(float(scores[i, j]) for i, j in enumerate(columns))
    )
    assert _in_order(scores) == list(enumerate(best))


def test_a_network_maps_to_itself() -> None:
    network = convolutional()
    found = map_layers(network, network, (images(32),))
    assert [mapped.pair.student for mapped in found] == [mapped.pair.teacher for mapped in found] == ["2", "5", "7"]
    assert all(mapped.similarity == pytest.approx(1) for mapped in found)
    assert [mapped.student_shape for mapped in found] == [(8, 8, 8), (8, 4, 4), (16, 2, 2)]


def test_a_narrow_network_maps_to_the_stages_of_a_wide_one() -> None:
    found = map_layers(convolutional(4, seed=1), convolutional(16), (images(32),))
    for mapped in found:
        assert mapped.student_shape[1:] == mapped.teacher_shape[1:]


def transformer() -> nn.Module:
    torch.manual_seed(0)
    blocks = [TransformerBlock(12, 2, 6) for _ in range(4)]
    return VisionTransformer(3, 3, (8, 8), 2, 12, blocks)


@pytest.mark.parametrize("way", ["to-cnn", "from-cnn"])
def test_transformers_and_convolutional_networks_map_to_each_other(way: str) -> None:
    student, teacher = convolutional(), transformer()
    if way == "from-cnn":
        student, teacher = teacher, student
    found = map_layers(student, teacher, (images(32),))
    assert 1 <= len(found) <= 4
    order = [name for name, _ in teacher.named_modules()]
    places = [order.index(mapped.pair.teacher) for mapped in found]
    assert places == sorted(set(places))
    assert student.training and teacher.training


def test_bad_input_is_said() -> None:
    with pytest.raises(InputError, match="at least 8 rows"):
        map_layers(convolutional(), convolutional(), (images(4),))
    with pytest.raises(UnsupportedNetworkError, match="the teacher, Linear, has no layer that gives maps"):
        map_layers(nn.Sequential(nn.Conv1d(8, 8, 1)), nn.Linear(8, 3), (torch.zeros(8, 8, 8),))
