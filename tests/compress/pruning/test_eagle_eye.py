"""Candidates judged before training."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sartor.compress.pruning.choice import choose, runtime_multiple
from sartor.compress.pruning.eagle_eye import eagle_eye
from sartor.compress.pruning.magnitude import l2
from sartor.compress.pruning.structure import Scores, Structure, analyse
from sartor.errors import InputError


def made() -> tuple[Structure, Tensor, nn.Module]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip
    x = torch.randn(8, 3, 10, 10)
    return analyse(network, (x[:1],)), x, network


def test_the_candidate_of_least_loss_is_first_and_all_are_within_the_target() -> None:
    structure, x, network = made()
    scores, target = l2(structure), 0.5 * structure.macs()

    def choice(values: Scores) -> object:
        return choose(structure, values, structure.macs, target)

    with torch.no_grad():
        wanted = network(x)

    def judge(candidate: nn.Module) -> float:
        with torch.no_grad():
            return float((candidate(x) - wanted).square().mean())

    plain = choose(structure, scores, structure.macs, target)
    found, again = (
        eagle_eye(structure, scores, plain, choice, judge, candidates=10, seed=1)  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert [each.loss for each in found] == sorted(each.loss for each in found) == [each.loss for each in again]
    assert len(found) > 3 and all(each.choice.cost <= target for each in found)
    assert any(np.array_equal(each.choice.gone, plain.gone) for each in found)
    # Judged with statistics of its own: of the data that it saw, in eval mode.
    first = found[0].network
    assert found[0].loss == judge(first) and not first.training
    with torch.no_grad():
        torch.testing.assert_close(first[1].running_mean, first[0](x).mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="candidates"):
        eagle_eye(structure, scores, plain, choice, judge, candidates=-1, seed=0)  # type: ignore[arg-type]


def test_what_still_fits_within_the_target_is_put_back() -> None:
    structure, _, _ = made()
    scores = l2(structure)
    for share in (0.3, 0.5, 0.7):
        choice = choose(structure, scores, structure.macs, share * structure.macs())
        for group in structure.groups:
            gone = [unit for unit in group.units if choice.gone[unit]]
            if gone:
                more = choice.gone.copy()
                more[max(gone, key=lambda unit: scores[unit])] = False
                assert structure.macs(more) > share * structure.macs()


def test_the_runtimes_width_is_known() -> None:
    assert runtime_multiple() in (4, 8, 16)
