from __future__ import annotations

import copy
import math
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sartor.data import Rows
from sartor.errors import DeadlineError, DivergedError, InputError
from sartor.training import Learner, Recipe, Schedule, Single, Step, TrainingState, fit
from sartor.training.average import put

PLAIN = Recipe(optimizer="sgd", momentum=0.0, learning_rate=0.1, weight_decay=0.0, clip_norm=None, batch_size=16,
               schedule="constant", warmup=0.0)  # fmt: skip


def data(rows: int = 160) -> Rows:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    return Rows(x=x, y=(x[:, 0] * x[:, 1] > 0).astype(np.int64))


def network(*extra: nn.Module, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), *extra, nn.Tanh(), nn.Linear(8, 2))


def cross_entropy(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
    return F.cross_entropy(network(batch["x"]), batch["y"])


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def distance(a: nn.Module, b: nn.Module) -> float:
    return max(float((p - q).detach().abs().max()) for p, q in zip(a.parameters(), b.parameters(), strict=True))


class Adversary(Learner):
    """Two players, a memory, randomness of every kind, and something done after the step."""

    every = {"critic": 2}

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.3), nn.Tanh(), nn.Linear(4, 1))
        self.register_buffer("memory", torch.zeros(()))

    def players(self, module: nn.Module) -> dict[str, list[nn.Parameter]]:
        return {"network": [*module.parameters()], "critic": [*self.critic.parameters()]}

    def batch(self, network: nn.Module, data: Any, step: Step) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = super().batch(network, data, step)
        batch["x"] = batch["x"] + 0.01 * torch.randn(batch["x"].shape, generator=step.torch)
        batch["x"] *= float(step.numpy.uniform(0.9, 1.1))
        return batch

    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        fake = network(batch["x"])
        if step.player == "critic":
            return F.softplus(self.critic(fake.detach())).mean() + F.softplus(-self.critic(torch.rand(16, 2))).mean()
        return F.cross_entropy(fake, batch["y"]) + 0.1 * F.softplus(-self.critic(fake)).mean() * step.fraction

    def after(self, network: nn.Module, step: Step) -> None:
        self.memory = self.memory * 0.9 + 0.1 * step.numpy.random()


def adversary() -> Adversary:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Adversary()


RICH = Recipe(learning_rate=0.02, batch_size=16, ema_decay=0.9, accumulate=2, players={"critic": {"optimizer": "sgd"}})


def rich() -> nn.Sequential:
    return network(nn.BatchNorm1d(8), nn.Dropout(0.2))


def test_plain_sgd_equals_a_loop_written_by_hand():
    ours, theirs, rows = network(), network(), data()
    fit(Single(ours), Learner(cross_entropy), rows, PLAIN, total=25, seed=3)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for step in range(25):
        batch = rows.batch(16, 3, step)
        optimizer.zero_grad()
        F.cross_entropy(theirs(torch.tensor(batch["x"])), torch.tensor(batch["y"])).backward()
        optimizer.step()
    assert distance(ours, theirs) < 1e-6


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_each_optimiser_with_clipping_and_cosine_equals_torchs_own(
    optimizer: str, fused: bool, monkeypatch: pytest.MonkeyPatch
):
    if not fused:
        monkeypatch.setattr("sartor.training.optimizers._FUSED_DEVICES", ())
    recipe = replace(PLAIN, optimizer=optimizer, momentum=0.9, clip_norm=0.1, weight_decay=0.1, schedule="cosine")
    ours, theirs, rows = network(), network(), data()
    fit(Single(ours), Learner(cross_entropy), rows, recipe, total=20, seed=0)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    kinds: dict[str, Any] = {
        "adamw": lambda g: torch.optim.AdamW(g, lr=0.1, foreach=False),
        "adam": lambda g: torch.optim.Adam(g, lr=0.1, foreach=False),
        "sgd": lambda g: torch.optim.SGD(g, lr=0.1, momentum=0.9, nesterov=True, foreach=False),
    }
    other = kinds[optimizer](groups)
    for step in range(20):
        for group in other.param_groups:
            group["lr"] = 0.1 * 0.5 * (1 + math.cos(math.pi * step / 20))
        batch = rows.batch(16, 0, step)
        other.zero_grad()
        F.cross_entropy(theirs(torch.tensor(batch["x"])), torch.tensor(batch["y"])).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)
        other.step()
    assert distance(ours, theirs) < 1e-5


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_how_much_of_the_mean_gradient_adam_keeps_is_the_recipes(optimizer: str):
    recipe = replace(PLAIN, optimizer=optimizer, beta1=0.5)
    ours, theirs, rows = network(), network(), data()
    fit(Single(ours), Learner(cross_entropy), rows, recipe, total=10, seed=0)
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.AdamW
    other = kind(theirs.parameters(), lr=0.1, betas=(0.5, 0.999), weight_decay=0.0, foreach=False)
    for step in range(10):
        batch = rows.batch(16, 0, step)
        other.zero_grad()
        F.cross_entropy(theirs(torch.tensor(batch["x"])), torch.tensor(batch["y"])).backward()
        other.step()
    assert distance(ours, theirs) < 1e-5
    with pytest.raises(InputError, match="beta1 must be at least 0 and below 1"):
        replace(PLAIN, beta1=1.0)


def test_a_player_that_rests_is_not_updated_and_not_reported():
    class Resting(Adversary):
        def plays(self, player: str, index: int, total: int) -> bool:
            return player == "network" or index >= total // 2

    learner, points = Resting(), []
    before = copy.deepcopy(learner.critic)
    recipe = replace(RICH, accumulate=1)
    state = fit(Single(rich()), learner, data(), recipe, total=8, seed=0, until=4,
                report=lambda step, **values: points.append(set(values)))  # fmt: skip
    assert distance(before, learner.critic) == 0.0 and not any("loss.critic" in names for names in points)
    fit(Single(rich()), learner, data(), recipe, total=8, seed=0, state=state,
        report=lambda step, **values: points.append(set(values)))  # fmt: skip
    assert distance(before, learner.critic) > 0.0 and "loss.critic" in points[-1] | points[-2]


def test_accumulated_micro_batches_equal_one_large_batch():
    class Halves(Learner):
        def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
            size = step.recipe.batch_size
            start = (step.draw * size) % 160
            return {name: torch.tensor(v) for name, v in data.take(np.arange(start, start + size)).items()}

    large, small = network(), network()
    fit(Single(large), Halves(cross_entropy), data(), replace(PLAIN, batch_size=32), total=10, seed=0)
    fit(Single(small), Halves(cross_entropy), data(), replace(PLAIN, batch_size=8, accumulate=4), total=10, seed=0)
    assert distance(large, small) < 1e-6


def test_a_training_stopped_anywhere_and_resumed_ends_bit_equal():
    subject = Single(rich())
    whole = fit(subject, adversary(), data(), RICH, total=12, seed=5)
    for stop in (1, 4, 5, 11):
        half = fit(Single(rich()), adversary(), data(), RICH, total=12, until=stop, seed=5)
        resumed = fit(Single(network(nn.BatchNorm1d(8), nn.Dropout(0.2), seed=9)), Adversary(), data(), RICH,
                      total=12, seed=5, state=half)  # fmt: skip
        assert equal(whole.to_dict(), resumed.to_dict()), f"differs after a stop at {stop}"


def test_a_training_interrupted_at_a_checkpoint_resumes_bit_equal():
    class Stop(BaseException):
        pass

    whole = fit(Single(rich()), adversary(), data(), RICH, total=9, seed=5)
    saved: list[TrainingState] = []

    def save(state: TrainingState) -> None:
        saved.append(state)
        if len(saved) == 4:
            raise Stop

    with pytest.raises(Stop):
        fit(Single(rich()), adversary(), data(), RICH, total=9, seed=5, checkpoint=save, checkpoint_s=0.0)
    assert [state.step for state in saved] == [1, 2, 3, 4]
    resumed = fit(Single(rich()), adversary(), data(), RICH, total=9, seed=5, state=saved[1])
    assert equal(whole.to_dict(), resumed.to_dict())


def test_two_branches_of_one_state_do_not_touch_it_or_each_other():
    trunk = fit(Single(rich()), adversary(), data(), RICH, total=12, until=6, seed=5)
    before = copy.deepcopy(trunk.to_dict())
    first = fit(Single(rich()), adversary(), data(), RICH, total=12, seed=5, state=trunk)
    assert equal(trunk.to_dict(), before)
    second = fit(Single(rich()), adversary(), data(), RICH, total=12, seed=5, state=trunk)
    assert equal(first.to_dict(), second.to_dict())


def test_a_state_survives_torch_save_without_pickled_code(tmp_path: Any):
    state = fit(Single(rich()), adversary(), data(), RICH, total=12, until=6, seed=5)
    torch.save(state.to_dict(), tmp_path / "state.pt")
    loaded = TrainingState.from_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert equal(loaded.to_dict(), state.to_dict())
    a = fit(Single(rich()), adversary(), data(), RICH, total=12, seed=5, state=loaded)
    b = fit(Single(rich()), adversary(), data(), RICH, total=12, seed=5, state=state)
    assert equal(a.to_dict(), b.to_dict())


def test_a_trunk_continued_equals_a_longer_training_from_scratch():
    lengths, recipe = (10, 30, 90), replace(RICH, warmup=0.2, cooldown=0.3)
    schedules = [Schedule.of(recipe, n, longest=90, shortest=10) for n in lengths]
    state: TrainingState | None = None
    for schedule in schedules:
        state = fit(Single(rich()), adversary(), data(), recipe, total=90, until=schedule.turn, seed=1,
                    schedule=schedule.trunk, state=state)  # fmt: skip
    scratch = fit(Single(rich()), adversary(), data(), recipe, total=90, until=63, seed=1, schedule=schedules[2])
    assert state is not None
    assert equal(state.to_dict(), scratch.to_dict())


def test_torchs_global_generators_are_left_as_they_were():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    fit(Single(rich()), adversary(), data(), RICH, total=3, seed=5)
    assert torch.equal(torch.rand(3), expected)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002


def test_players_step_as_often_as_they_say_and_touch_only_their_own():
    turns: list[tuple[int, str]] = []

    class Counting(Adversary):
        def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
            turns.append((step.index, step.player))
            leaked = [p for p in [*network.parameters(), *self.parameters()] if p.grad is not None]
            assert not leaked, "gradients of another player are left over"
            return super().loss(network, batch, step)

    fit(Single(rich()), Counting(), data(), replace(RICH, accumulate=1), total=4, seed=0)
    assert turns == [(0, "network"), (0, "critic"), (1, "network"), (2, "network"), (2, "critic"), (3, "network")]


def test_a_player_without_trainable_parameters_does_not_step():
    net, learner = rich(), adversary()
    net.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    state = fit(Single(net), learner, data(), replace(RICH, ema_decay=None), total=4, seed=0)
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before if name.endswith("weight"))
    assert set(state.optimizers) == {"critic"}


def test_given_weights_are_only_evaluated():
    net = rich().requires_grad_(False)
    before = copy.deepcopy(net.state_dict())

    def forbidden(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        raise AssertionError("nothing is to be trained")

    state = fit(Single(net), Learner(forbidden), data(), replace(RICH, players={}), total=10, seed=0)
    assert equal(dict(net.state_dict()), dict(before))
    assert state.step == 10


def test_biases_and_normalisation_are_not_decayed():
    net = network(nn.BatchNorm1d(8))
    before = copy.deepcopy(net.state_dict())
    recipe = replace(PLAIN, optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    fit(Single(net), Learner(lambda n, b, s: 0.0 * n(b["x"]).sum()), data(), recipe, total=1, seed=0)
    after = net.state_dict()
    assert torch.allclose(after["0.weight"], before["0.weight"] * 0.95)
    for name in ("0.bias", "1.weight", "1.bias", "3.bias"):
        assert torch.equal(after[name], before[name]), name


def bad_at(bad_step: int, how: str) -> Learner:
    def loss(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        value = cross_entropy(network, batch, step)
        if step.index < bad_step:
            return value
        if how == "loss":
            return value * float("nan")
        weight = next(network.parameters())
        return value + (weight - weight.detach()).abs().sqrt().sum()  # finite, its gradient is not

    return Learner(loss)


@pytest.mark.parametrize("how", ["loss", "gradient"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_what_is_not_finite_raises_before_the_step_is_taken(how: str, clip: float | None):
    recipe = replace(PLAIN, clip_norm=clip)
    good, net = network(), network()
    fit(Single(good), Learner(cross_entropy), data(), recipe, total=9, until=3, seed=0)
    with pytest.raises(DivergedError, match="step 3, player 'network'"):
        fit(Single(net), bad_at(3, how), data(), recipe, total=9, seed=0)
    assert distance(good, net) == 0


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_on_an_accelerator_the_bad_step_is_void_and_named_later(
    optimizer: str, how: str, monkeypatch: pytest.MonkeyPatch
):
    from sartor.training import _fit
    from sartor.training.optimizers import Player

    monkeypatch.setattr(_fit, "Player", lambda *args: Player(*args, deferred=True))
    recipe = replace(PLAIN, optimizer=optimizer, momentum=0.9, clip_norm=1.0)
    good, net = network(), network()
    fit(Single(good), Learner(cross_entropy), data(), recipe, total=9, until=3, seed=0)
    states: list[TrainingState] = []
    with pytest.raises(DivergedError, match="step 3, player 'network'"):
        fit(Single(net), bad_at(3, how), data(), recipe, total=9, seed=0, checkpoint=states.append, checkpoint_s=0.0)
    assert distance(good, net) == 0
    assert [state.step for state in states] == [1, 2, 3]


def test_deferred_and_immediate_checks_train_alike(monkeypatch: pytest.MonkeyPatch):
    from sartor.training import _fit
    from sartor.training.optimizers import Player

    now, later = network(), network()
    recipe = replace(PLAIN, optimizer="adamw", clip_norm=0.05)
    fit(Single(now), Learner(cross_entropy), data(), recipe, total=9, seed=0)
    monkeypatch.setattr(_fit, "Player", lambda *args: Player(*args, deferred=True))
    fit(Single(later), Learner(cross_entropy), data(), recipe, total=9, seed=0)
    assert distance(now, later) < 1e-6


def test_averaged_weights_equal_the_formula_and_are_what_is_validated():
    net, seen, trail = network(), [], []

    class Watch(Learner):
        def after(self, network: nn.Module, step: Step) -> None:
            trail.append(network[0].weight.detach().clone())

    def validate(module: nn.Module) -> dict[str, float]:
        seen.append(float(module[0].weight.detach().sum()))
        return {"sum": seen[-1]}

    start = net[0].weight.detach().clone()
    state = fit(Single(net), Watch(cross_entropy), data(), replace(PLAIN, ema_decay=0.5), total=8, seed=0,
                validate=validate, validate_every=4)  # fmt: skip
    mean, at_four = start, start
    for step, weight in enumerate(trail):
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * weight
        at_four = mean if step == 3 else at_four
    assert state.averaged is not None
    assert torch.allclose(state.averaged["0.weight"], mean, atol=1e-6)
    assert seen == [pytest.approx(float(at_four.sum()), abs=1e-5)]
    assert torch.equal(net[0].weight, trail[-1]), "validation must put the trained weights back"
    put(net, state.averaged)
    assert torch.allclose(net[0].weight, mean, atol=1e-6)


def test_an_average_follows_a_buffer_that_is_put_in_anothers_place():
    class Replacing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 2)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = self.seen + 1
            return self.linear(x)

    state = fit(Single(Replacing()), Learner(cross_entropy), data(), replace(PLAIN, ema_decay=0.0), total=5, seed=0)
    assert state.averaged is not None
    assert float(state.averaged["seen"]) == 5


def test_reports_come_at_fixed_steps_and_hold_every_player():
    def points(**more: Any) -> list[tuple[int, frozenset[str]]]:
        seen: list[tuple[int, frozenset[str]]] = []
        fit(Single(rich()), adversary(), data(), RICH, total=10, seed=0,
            report=lambda step, **values: seen.append((step, frozenset(values))), **more)  # fmt: skip
        return seen

    both = frozenset({"loss.network", "loss.critic", "learning_rate"})
    assert points(report_every=3) == [(1, both), (5, both), (9, both), (10, both - {"loss.critic"})]


def test_the_figures_reported_do_not_depend_on_a_resume():
    def series(state: TrainingState | None) -> dict[int, dict[str, float]]:
        seen: dict[int, dict[str, float]] = {}
        fit(Single(rich()), adversary(), data(), RICH, total=10, seed=0, state=state, report_every=2,
            report=lambda step, **values: seen.__setitem__(step, values))  # fmt: skip
        return seen

    half = fit(Single(rich()), adversary(), data(), RICH, total=10, until=5, seed=0)
    whole, resumed = series(None), series(half)
    assert resumed and resumed == {step: values for step, values in whole.items() if step > 5}


def test_the_deadline_saves_before_it_gives_up():
    saved: list[TrainingState] = []
    with pytest.raises(DeadlineError, match="step 1 of 10"):
        fit(Single(rich()), adversary(), data(), RICH, total=10, seed=0, checkpoint=saved.append,
            deadline=time.monotonic() - 1)  # fmt: skip
    assert [state.step for state in saved] == [1]


def test_several_networks_of_a_step_share_one_update():
    store = nn.ModuleDict({"a": network(seed=1), "b": network(seed=2)})

    class Paths:
        module = store

        def draw(self, step: Step) -> Iterable[tuple[Any, nn.Module]]:
            names = ["a", "b"] if step.index % 2 else [str(step.numpy.choice(["a", "b"]))]
            return ((name, store[name]) for name in names)

    seen: list[Any] = []

    def loss(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        seen.append(step.architecture)
        return cross_entropy(network, batch, step)

    before = copy.deepcopy(store)
    fit(Paths(), Learner(loss), data(), PLAIN, total=2, seed=0)
    assert seen[1:] == ["a", "b"] and seen[0] in ("a", "b")
    assert distance(store["a"], before["a"]) > 0 and distance(store["b"], before["b"]) > 0


def test_bfloat16_trains_near_float32_and_weights_stay_float32():
    one, two = network(), network()
    fit(Single(one), Learner(cross_entropy), data(), PLAIN, total=20, seed=0)
    fit(Single(two), Learner(cross_entropy), data(), replace(PLAIN, precision="bfloat16"), total=20, seed=0)
    assert 0 < distance(one, two) < 0.05
    assert all(p.dtype == torch.float32 for p in two.parameters())


def test_a_players_name_that_the_learner_lacks_is_told_with_the_near_one():
    recipe = replace(PLAIN, players={"critics": {"learning_rate": 0.1}})
    with pytest.raises(InputError, match="did you mean 'critic'"):
        fit(Single(rich()), adversary(), data(), recipe, total=2, seed=0)


def test_a_loss_that_reaches_no_parameter_of_its_player_is_told():
    class Wrong(Adversary):
        def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
            return cross_entropy(network, batch, step)

    with pytest.raises(ValueError, match="player 'critic' reaches none"):
        fit(Single(rich()), Wrong(), data(), RICH, total=2, seed=0)


def test_a_state_of_another_optimiser_is_refused():
    state = fit(Single(network()), Learner(cross_entropy), data(), PLAIN, total=4, until=2, seed=0)
    with pytest.raises(ValueError, match="expected the state of adamw for these parameters, got one of sgd"):
        fit(Single(network()), Learner(cross_entropy), data(), replace(PLAIN, optimizer="adamw"), total=4, seed=0,
            state=state)  # fmt: skip


def test_parameters_that_a_loss_does_not_reach_stay_as_they_are():
    net = nn.ModuleDict({"used": nn.Linear(6, 2), "unused": nn.Linear(6, 2)})
    before = copy.deepcopy(net)
    learner = Learner(lambda n, b, s: F.cross_entropy(n["used"](b["x"]), b["y"]))
    fit(Single(net), learner, data(), Recipe(batch_size=16), total=3, seed=0)
    assert distance(net["unused"], before["unused"]) == 0
    assert distance(net["used"], before["used"]) > 0


def test_training_does_not_load_torchs_compiler():
    code = (
        "import sys, torch\n"
        "from sartor.data import Rows\n"
        "from sartor.training import Learner, Recipe, Single, fit\n"
        "learner = Learner(lambda network, batch, step: network(batch['x']).square().mean())\n"
        "recipe = Recipe(ema_decay=0.9)\n"
        "rows = Rows(x=torch.ones(8, 2))\n"
        "state = fit(Single(torch.nn.Linear(2, 2)), learner, rows, recipe, total=4, until=2, seed=0)\n"
        "fit(Single(torch.nn.Linear(2, 2)), learner, rows, recipe, total=4, state=state, seed=0)\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"importing torch._dynamo costs every worker 2 s; {done.stderr}"


def test_streams_are_functions_of_seed_draw_and_player_made_once():
    def step(**changed: Any) -> Step:
        arguments = {"seed": 1, "index": 2, "player": "network", "micro": 0} | changed
        index, seed = arguments.pop("index"), arguments.pop("seed")
        return Step(index, 10, seed, replace(PLAIN, accumulate=2), **arguments)

    first = step()
    a, b = first.numpy.random(), first.numpy.random()
    assert a != b
    assert step().numpy.random() == a
    assert torch.equal(torch.rand(2, generator=step().torch), torch.rand(2, generator=step().torch))
    for change in ({"seed": 2}, {"index": 3}, {"player": "critic"}, {"micro": 1}):
        assert step(**change).numpy.random() != a, change
        assert step(**change).default_seed != first.default_seed, change
        assert step(**change).torch.initial_seed() != first.torch.initial_seed(), change
    assert first.default_seed != first.torch.initial_seed()
    assert step(index=1, micro=1).draw == 3 and step(index=5).fraction == 0.5


def test_the_default_batch_brings_arrays_of_every_kind_as_tensors():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    x.flags.writeable = False
    rows = Rows(x=x[:, ::-1], y=torch.arange(4), name=np.array(["a", "b", "c", "d"]))
    step = Step(0, 1, 0, replace(PLAIN, batch_size=4))
    batch = Learner().batch(nn.Identity(), rows, step)
    assert isinstance(batch["x"], torch.Tensor) and isinstance(batch["y"], torch.Tensor)
    assert sorted(batch["name"].tolist()) == ["a", "b", "c", "d"]
