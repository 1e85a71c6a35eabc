from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import local_masks, pruned, sparsity_of
from sartor.compress.sparsity.n_of_m import TWO_OF_FOUR
from sartor.compress.sparsity.sparsegpt import prune_matrix, sparsegpt
from sartor.errors import DataError, InputError, UnsupportedNetworkError
from tests.compress.made import classifier, convolutional, images


def correlated(rows: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64) @ mix


def exact_sweep(weight: Tensor, hessian: Tensor, mask: Tensor) -> Tensor:
    """Removes the masked weights column by column, each by OBS with the inverse of what is left of the Hessian."""
    w = weight.clone()
    for row in range(len(w)):
        for j in range(w.shape[1]):
            if not mask[row, j]:
                inverse = torch.linalg.inv(hessian[j:, j:])
                w[row, j:] -= w[row, j] / inverse[0, 0] * inverse[:, 0]
    return w


@pytest.mark.parametrize("block", [4, 12])
def test_the_sweep_is_that_of_inverses_of_what_is_left(block: int) -> None:
    x = correlated(200, 12)
    weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hessian = x.T @ x / 200
    w, mask = prune_matrix(weight, hessian, 0.5, pattern=None, block=block, damping=1e-12)
    assert float(mask.double().mean()) == 0.5
    torch.testing.assert_close(w, exact_sweep(weight, hessian, mask))
    assert bool((w[~mask] == 0).all())


def test_two_of_four_holds_in_every_group_and_beats_magnitude() -> None:
    x = correlated(300, 16)
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w, mask = prune_matrix(weight, x.T @ x / 300, 0.5, pattern=TWO_OF_FOUR, block=8, damping=0.01)
    assert bool((mask.unflatten(1, (-1, 4)).sum(2) == 2).all())
    kept = torch.zeros_like(mask.unflatten(1, (-1, 4)))
    kept.scatter_(2, weight.abs().unflatten(1, (-1, 4)).argsort(2, descending=True)[..., :2], True)
    plain = weight * kept.flatten(1)
    assert (x @ (w - weight).T).square().sum() < (x @ (plain - weight).T).square().sum()


def test_inputs_that_never_come_lose_their_weights() -> None:
    hessian = torch.diag(torch.tensor([1.0, 0.0, 1.0, 1.0]))
    w, _ = prune_matrix(torch.ones(2, 4), hessian, 0.0, pattern=None, block=4, damping=0.01)
    assert w[:, 1].tolist() == [0, 0] and w[:, 0].tolist() == [1, 1]


def close(network: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((network.eval()(x) - other.eval()(x)).square().mean())


def test_convolutions_groups_and_linear_layers_keep_their_outputs_better_than_by_magnitude() -> None:
    network = convolutional(16)
    x = images(64)
    found = sparsegpt(network, x.split(16), 0.5)
    assert sparsity_of(found.masks) == pytest.approx(0.5, abs=0.01)
    assert close(network, found.module, images(64, 1)) < 0.5 * close(
        network, pruned(network, local_masks(magnitude(network), 0.5)), images(64, 1)
    )
    for name, mask in found.masks.items():
        assert bool((found.module.get_parameter(name)[~mask] == 0).all())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, padding_mode="circular"),
        nn.Conv2d(4, 8, (1, 3), padding="same", groups=2),
        nn.Conv1d(4, 6, 3, padding=2),
        nn.Linear(4, 6),
    ],
)
def test_nothing_removed_changes_nothing_and_columns_match_the_layer(layer: nn.Module) -> None:
    shape = {nn.Conv2d: (8, 4, 9, 7), nn.Conv1d: (8, 4, 9), nn.Linear: (8, 3, 4)}[type(layer)]  # type: ignore[index]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    layer.reset_parameters()  # type: ignore[operator]
    same = sparsegpt(layer, [x], 0.0).module
    torch.testing.assert_close(layer.weight, same.weight)
    # Inputs that have no variation beyond two directions: half the weights can go without any change.
    channels = x.movedim(1, -1) if x.ndim > 3 or isinstance(layer, nn.Conv1d) else x
    poor = channels[..., :1].expand_as(channels).movedim(-1, 1) if channels is not x else x[..., :1].expand_as(x)
    half = sparsegpt(layer, [poor.contiguous()], 0.5, damping=1e-6, block=1024).module
    assert close(layer, half, poor) < 2e-2 * float(layer(poor).detach().square().mean())


def test_pruned_layers_feed_those_behind_them() -> None:
    network = classifier()
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
    found = sparsegpt(network, [x], 0.5)
    seen = network[1](found.module[0](x)).detach().double()
    w, _ = prune_matrix(
        network[2].weight.detach(), seen.T @ seen / 256, 0.5, pattern=None, block=128, damping=0.01
    )
    torch.testing.assert_close(found.module[2].weight, w, check_dtype=False)


class Spare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.used(x)
        return out


def test_bad_input_is_named() -> None:
    x = images(8)
    with pytest.raises(InputError, match=r"not so: 0\.weight \(3 inputs\)"):
        sparsegpt(convolutional(), [x], pattern=TWO_OF_FOUR)
    broken = x.clone()
    broken[2, 0, 0, 0] = torch.inf
    with pytest.raises(DataError, match="calibration batch 1: 1 of"):
        sparsegpt(convolutional(), [x, broken])
    with pytest.raises(InputError, match="not called on the calibration inputs: spare"):
        sparsegpt(Spare(), [torch.zeros(2, 4)])
    with pytest.raises(UnsupportedNetworkError, match="weight_ih_l0: SparseGPT prunes linear and convolutional"):
        sparsegpt(nn.LSTM(4, 4), [torch.zeros(2, 3, 4)])
    with pytest.raises(InputError, match="sparsity"):
        sparsegpt(convolutional(), [x], 1.0)
