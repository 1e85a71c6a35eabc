"""What can go of a network, and the network without it: against the whole network with the same channels at zero."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.compress.pruning.choice import choose
from sartor.compress.pruning.fisher import fisher
from sartor.compress.pruning.geometric_median import geometric_median
from sartor.compress.pruning.magnitude import l1, l2
from sartor.compress.pruning.structure import analyse, flags
from sartor.compress.pruning.taylor import taylor
from sartor.devices.counts import Counts
from sartor.errors import BudgetError, InputError, UnsupportedNetworkError
from sartor.spaces import darts, fabric, hierarchical, mbconv, nasbench201, once_for_all, resnet_like, transformer


def macs(network: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    return float(Counts().count(network, inputs)["macs"].value)


def stirred(network: nn.Module) -> nn.Module:
    """Returns the network with running statistics and affine parameters unlike those at the start."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1, generator=generator)
                part.running_var.uniform_(0.5, 1.5, generator=generator)
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0, 0.1, generator=generator)
    return network.eval()


class Shuffled(nn.Module):
    """A residual, a concatenation, channels shuffled by reshaping, and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.left, self.right = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 3, padding=1)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        both = torch.cat((self.left(x), self.right(x)), 1)
        n, channels, height, width = both.shape
        mixed = both.reshape(n, 2, channels // 2, height, width).transpose(1, 2).reshape(both.shape)
        x = x + self.norm(self.deep(mixed)).relu()
        out: Tensor = self.head(x.mean((2, 3)))
        return out


SPACES = {
    "mbconv": (partial(mbconv.mbconv, 3, 5, 16), mbconv),
    "nasbench201": (partial(nasbench201.nasbench201, 3, 5, 8, 1), nasbench201),
    "resnet-like": (partial(resnet_like.resnet_like, 3, 5, 16), resnet_like),
    "darts": (partial(darts.darts, 3, 5, 8, 3), darts),
    "transformer": (partial(transformer.transformer, 3, 5, 16), transformer),
    "hierarchical": (partial(hierarchical.hierarchical, 3, 5, 8), hierarchical),
    "once-for-all": (partial(once_for_all.once_for_all, 3, 5, 16), once_for_all),
    "fabric": (partial(fabric.fabric, 3, 5, 16, width=8), fabric),
}


@pytest.mark.parametrize("name", [*SPACES, "shuffled"])
def test_half_of_the_macs_go_and_what_is_left_computes(name: str) -> None:
    torch.manual_seed(0)
    if name == "shuffled":
        network: nn.Module = Shuffled()
    else:
        make, module = SPACES[name]
        space = make()
        network = space.build(module.hand_designed(space))
    network = stirred(network)
    inputs = (torch.randn(1, 3, 16, 16),)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    structure = analyse(network, inputs)
    whole = macs(network, inputs)
    assert structure.macs() == pytest.approx(whole, rel=1e-6)
    choice = choose(structure, l2(structure), structure.macs, 0.5 * whole, least=0.05)
    smaller = structure.without(choice.gone)
    assert macs(smaller, inputs) == pytest.approx(choice.cost, rel=1e-6) and choice.cost <= 0.5 * whole
    assert bool(smaller(*inputs).isfinite().all())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} of the network that came has changed"
    if name == "transformer":
        # Features fewer change what a normalisation over features says.
        return
    # The same network with these channels' weights at zero, wherever they are made, normalised or added.
    silent = structure.network
    with torch.no_grad():
        for slot in structure.slots:
            values = silent.get_parameter(slot.name) if slot.name in dict(silent.named_parameters()) else None
            if values is not None:
                gone = torch.from_numpy((slot.units >= 0) & choice.gone[np.maximum(slot.units, 0)])
                values.index_fill_(slot.dim, gone.nonzero()[:, 0], 0.0)
        torch.testing.assert_close(smaller(*inputs), silent(*inputs), atol=1e-4, rtol=1e-4)


def test_channels_that_are_added_or_carried_through_go_together() -> None:
    torch.manual_seed(0)
    structure = analyse(Shuffled().eval(), (torch.randn(1, 3, 8, 8),))
    # The residual ties the stem to the depthwise convolution, which the shuffle ties to both branches.
    assert len(structure.groups) == 1
    assert {slot.name.rpartition(".")[0] for slot in structure.groups[0].slots} == {
        "stem", "left", "right", "deep", "norm", "head",
    }  # fmt: skip


def test_scores_are_their_definitions() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)).eval()
    x = torch.randn(2, 3, 8, 8)
    structure = analyse(network, (x[:1],))
    assert structure.num_units == 6
    rows = network[0].weight.detach().flatten(1)

    def over_mean(values: Tensor) -> np.ndarray:
        return (values / values.mean()).numpy()

    np.testing.assert_allclose(l1(structure), over_mean(rows.abs().sum(1)), rtol=1e-4)
    np.testing.assert_allclose(l2(structure), over_mean(rows.norm(dim=1)), rtol=1e-4)
    apart = torch.cdist(rows.double(), rows.double()).sum(1)
    np.testing.assert_allclose(
        geometric_median(structure) / geometric_median(structure).mean(), over_mean(apart), rtol=1e-3
    )

    def loss(network: nn.Module, batch: Tensor) -> Tensor:
        return network(batch).square().mean()

    # Taylor: the loss's change when a channel goes, to first order, squared; nearly what leaving it out does.
    scores = taylor(structure, [x], loss)
    changes = []
    for unit in range(6):
        smaller = structure.without(flags(structure, [unit]))
        changes.append(abs((loss(smaller, x) - loss(network, x)).item()))
    assert np.corrcoef(np.argsort(np.argsort(scores)), np.argsort(np.argsort(changes)))[0, 1] > 0.5
    assert np.isfinite(fisher(structure, [x], loss)).all()


def test_a_target_out_of_reach_says_what_is_closest() -> None:
    structure = analyse(Shuffled().eval(), (torch.randn(1, 3, 8, 8),))
    with pytest.raises(BudgetError, match="with 10% of each layer left it is"):
        choose(structure, l2(structure), structure.macs, 1.0)
    with pytest.raises(InputError, match="finite"):
        choose(structure, np.full(structure.num_units, np.nan), structure.macs, structure.macs() / 2)


def test_counts_that_are_left_are_multiples() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 5, 3)).eval()
    inputs = (torch.randn(1, 3, 12, 12),)
    structure = analyse(network, inputs)
    choice = choose(structure, l1(structure), structure.macs, 0.4 * structure.macs(), round_to=8)
    smaller = structure.without(choice.gone)
    assert all(part.out_channels % 8 == 0 for part in smaller if isinstance(part, nn.Conv2d) and part.out_channels != 5)
    assert smaller[-1].out_channels == 5


def test_a_network_of_which_nothing_can_go_is_refused_with_reasons() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, self.only.weight)

    with pytest.raises(UnsupportedNetworkError, match="only"):
        structure = analyse(Tied().eval(), (torch.randn(1, 4),))
        choose(structure, l1(structure), structure.macs, structure.macs() / 2)


def test_layers_that_are_skipped_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 5, 3)).eval()
    structure = analyse(network, (torch.randn(1, 3, 12, 12),), skip=["0"])
    assert [group.name for group in structure.groups] == ["2"]
    with pytest.raises(InputError, match="nothing|no layer"):
        analyse(network, (torch.randn(1, 3, 12, 12),), skip=["nothing"])


def test_a_size_that_is_written_down_is_named() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.two(self.one(x).reshape(-1, 8, 8, 8))
            return out

    with pytest.raises(UnsupportedNetworkError, match="one: Fixed writes a size down"):
        analyse(Fixed().eval(), (torch.randn(1, 3, 8, 8),))
