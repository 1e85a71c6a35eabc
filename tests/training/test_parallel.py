"""Several processes train as one does."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sartor.data import Rows
from sartor.errors import InputError
from sartor.nets import Chain, ClassifierHead, ConvBnAct
from sartor.space import OneOf, Space
from sartor.supernets.one_shot import OneShot
from sartor.training import Learner, Recipe, TrainingState, fit
from sartor.training.parallel import Ranks, group

RECIPE = Recipe(optimizer="sgd", learning_rate=0.05, batch_size=8, accumulate=2, warmup=0.0)


def _space() -> Space:
    block = OneOf(
        small=partial(nn.Conv2d, 8, 8, 3, padding=1),
        wide=partial(nn.Conv2d, 8, 8, 5, padding=2),
        skip=partial(nn.Identity),
    )
    blocks = [partial(ConvBnAct, out_channels=8), block, partial(nn.ReLU), block]
    return Space(partial(Chain, 3, blocks=blocks, head=partial(ClassifierHead, classes=4)))


def _rows() -> Rows:
    rng = np.random.default_rng(0)
    return Rows(x=rng.normal(size=(64, 3, 8, 8)).astype(np.float32), y=rng.integers(0, 4, 64))


def _loss(network: nn.Module, batch: Any, step: Any) -> torch.Tensor:
    return functional.cross_entropy(network(batch["x"]), batch["y"])


def _train(
    until: int, state: TrainingState | None = None, ranks: Ranks | None = None
) -> tuple[TrainingState, list[float]]:
    method = OneShot(_space(), seed=3)
    losses: list[float] = []
    state = fit(
        method, Learner(_loss), _rows(), RECIPE, total=12, until=until, seed=1, state=state, ranks=ranks,
        report=lambda step, **values: losses.append(values["loss.network"]),
    )  # fmt: skip
    return state, losses


def _take_part(until: int, path: str) -> None:
    state = TrainingState.from_dict(torch.load(path)) if path else None
    _train(until, state, Ranks())


def _together(until: int, path: str = "") -> tuple[TrainingState, list[float]]:
    state = TrainingState.from_dict(torch.load(path)) if path else None
    with group(2, _take_part, until, path) as ranks:
        return _train(until, state, ranks)


def test_two_processes_take_the_steps_of_one(tmp_path: Any) -> None:
    alone, losses = _train(6)
    together, their_losses = _together(6)
    np.testing.assert_allclose(their_losses, losses, rtol=1e-5)
    for name, tensor in alone.module.items():
        # Running statistics are averages over the processes; they do not enter the loss.
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(together.module[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    # Stopped and gone on, the losses are the same to the last bit.
    whole, all_losses = _together(12)
    torch.save(together.to_dict(), tmp_path / "state.pt")
    resumed, last_losses = _together(12, str(tmp_path / "state.pt"))
    assert their_losses + last_losses == all_losses
    assert all(torch.equal(resumed.module[name], tensor) for name, tensor in whole.module.items())


class _Baseline(Learner):
    """Remembers the losses that it has seen."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__(_loss)
        self.register_buffer("mean", torch.zeros(()))

    def loss(self, network: nn.Module, batch: Any, step: Any) -> torch.Tensor:
        loss = super().loss(network, batch, step)
        self.mean.lerp_(loss.detach(), 0.5)
        return loss


def _mean_and_average() -> tuple[float, float]:
    ranks, learner = Ranks(), _Baseline()
    fit(OneShot(_space(), seed=3), learner, _rows(), RECIPE, total=3, seed=1, ranks=ranks)
    mean = float(learner.mean)
    ranks.average_buffers(learner)
    return mean, float(learner.mean)


def _learns() -> None:
    _mean_and_average()


def test_what_the_learner_remembers_is_the_same_in_all_processes() -> None:
    with group(2, _learns):
        mean, average = _mean_and_average()
    assert mean == average > 0


def _fails() -> None:
    raise ValueError("out of luck")


def test_a_process_that_fails_ends_the_others() -> None:
    with pytest.raises(Exception, match="out of luck|closed by peer|Connection"), group(2, _fails) as ranks:
        ranks.average_buffers(nn.BatchNorm1d(3))


def test_micro_batches_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(InputError, match="initialised"):
        Ranks()
    with pytest.raises(InputError, match="at least 2"), group(1, _fails):
        pass
