"""A relaxed space with its logits, and the learner of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sartor.errors import InputError
from sartor.nets import AvgPool, MaxPool
from sartor.space._mixture import Mixed
from sartor.supernets._differentiable import ARCHITECTURE, NETWORK
from sartor.supernets._halves import Halves
from sartor.training import Learner, Step

if TYPE_CHECKING:
    from sartor.space import Mixture, Space
    from sartor.space._mixture import Around, Weights
    from sartor.space._nodes import Label

INITIAL_LOGITS = 1e-3
"""Deviation of the first logits (Liu et al. 2019)."""


class Relaxed(nn.Module):
    """All architectures at once, and a logit for each alternative.

    As a network it runs under the weights that a step has bound, and between steps under those ``at_rest`` gives.

    Logits are kept as rows ``[1, values]``, because vectors are not decayed (`sartor.training.optimizers.Rule`).

    Args:
        spaces: One for each stage of a search whose networks grow, all with the same choices; usually one.
        inputs: Of the networks.
        part: Entry of a dict space.
        seed: Of weights and logits.
        around: See `sartor.space.Mixture`.
        has_shares: Whether the items of a `Subset` have logits too.

    Raises:
        SpaceError: What `sartor.space.Mixture` refuses.
        InputError: Nothing to choose, or spaces whose choices differ.

    Attributes:
        bound: Weights of this step, or None between steps.
        at_rest: Returns weights from the logits as they are.
        stage: Which of the spaces is used.
    """

    at_rest: Callable[[], Weights]

    def __init__(
        self,
        spaces: Sequence[Space],
        inputs: Sequence[Any],
        part: str | None,
        seed: int,
        *,
        around: Around | None = None,
        has_shares: bool = False,
    ) -> None:
        super().__init__()
        mixtures = [space.mixture(inputs, part, seed=seed, around=around) for space in spaces]
        self.mixtures = nn.ModuleList(mixtures)
        self.choices: Mapping[str, tuple[Label, ...]] = mixtures[0].choices
        self.subsets: Mapping[str, tuple[Label, ...]] = mixtures[0].subsets if has_shares else {}
        if not self.choices:
            raise InputError("expected a space with choices that a mixture relaxes, got one without")
        for number, mixture in enumerate(mixtures[1:], 2):
            if mixture.choices != self.choices:
                raise InputError(f"expected the choices of the first space in space {number}, got {mixture.choices}")
        sizes = [len(values) for values in (*self.choices.values(), *self.subsets.values())]
        self.rows = nn.ParameterList(first_logits(sizes, seed))
        self.bound: Weights | None = None
        self.stage = 0

    @property
    def mixture(self) -> Mixture:
        """The mixture of the stage."""
        mixture: Mixture = self.mixtures[self.stage]  # type: ignore[assignment]
        return mixture

    @property
    def logits(self) -> dict[str, Tensor]:
        """Key -> logits of its values, ``[values]``; of subsets' items too where they have some."""
        return {key: row[0] for key, row in zip((*self.choices, *self.subsets), self.rows, strict=True)}

    def mixed(self) -> Iterator[Mixed]:
        """Yields the weighted sums of all mixtures."""
        return (module for module in self.mixtures.modules() if isinstance(module, Mixed))

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        weights = self.at_rest() if self.bound is None else self.bound
        return self.mixture(*inputs, weights=weights, **keywords)

    @torch.no_grad()
    def put_logits(self, values: Sequence[Tensor]) -> None:
        """Copies rows in place of the logits."""
        for row, value in zip(self.rows, values, strict=True):
            row.copy_(value)


def first_logits(sizes: Sequence[int], *seeds: int) -> list[Tensor]:
    """Returns rows ``[1, size]`` of small random logits."""
    rng = np.random.default_rng([*seeds, 1])
    return [torch.from_numpy(INITIAL_LOGITS * rng.standard_normal((1, size), np.float32)) for size in sizes]


def normalise_alternatives(relaxed: Relaxed) -> None:
    """Makes the outputs of alternatives comparable, as DARTS does while it searches.

    Pooling is normalised; normalisations have no scale and shift, which would undo the weights (Liu et al. 2019).
    """
    for mixed in relaxed.mixed():
        for place, alternative in enumerate(mixed.alternatives):
            if isinstance(alternative, (AvgPool, MaxPool)):
                mixed.alternatives[place] = nn.Sequential(
                    alternative, nn.BatchNorm2d(alternative.out_channels, affine=False)
                )
            for norm in alternative.modules():
                if isinstance(norm, _BatchNorm) and norm.affine:
                    nn.init.ones_(norm.weight).requires_grad_(False)
                    nn.init.zeros_(norm.bias).requires_grad_(False)


class Searched(Protocol):
    """What the learner asks of a method."""

    module: Relaxed

    def weights(self, step: Step) -> Weights: ...

    def objective(self, loss: Tensor, step: Step) -> Tensor: ...

    def plays(self, index: int, total: int) -> bool: ...

    def after(self, step: Step) -> None: ...


class Search(Learner):
    """A task's learner with one player more, ``architecture``, which trains the logits on rows of its own.

    The train part is `sartor.data.Rows`, which are split by the seed of the training; or, for data that cannot be, a
    mapping with what ``network`` reads and what ``architecture`` does.

    Args:
        method: Whose logits.
        inner: The task's own.
        share: Of the rows on which the weights are trained.

    Raises:
        InputError: The task's learner has a player ``architecture``; data that are neither.
    """

    def __init__(self, method: Searched, inner: Learner, share: float) -> None:
        super().__init__()
        self.method, self.inner = method, inner
        self.every = inner.every
        self._halves = Halves(share)

    def players(self, module: nn.Module) -> dict[str, list[nn.Parameter]]:
        relaxed = self.method.module
        owned = dict(self.inner.players(relaxed.mixtures))
        if ARCHITECTURE in owned:
            raise InputError(f"expected a learner without a player {ARCHITECTURE!r}, which the search adds")
        return {**owned, ARCHITECTURE: list(relaxed.rows)}

    def plays(self, player: str, index: int, total: int) -> bool:
        if player == ARCHITECTURE:
            return self.method.plays(index, total)
        return self.inner.plays(player, index, total)

    def rows(self, data: Any, player: str, seed: int) -> Any:
        """Returns what a player reads."""
        name = ARCHITECTURE if player == ARCHITECTURE else NETWORK
        if isinstance(data, Mapping):
            if name not in data:
                raise InputError(f"expected data of {NETWORK!r} and {ARCHITECTURE!r}, got {sorted(data)}")
            return data[name]
        first, second = self._halves.of(data, seed)
        return second if name == ARCHITECTURE else first

    def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
        return self.inner.batch(network, self.rows(data, step.player, step.seed), step)

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        loss = self.inner.loss(network, batch, step)
        return self.method.objective(loss, step) if step.player == ARCHITECTURE else loss

    def after(self, network: nn.Module, step: Step) -> None:
        self.inner.after(network, step)
        self.method.module.bound = None
        self.method.after(step)
