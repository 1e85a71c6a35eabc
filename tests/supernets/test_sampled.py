"""Methods that train sampled architectures with shared weights."""

from __future__ import annotations

from collections import Counter
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
from sartor.registry import find, specs
from sartor.space import OneOf, Repeat, Space
from sartor.supernets import Sampled
from sartor.supernets.enas import Enas
from sartor.supernets.fairnas import FairNas
from sartor.supernets.few_shot import FewShot
from sartor.supernets.once_for_all import OnceForAll
from sartor.supernets.one_shot import OneShot
from sartor.testing.supernets import check_method
from sartor.training import Learner, Recipe, Step, fit

RECIPE = Recipe(optimizer="sgd", learning_rate=0.1, batch_size=16, warmup=0.0)


def _block() -> Any:
    return OneOf(
        conv=partial(nn.Conv2d, 8, 8, 3, padding=1), pool=partial(nn.AvgPool2d, 3, 1, 1), skip=partial(nn.Identity)
    )


def _head() -> Any:
    return partial(ClassifierHead, classes=3)


def space() -> Space:
    blocks = [partial(ConvBnAct, out_channels=8, kernel=OneOf(3, 5)), Repeat(_block(), times=OneOf(1, 2, 3))]
    return Space(partial(Chain, 1, blocks=blocks, head=_head()))


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


METHODS: dict[str, Callable[[], Sampled]] = {
    "one-shot": lambda: OneShot(space(), seed=1, paths=2),
    "fairnas": lambda: FairNas(space(), seed=1),
    "few-shot": lambda: FewShot(space(), seed=1, split=["blocks.0.kernel"], split_at=0.4),
    "enas": lambda: Enas(space(), seed=1, warm_up=0.1),
    "once-for-all": lambda: OnceForAll(space(), seed=1),
}


@pytest.mark.parametrize("name", [*METHODS, "once-for-all", "bignas", "darts", "fbnet"])
def test_methods_keep_what_every_method_promises(name: str) -> None:
    space = Space(partial(Chain, 1, blocks=[partial(ConvBnAct, out_channels=8), _block()], head=_head()))
    check_method(find("supernets", name).load(), space, (torch.zeros(2, 1, 8, 8),), loss, rows())


class _Forgetful(OneShot):
    """Draws its paths from a generator of its own, of which nothing is saved."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.rng = np.random.default_rng(0)

    def draw(self, step: Step) -> Any:
        architecture = self.space.sample_choices(self.rng)
        yield architecture, self.module.network(architecture)


def test_a_method_that_forgets_where_it_was_is_found_out() -> None:
    space = Space(partial(Chain, 1, blocks=[partial(ConvBnAct, out_channels=8), _block()], head=_head()))
    with pytest.raises(AssertionError, match="going on from a saved state"):
        check_method(_Forgetful, space, (torch.zeros(2, 1, 8, 8),), loss, rows())


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_and_goes_on_from_a_state_as_if_it_had_not_stopped(name: str) -> None:
    reports: list[float] = []

    def train(method: Sampled, until: int, state: Any = None) -> Any:
        recipe = method.recipe(RECIPE)
        return fit(
            method, method.learner(Learner(loss)), rows(), recipe, total=60, until=until, seed=5, state=state,
            report=lambda step, **values: reports.append(values.get("loss.network", np.nan)),
        )  # fmt: skip

    whole_method = METHODS[name]()
    assert isinstance(whole_method, Sampled)
    whole = train(whole_method, 60)
    assert np.nanmean(reports[-10:]) < 0.9 * np.nanmean(reports[:5])
    half = train(METHODS[name](), 30)
    resumed = train(METHODS[name](), 60, half)
    assert all(torch.equal(resumed.module[key], value) for key, value in whole.module.items())
    assert all(torch.equal(resumed.learner[key], value) for key, value in whole.learner.items())
    # Every architecture inherits weights, and its own network has a copy of them.
    x = torch.from_numpy(rows(8).columns["x"])
    whole_method.module.eval()
    for architecture in space().sample_choices(np.random.default_rng(0), 4):
        network, child = whole_method.weights.network(architecture), whole_method.weights.child(architecture)
        assert torch.equal(network(x), child(x))


def test_methods_are_listed_without_torch_and_made_by_name() -> None:
    known = specs("supernets")
    assert set(METHODS) <= set(known)
    for name in METHODS:
        made = known[name].load()(space(), None, seed=0)
        assert isinstance(made, Sampled) and known[name].citation and known[name].when


def test_fairnas_trains_each_option_once_a_step() -> None:
    method = FairNas(space(), seed=0)
    assert method.paths == 3
    for index in range(5):
        drawn = method.sample(np.random.default_rng(index))
        assert sorted(architecture["blocks.1.times"] for architecture in drawn) == [1, 2, 3]
        assert Counter(architecture["blocks.1.0"] for architecture in drawn) == {"conv": 1, "pool": 1, "skip": 1}
        # A choice of two options has its third turn again: never the same option three times.
        assert max(Counter(architecture["blocks.0.kernel"] for architecture in drawn).values()) == 2


def test_fairnas_keeps_constraints() -> None:
    narrow = space().where(lambda kernel, times: kernel == 3 or times == 3, "blocks.0.kernel", "blocks.1.times")
    method = FairNas(narrow, seed=0)
    rng = np.random.default_rng(0)
    assert all(architecture in narrow for _ in range(20) for architecture in method.sample(rng))


def test_few_shot_gives_each_option_its_own_copy_when_it_splits() -> None:
    method = FewShot(space(), seed=0, split=["blocks.0.kernel"], split_at=0.5)
    x = torch.from_numpy(rows(8).columns["x"])
    one, other = (space().given({"blocks.0.kernel": kernel}).sample(np.random.default_rng(3)) for kernel in (3, 5))
    method.module.eval()
    before = method.weights.network(one)(x)
    list(method.draw(Step(9, 20, 0, RECIPE)))
    assert not method.module.is_split
    list(method.draw(Step(10, 20, 0, RECIPE)))
    assert method.module.is_split and torch.equal(method.weights.network(one)(x), before)
    used = {name for name, parameter in method.module.named_parameters() if parameter.grad is not None}
    assert not used
    method.weights.network(one)(x).sum().backward()
    used = {name.split(".")[1] for name, p in method.module.named_parameters() if p.grad is not None}
    assert used == {"0"}
    method.weights.network(other)(x).sum().backward()
    used = {name.split(".")[1] for name, p in method.module.named_parameters() if p.grad is not None}
    assert used == {"0", "1"}


def test_the_controller_of_enas_comes_to_write_what_is_better() -> None:
    """Of three options, one alone lets anything through."""

    class Block(nn.Module):
        def __init__(self, keep: float) -> None:
            super().__init__()
            self.keep = keep
            self.conv = nn.Conv2d(8, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.keep * (x + self.conv(x))

    options = OneOf(dead=partial(Block, 0.0), faint=partial(Block, 1e-3), alive=partial(Block, 1.0))
    blocks = [partial(ConvBnAct, out_channels=8), options]
    tree = partial(Chain, 1, blocks=blocks, head=partial(ClassifierHead, classes=3))
    method = Enas(Space(tree), seed=0, warm_up=0.3, entropy=0.0, every=1)
    fit(method, method.learner(Learner(loss)), rows(), method.recipe(RECIPE), total=250, seed=0)
    rng = np.random.default_rng(0)
    written = Counter(method.module.written(rng)["blocks.1"] for _ in range(50))
    assert written["alive"] > 30


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OneShot(space(), paths=0), "at least 1 path"),
        (lambda: OneShot(space(), sampling="all"), "sampling of choices or architectures"),  # type: ignore[arg-type]
        (lambda: FairNas(space(), paths=0), "at least 1 path"),
        (lambda: FewShot(space(), split=["blocks.0.kernal"]), "did you mean 'blocks.0.kernel'"),
        (lambda: FewShot(space(), split=["blocks.1.2"]), "no choice that every architecture has"),
        (lambda: FewShot(space(), split_at=1.0), "split_at from 0"),
        (lambda: Enas(space(), hidden=6), "multiple of 4"),
        (lambda: Enas(space(), decay=1.0), "decay and warm_up"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_data_that_cannot_be_halved_are_refused() -> None:
    method = Enas(space(), seed=0)
    with pytest.raises(InputError, match="sartor.data.Rows"):
        fit(method, method.learner(Learner(loss)), [1, 2, 3], method.recipe(RECIPE), total=4, seed=0)


class _Resting(Learner):
    """Whose player takes every other turn."""

    def plays(self, player: str, index: int, total: int) -> bool:
        return index % 2 == 0


@pytest.mark.parametrize("name", ["enas", "bignas", "once-for-all"])
def test_a_players_rest_is_the_tasks_to_say(name: str) -> None:
    learner = find("supernets", name).load()(space(), seed=0).learner(_Resting(loss))
    assert [learner.plays("network", index, 4) for index in range(4)] == [True, False, True, False]
    assert name != "enas" or learner.plays("controller", 1, 4)
