"""The continuous relaxation: every alternative at once, summed under weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sartor.errors import SpaceError
from sartor.space import OneOf, Repeat, Space


class Counted(nn.Linear):
    """A linear layer that counts how often it ran."""

    def __init__(self, features=4):
        super().__init__(features, features)
        self.num_calls = 0

    def forward(self, x):
        self.num_calls += 1
        return super().forward(x)


class Square(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return self.scale * x.square()


class Fails(nn.Module):
    """Runs what it holds, then fails if asked to."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, fail=False):
        output = self.inner(x)
        if fail:
            raise ArithmeticError("failed after the alternatives ran")
        return output


def uniform(mixture) -> dict[str, Tensor]:
    return {key: torch.full((len(values),), 1 / len(values)) for key, values in mixture.choices.items()}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def inputs(*shape):
    return (torch.randn(*(shape or (3, 4))),)


def test_no_weights_are_kept_after_forward_also_when_it_fails():
    (x,) = inputs()
    mixture = Space(partial(Fails, OneOf(a=partial(Counted), b=partial(Counted)))).mixture((x,))
    mixture(x, weights=uniform(mixture))
    for _ in range(2):
        with pytest.raises(SpaceError, match="during its forward only"):
            mixture.network(x)
        with pytest.raises(ArithmeticError):
            mixture(x, fail=True, weights=uniform(mixture))


def test_a_mixture_compiles_to_one_graph_and_keeps_no_weights():
    (x,) = inputs()
    space = Space(partial(nn.Sequential, OneOf(a=partial(Square), b=partial(nn.Tanh)), Repeat(partial(Square), OneOf(0, 1))))
    mixture = space.mixture((x,))
    compiled = torch.compile(mixture, fullgraph=True, backend="eager")
    for values in ({"0": [0.25, 0.75], "1.times": [0.5, 0.5]}, {"0": [1.0, 0.0], "1.times": [0.0, 1.0]}):
        weights = {key: torch.tensor(value, requires_grad=True) for key, value in values.items()}
        expected, found = mixture(x, weights=weights), compiled(x, weights=weights)
        assert torch.equal(expected, found)
        for one, other in zip(
            torch.autograd.grad(expected.sum(), list(weights.values())),
            torch.autograd.grad(found.sum(), list(weights.values())),
            strict=True,
        ):
            assert torch.equal(one, other)
    with pytest.raises(SpaceError, match="during its forward only"):
        mixture.network(x)
