"""Elastic weights: the sandwich of BigNAS, the phases of Once-for-All, and learning from a larger network."""

from __future__ import annotations

import time
from collections.abc import Callable
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
from sartor.space import OneOf, Repeat, Shared, Space
from sartor.supernets import Sampled
from sartor.supernets._distilling import Distilling, distance
from sartor.supernets.bignas import BigNAS
from sartor.supernets.once_for_all import OnceForAll, default_phases
from sartor.training import Learner, Recipe, Single, Step, fit
from sartor.training.state import TrainingState

RECIPE = Recipe(learning_rate=0.01, batch_size=16, warmup=0.0, cooldown=0.0)
IMAGE = (torch.zeros(1, 1, 8, 8),)


def chain() -> Space:
    """Returns chains that differ in kernel, depth, width and, beside the network, resolution."""
    block = partial(ConvBnAct, out_channels=Shared("width", OneOf(4, 6, 8)), kernel=OneOf(3, 5))
    blocks = Repeat(block, times=Shared("depth", OneOf(1, 2)))
    network = partial(Chain, 1, blocks=blocks, head=partial(ClassifierHead, classes=3, dropout=0.3))
    return Space({"data": {"resolution": OneOf(6, 8)}, "network": network})


class Encoder(nn.Module):
    """Layers of attention over the rows of an image."""

    def __init__(self, dim: int, layers: list[nn.Module]) -> None:
        super().__init__()
        self.embed, self.layers, self.head = nn.Linear(8, dim), nn.ModuleList(layers), nn.Linear(dim, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x.squeeze(1))
        for layer in self.layers:
            tokens = layer(tokens)
        scores: torch.Tensor = self.head(tokens.mean(1))
        return scores


def transformer() -> Space:
    """Returns Transformers of torch's own layers that differ in dimension, depth, heads and feed-forward."""
    dim = Shared("dim", OneOf(8, 16))
    layer = partial(
        nn.TransformerEncoderLayer, dim, nhead=OneOf(1, 2, 4), dim_feedforward=OneOf(16, 32), batch_first=True
    )
    return Space(partial(Encoder, dim, layers=Repeat(layer, times=Shared("depth", OneOf(1, 2)))))


def rows(num: int = 96) -> Rows:
    """Returns images whose class is where they are bright."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, num)
    x = 0.3 * rng.normal(size=(num, 1, 8, 8)).astype(np.float32)
    for image, label in zip(x, y, strict=True):
        image[0, 2 * label : 2 * label + 3, :: label + 1] += 1.0
    return Rows(x=x, y=y)


def loss(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
    return functional.cross_entropy(network(batch["x"]), batch["y"])


def drawn(method: Sampled, index: int, total: int = 100) -> list[Any]:
    return [architecture for architecture, _ in method.draw(Step(index, total, 0, RECIPE))]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ---- which networks a step has


def test_a_step_of_bignas_has_the_largest_first_then_the_smallest_and_random_ones() -> None:
    method = BigNAS(chain(), IMAGE, num_random=2)
    seen = set()
    for index in range(30):
        architectures = drawn(method, index)
        assert architectures[:2] == [method.largest, method.smallest] and len(set(architectures)) == len(architectures)
        seen.update(architectures[2:])
    assert len(seen) > 20
    assert dict(method.largest) == {
        "data.resolution": 8, "width": 8, "depth": 2, "network.blocks.0.kernel": 5, "network.blocks.1.kernel": 5,
    }  # fmt: skip
    assert dict(method.smallest) == {"data.resolution": 6, "width": 4, "depth": 1, "network.blocks.0.kernel": 3}
    assert drawn(BigNAS(chain(), IMAGE, num_random=0), 0) == [method.largest, method.smallest]


def test_choices_open_in_phases_and_only_then() -> None:
    space = chain()
    assert dict(default_phases(space.keys)) == {
        "network.blocks.0.kernel": 0.3, "network.blocks.1.kernel": 0.3,
        "depth": pytest.approx(0.3 + 0.7 / 3), "width": pytest.approx(0.3 + 1.4 / 3),
    }  # fmt: skip
    method = OnceForAll(space, IMAGE, paths=4)

    def values(index: int) -> dict[str, set[Any]]:
        found: dict[str, set[Any]] = {}
        for seed in range(25):
            for architecture, _ in method.draw(Step(index, 1000, seed, RECIPE)):
                for key, value in architecture.items():
                    found.setdefault(key.rpartition(".")[2], set()).add(value)
        return found

    full = {"resolution": {6, 8}, "width": {8}, "depth": {2}, "kernel": {5}}
    assert values(0) == values(299) == full
    assert values(300) == values(533) == full | {"kernel": {3, 5}}
    assert values(534) == values(766) == full | {"kernel": {3, 5}, "depth": {1, 2}}
    # Widths open one by one, within the first half of their phase.
    assert values(767) == values(824) == {"resolution": {6, 8}, "width": {6, 8}, "depth": {1, 2}, "kernel": {3, 5}}
    assert values(826) == values(999) == {"resolution": {6, 8}, "width": {4, 6, 8}, "depth": {1, 2}, "kernel": {3, 5}}


def test_phases_can_be_given_and_other_choices_are_open_throughout() -> None:
    method = OnceForAll(chain(), IMAGE, phases=[("width", 0.5)], paths=8)
    early = [architecture for index in range(20) for architecture in drawn(method, index)]
    assert {architecture["width"] for architecture in early} == {8}
    assert {architecture["depth"] for architecture in early} == {1, 2}


def test_phases_keep_constraints_even_where_the_largest_values_do_not_go_together() -> None:
    space = chain().where(lambda width, depth: width * depth <= 8, "width", "depth")
    method = OnceForAll(space, IMAGE)
    assert set(drawn(method, 0)[0].items()) - {("data.resolution", 6)} <= set(method.largest.items())
    assert all(architecture in space for index in range(100) for architecture in drawn(method, index))


def test_a_draw_costs_less_than_a_millisecond() -> None:
    block = partial(ConvBnAct, out_channels=4, kernel=OneOf(3, 5, 7), act=OneOf(a=nn.ReLU, b=nn.GELU, c=nn.Tanh))
    stages = [Repeat(block, times=OneOf(2, 3, 4)) for _ in range(5)]
    space = Space(partial(Chain, 1, blocks=stages, head=partial(ClassifierHead, classes=3)))
    for key in space.keys:
        space = space.where(frozenset(space.values(key)[1:]).__contains__, key, name="open")
    rng = np.random.default_rng(0)
    assert all(architecture in space for architecture in space.sample_choices(rng, 20))
    times = []
    for _ in range(10):
        began = time.perf_counter()
        space.sample_choices(rng, 20)
        times.append((time.perf_counter() - began) / 20)
    assert min(times) < 1e-3


# ---- learning from a larger network


class Noisy(Learner):
    """Augments with every random stream that a task may use, and notes what each network was given."""

    def __init__(self) -> None:
        super().__init__(self._noisy)
        self.num_batches = 0
        self.given: list[tuple[int, Any, torch.Tensor]] = []

    def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
        self.num_batches += 1
        return super().batch(network, data, step)

    def _noisy(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        x = batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=step.torch) + 0.1 * torch.rand(1)
        x = x * float(step.numpy.uniform(0.9, 1.1))
        self.given.append((step.index, step.architecture, x))
        return functional.cross_entropy(network(x), batch["y"])


@pytest.mark.parametrize("make", [BigNAS, partial(OnceForAll, paths=3, phases=[("*", 0.2)])])
def test_all_networks_of_a_step_and_the_teacher_see_the_same_augmented_batch(make: Callable[..., Any]) -> None:
    method = make(chain(), IMAGE)
    inner = Noisy()
    fit(method, method.learner(inner), rows(), RECIPE, total=5, seed=0)
    assert inner.num_batches == 5
    by_step: dict[int, list[torch.Tensor]] = {}
    for index, _, x in inner.given:
        by_step.setdefault(index, []).append(x)
    assert all(len(xs) > 2 for index, xs in by_step.items() if index)
    assert all(torch.equal(x, xs[0]) for xs in by_step.values() for x in xs)
    assert not torch.equal(by_step[3][0], by_step[4][0])


def test_the_largest_learns_from_labels_and_the_others_from_what_it_says_alone() -> None:
    method = BigNAS(chain(), IMAGE, seed=1, temperature=2.0)
    learner = method.learner(Learner(loss))
    learner.players(method.module)
    step = Step(0, 10, 0, RECIPE)
    method.module.eval()
    network, other = (network for _, network in list(method.draw(step))[:2])
    data = rows()
    batch = learner.batch(network, data, step)
    largest = learner.loss(network, batch, step)
    assert torch.equal(largest, loss(network, batch, step))
    batch["y"] = (batch["y"] + 1) % 3  # labels are not read any more
    ours = learner.loss(other, learner.batch(other, data, step), step)
    p, q = (functional.softmax(each(batch["x"]) / 2.0, 1) for each in (network, other))
    torch.testing.assert_close(ours, 4.0 * (p * (p / q).log()).sum(1).mean())
    head = network.head.linear.weight  # type: ignore[union-attr]
    assert torch.autograd.grad(ours, other.head.linear.weight)[0].abs().sum() > 0  # type: ignore[union-attr, arg-type]
    assert head.shape != other.head.linear.weight.shape  # type: ignore[union-attr]


class Slapdash(nn.Module):
    """A network of which a task's own code puts all in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.linear = nn.Dropout(0.5), nn.Linear(4, 3)
        self.dropped = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.drop(x)
        self.dropped = bool((out == 0).any())
        scores: torch.Tensor = self.linear(out)
        return scores


def test_dropout_is_silent_in_all_but_the_largest_whatever_a_task_does_about_modes() -> None:
    def careless(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        return functional.cross_entropy(network.train()(batch["x"]), batch["y"])

    data = Rows(x=np.ones((16, 4), np.float32), y=np.zeros(16, np.int64))
    learner = Distilling(Learner(careless))
    step = Step(0, 1, 0, RECIPE)
    first, second = Slapdash(), Slapdash()
    for network in (first, second):
        learner.loss(network, learner.batch(network, data, step), step)
    assert first.dropped and not second.dropped
    assert second.drop.training and not second.drop._forward_pre_hooks


def test_the_teacher_is_the_largest_as_it_was_after_its_phase_and_is_restored_on_resume() -> None:
    def trained(until: int, state: TrainingState | None = None) -> tuple[TrainingState, Any, OnceForAll]:
        method = OnceForAll(chain(), IMAGE, seed=2, paths=2)
        learner = method.learner(Learner(loss))
        return fit(method, learner, rows(), RECIPE, total=20, until=until, seed=3, state=state), learner, method

    before, _, _ = trained(5)
    assert not bool(before.learner["teacher.taken"])
    at_the_turn, learner, method = trained(6)
    taken = learner.teacher.network.state_dict()
    assert equal(taken, method.module.child(method.largest).state_dict())  # type: ignore[operator]
    assert bool(at_the_turn.learner["teacher.taken"]) and not learner.teacher.network.training
    end, learner, method = trained(20)
    assert equal(learner.teacher.network.state_dict(), taken)
    assert not equal(method.module.child(method.largest).state_dict(), taken)  # type: ignore[operator]
    for until in (5, 6, 13):
        resumed, _, _ = trained(20, TrainingState.from_dict(trained(until)[0].to_dict()))
        assert equal(resumed.module, end.module) and equal(resumed.learner, end.learner)


def test_what_is_no_class_scores_is_compared_by_squared_error() -> None:
    learner = Distilling(Learner(lambda network, batch, step: network(batch["x"]).square().mean()))
    step, data = Step(0, 1, 0, RECIPE), Rows(x=np.ones((16, 4), np.float32))
    first, second = nn.Linear(4, 3), nn.Linear(4, 3)
    learner.loss(first, batch := learner.batch(first, data, step), step)
    x = batch["x"]
    torch.testing.assert_close(learner.loss(second, batch, step), functional.mse_loss(second(x), first(x)))


def test_classes_are_where_the_loss_looks_for_them() -> None:
    """Scores of tokens that the loss puts one behind the other, and of pixels, whose classes come second."""
    flat = Learner(lambda network, batch, step: functional.cross_entropy(network(batch["x"]).flatten(0, 1), batch["y"]))
    pixels = Learner(lambda network, batch, step: functional.cross_entropy(network(batch["x"]), batch["z"]))
    data = Rows(x=torch.randn(16, 5, 4).numpy(), y=np.zeros(16, np.int64), z=np.zeros((16, 4), np.int64))
    for inner, dimension in ((flat, 2), (pixels, 1)):
        learner, step = Distilling(inner), Step(0, 1, 0, RECIPE)
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        batch = learner.batch(first, data, step)
        batch["y"] = torch.zeros(80, dtype=torch.int64)
        learner.loss(first, batch, step)
        p, q = (functional.softmax(each(batch["x"]), dimension) for each in (first, second))
        torch.testing.assert_close(learner.loss(second, batch, step), (p * (p / q).log()).sum(dimension).mean())


# ---- training


@pytest.mark.parametrize("space", [chain, transformer])
@pytest.mark.parametrize("make", [BigNAS, partial(OnceForAll, paths=2)])
def test_training_lowers_the_loss_of_the_largest_and_of_the_smallest(
    space: Callable[[], Space], make: Callable[..., Any]
) -> None:
    inputs = IMAGE
    method = make(space(), inputs, seed=0)
    ends = BigNAS(space(), inputs)
    batch = {name: torch.from_numpy(column) for name, column in rows().columns.items()}
    step = Step(0, 1, 0, RECIPE)

    def losses() -> list[float]:
        with torch.no_grad():
            return [float(loss(method.weights.network(each), batch, step)) for each in (ends.largest, ends.smallest)]

    method.module.train()
    before = losses()
    fit(method, method.learner(Learner(loss)), rows(), method.recipe(RECIPE), total=150, seed=0)
    after = losses()
    assert all(now < 0.9 * then for now, then in zip(after, before, strict=True)), (before, after)
    method.module.eval()
    for architecture in space().sample_choices(np.random.default_rng(0), 3):
        child = method.weights.child(architecture)
        assert torch.equal(child(batch["x"]), method.weights.network(architecture)(batch["x"]))


def test_bignas_goes_on_from_a_state_as_if_it_had_not_stopped() -> None:
    def trained(until: int, state: TrainingState | None = None) -> TrainingState:
        method = BigNAS(chain(), IMAGE, seed=1)
        learner = method.learner(Learner(loss))
        return fit(method, learner, rows(), RECIPE, total=16, until=until, seed=5, state=state)

    whole, resumed = trained(16), trained(16, trained(7))
    assert equal(whole.module, resumed.module) and equal(whole.learner, resumed.learner)


def test_a_player_beside_the_network_learns_as_it_would_alone() -> None:
    class Two(Learner):
        def __init__(self) -> None:
            super().__init__(loss)
            self.scale = nn.Parameter(torch.ones(()))

        def players(self, module: nn.Module) -> dict[str, list[nn.Parameter]]:
            return {"network": [*module.parameters()], "scale": [self.scale]}

        def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
            return (self.scale - 3).square() if step.player == "scale" else super().loss(network, batch, step)

    learner = Distilling(Two())
    fit(Single(nn.Sequential(nn.Flatten(), nn.Linear(64, 3))), learner, rows(), RECIPE, total=20, seed=0)
    assert learner.inner.scale > 1.1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BigNAS(chain(), num_random=-1), "at least 0 random"),
        (lambda: BigNAS(chain(), temperature=0.0).learner(Learner(loss)), "temperature above 0"),
        (lambda: OnceForAll(chain(), paths=0), "at least 1 path"),
        (lambda: OnceForAll(chain(), phases=[("widht", 0.5)]), "did you mean 'width'"),
        (lambda: OnceForAll(chain(), phases=[("width", 0.0)]), "begin between 0 and 1"),
        (lambda: OnceForAll(chain(), phases=[("width", 0.6), ("depth", 0.5)]), "in order"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_a_loss_that_does_not_call_the_network_and_outputs_of_other_shapes_are_refused() -> None:
    step, network = Step(0, 1, 0, RECIPE), nn.Linear(4, 3)
    learner = Distilling(Learner(lambda network, batch, step: network.weight.sum()))
    with pytest.raises(InputError, match=r"must call the network itself, network\(...\)"):
        learner.loss(network, learner.batch(network, Rows(x=np.ones(16)), step), step)
    with pytest.raises(InputError, match=r"\[\(2, 3\)\], of the larger \[\(2, 4\)\]"):
        distance([torch.zeros(2, 3)], [(torch.zeros(2, 4), 1)], 1.0)
