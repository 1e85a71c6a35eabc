"""What every search strategy must do: run it on your own with `check_strategy`.

    from functools import partial
    from sartor.testing.strategies import check_strategy

    def test_my_strategy_conforms():
        check_strategy(partial(MyStrategy, population_size=10))

Results are simulated: a smooth score that rises with fidelity, a cost with a limit that about a third of the
architectures break, and a few failures; they come late and out of order, some of them as a record would give them back.
No torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from sartor.contracts import Strategy
from sartor.front import Front
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture, FloatRange, OneOf, Permutation, Repeat, Shared, Space, Subset
from sartor.strategies.random_search import RandomSearch
from sartor.trials import Fidelity, Figure, Proposal, Trial, derive_seed

__all__ = [
    "FIDELITIES",
    "Simulation",
    "check_determinism",
    "check_exhaustion",
    "check_proposals",
    "check_resume",
    "check_strategy",
    "make_spaces",
    "mean_advantage",
]

Make = Callable[..., Strategy]
"""Called as ``make(space, goals, fidelities, seed=...)``."""

FIDELITIES = (Fidelity(1.0), Fidelity(3.0), Fidelity(9.0))


def _layer(kernel: Any, **options: Any) -> tuple[Any, ...]:
    return (kernel, *options.values())


def _is_divisible(width: int, groups: int) -> bool:
    return width % groups == 0


def make_spaces() -> dict[str, Space]:
    """Returns spaces with everything that a strategy may meet, by what they have."""
    width = Shared("width", OneOf(8, 12, 16, 24))
    conditional = OneOf(
        conv=partial(_layer, kernel=OneOf(3, 5, 7), expand=OneOf(1, 2, 4)),
        pool=partial(_layer, kernel=OneOf(2, 3)),
        skip=None,
    )
    shared = partial(_layer, kernel=OneOf(3, 5), width=width, act=OneOf("relu", "silu"))
    grouped = partial(_layer, kernel=OneOf(3, 5), groups=OneOf(1, 2, 3, 4, 6))
    rate, decay = FloatRange(1e-4, 1e-1, log=True), FloatRange(0.0, 1.0)
    return {
        "plain": Space({f"choice{i}": OneOf(*range(4)) for i in range(8)}),
        "conditional": Space({"layers": Repeat(conditional, times=OneOf(1, 2, 3, 4)), "batch": OneOf(32, 64)}),
        "shared": Space({"blocks": [shared] * 4}),
        "constrained": Space({"width": width, "layers": [grouped] * 4}).where(
            _is_divisible, "width", "layers.*.groups"
        ),
        "numbers": Space({"rate": rate, "decay": decay, "depth": OneOf(1, 2, 3, 4)}),
        "collections": Space(
            {"inputs": Subset({i: i for i in range(7)}, size=range(1, 4)), "order": Permutation(*"abcd")}
        ),
    }


@dataclass(frozen=True)
class Simulation:
    """Evaluates without training: a pure function of the proposal and the seed.

    Attributes:
        space: Where architectures come from.
        seed: Draws the function.
        limited: Whether the cost has a limit, which about a third of the architectures break.
        failing: Share of the architectures that fail.
    """

    space: Space
    seed: int = 0
    limited: bool = True
    failing: float = 0.1
    goals: Goals = field(init=False)
    _weights: np.ndarray = field(init=False, repr=False)
    _features: dict[Architecture, np.ndarray] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 99])
        features = self.space.encode([self.space.sample_choices(rng) for _ in range(64)])
        object.__setattr__(self, "_weights", rng.normal(size=(4, features.shape[1])) / np.sqrt(features.shape[1]))
        costs = [self._cost(row) for row in features]
        limits = (Limit("latency_ms", float(np.quantile(costs, 2 / 3))),) if self.limited else ()
        goals = Goals((Objective("accuracy"), Objective("latency_ms", "min")), limits)
        object.__setattr__(self, "goals", goals)

    def _encoded(self, architecture: Architecture) -> np.ndarray:
        if architecture not in self._features:
            self._features[architecture] = self.space.encode([architecture])[0]
        return self._features[architecture]

    def _cost(self, features: np.ndarray) -> float:
        return float(np.exp(2 * self._weights[0] @ features))

    def score(self, architecture: Architecture) -> float:
        """Returns the accuracy at infinite fidelity, between 0 and 1."""
        hidden = self._weights[1:] @ self._encoded(architecture)
        return float(1 / (1 + np.exp(-hidden.sum() - np.sin(3 * hidden).sum() / 3)))

    def finish(self, number: int, proposal: Proposal) -> Trial:
        """Returns the finished trial of a proposal."""
        architecture = proposal.architecture
        trial = Trial(number, proposal, seed=0)
        luck, error = (derive_seed(self.seed, architecture.to_json(), name) / 2**32 for name in ("luck", "error"))
        trial.costs["latency_ms"] = Figure(self._cost(self._encoded(architecture)), "ms", kind="measured")
        if self.goals.broken(trial.values):
            trial.state, trial.failure = "infeasible", "latency"
        elif luck < self.failing:
            trial.state, trial.failure = "failed", "simulated"
        else:
            trial.state = "complete"
            # A shorter training scores less, and ranks less truly.
            missing = (0.1 + 0.2 * (error - 0.5)) / math.sqrt(proposal.fidelity.amount)
            trial.metrics["accuracy"] = self.score(architecture) - missing
        return trial

    def run(self, strategy: Strategy, num_trials: int, *, slots: int = 4, seed: int = 0) -> _Progress:
        """Runs a strategy with several proposals outstanding, whose results come in random order."""
        progress = _Progress(self, slots, np.random.default_rng([seed, 98]))
        progress.go_on(strategy, num_trials)
        return progress


class _Progress:
    """A simulated run: what was asked, what is outstanding, what was told."""

    def __init__(self, simulation: Simulation, slots: int, rng: np.random.Generator) -> None:
        self.simulation, self.slots, self.rng = simulation, slots, rng
        self.proposals: list[Proposal] = []
        self.outstanding: list[Trial] = []
        self.told: list[Trial] = []

    def copy(self) -> _Progress:
        """Returns an independent run at the same point."""
        copied = _Progress(self.simulation, self.slots, np.random.default_rng())
        copied.rng.bit_generator.state = self.rng.bit_generator.state
        copied.proposals, copied.told = list(self.proposals), list(self.told)
        copied.outstanding = list(self.outstanding)
        return copied

    def go_on(self, strategy: Strategy, num_trials: int) -> None:
        """Asks until ``num_trials`` were asked in all or there is nothing more; leaves the last ones outstanding."""
        while len(self.proposals) < num_trials:
            wanted = min(self.slots - len(self.outstanding), num_trials - len(self.proposals))
            asked = strategy.ask(wanted)
            assert len(asked) <= wanted, f"asked for {wanted} proposals, got {len(asked)}"
            for proposal in asked:
                self.outstanding.append(self.simulation.finish(len(self.proposals), proposal))
                self.proposals.append(proposal)
            if not self.outstanding:
                return
            self.tell_some(strategy)

    def tell_some(self, strategy: Strategy) -> None:
        """Tells one to all of the outstanding trials, in random order."""
        num = 1 + int(self.rng.integers(len(self.outstanding)))
        chosen = self.rng.permutation(len(self.outstanding))[:num].tolist()
        trials = [self.outstanding[i] for i in chosen]
        self.outstanding = [trial for i, trial in enumerate(self.outstanding) if i not in chosen]
        for trial in trials:
            if trial.number % 2:
                # As the record gives it back: an equal architecture that no space made.
                copied = Architecture.from_json(trial.architecture.to_json())
                proposal = trial.proposal
                trial.proposal = Proposal(copied, proposal.fidelity, proposal.continues, proposal.replicate)
        strategy.tell(trials)
        self.told += trials


def check_strategy(
    make: Make,
    space: Space | None = None,
    *,
    fidelities: Sequence[Fidelity] = FIDELITIES,
    num_trials: int = 90,
    points: Sequence[int] = (0, 6, 25, 60),
    num_next: int = 50,
    better_than_random: bool = False,
) -> None:
    """Runs all checks, on one space or on all of `make_spaces`.

    Args:
        make: The strategy's class, or a partial of it, called as ``make(space, goals, fidelities, seed=...)``.
        space: Your own.
        fidelities: Ascending.
        num_trials: Of a simulated run.
        points: Numbers of trials after which the state is restored.
        num_next: Proposals compared from there.
        better_than_random: Also require that it finds better architectures than random search, on average.

    Raises:
        AssertionError: saying what does not hold.
    """
    for name, each in ({"space": space} if space is not None else make_spaces()).items():
        try:
            check_proposals(make, each, fidelities=fidelities, num_trials=num_trials)
            check_resume(make, each, fidelities=fidelities, points=points, num_next=num_next)
            check_determinism(make, each, fidelities=fidelities)
        except AssertionError as error:
            error.add_note(f"on the space {name!r}")
            raise
    check_exhaustion(make, fidelities=fidelities)
    if better_than_random:
        advantage = mean_advantage(make, make_spaces()["plain"] if space is None else space, fidelities=fidelities)
        assert advantage > 0, f"finds architectures that are {-advantage:.3f} worse than random search's on average"


def check_proposals(
    make: Make, space: Space, *, fidelities: Sequence[Fidelity] = FIDELITIES, num_trials: int = 90
) -> None:
    """Checks that proposals are of the space and the fidelities, that none repeats, and that promotions are right."""
    for limited in (True, False):
        simulation = Simulation(space, limited=limited)
        strategy = make(space, simulation.goals, tuple(fidelities), seed=1)
        assert isinstance(strategy, Strategy), f"{type(strategy).__name__} lacks a method of sartor.contracts.Strategy"
        run = simulation.run(strategy, num_trials)
        seen: dict[tuple[str, Fidelity, int], int] = {}
        for number, proposal in enumerate(run.proposals):
            architecture = proposal.architecture
            assert architecture in space, f"proposal {number} is not of the space: {architecture.to_json()}"
            assert proposal.fidelity in fidelities, f"proposal {number} is at {proposal.fidelity}, not offered"
            key = (architecture.to_json(), proposal.fidelity, proposal.replicate)
            assert key not in seen, f"proposal {number} repeats proposal {seen[key]}: {key}"
            seen[key] = number
            if proposal.continues is not None:
                assert proposal.continues < number, f"proposal {number} continues a later one, {proposal.continues}"
                earlier = run.proposals[proposal.continues]
                # Of another architecture it inherits weights, whatever the fidelity.
                assert earlier.architecture != architecture or earlier.fidelity < proposal.fidelity, (
                    f"proposal {number} continues a trial that is as long"
                )
                told = {trial.number: trial for trial in run.told}
                assert told[proposal.continues].state == "complete", f"proposal {number} continues an unfinished trial"


def _through_json(state: Mapping[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(state, allow_nan=False))
    return loaded


def check_resume(
    make: Make,
    space: Space,
    *,
    fidelities: Sequence[Fidelity] = FIDELITIES,
    points: Sequence[int] = (0, 6, 25, 60),
    num_next: int = 50,
) -> None:
    """Checks that a state through JSON gives the identical next proposals, at several points, asks outstanding."""
    simulation = Simulation(space)
    for point in points:
        original = make(space, simulation.goals, tuple(fidelities), seed=2)
        run = simulation.run(original, point)
        state = _through_json(original.state_dict())
        assert state == _through_json(original.state_dict()), "reading the state changes it"
        restored = make(space, simulation.goals, tuple(fidelities), seed=3)
        restored.load_state_dict(state)
        assert _through_json(restored.state_dict()) == state, f"the state after {point} trials is another once restored"
        again = run.copy()
        run.go_on(original, point + num_next)
        again.go_on(restored, point + num_next)
        for number, (expected, got) in enumerate(zip(run.proposals, again.proposals, strict=True)):
            assert expected == got, f"restored after {point} trials, proposal {number} is {got}, not {expected}"


def check_determinism(make: Make, space: Space, *, fidelities: Sequence[Fidelity] = FIDELITIES) -> None:
    """Checks that the same seed gives the same proposals, and another seed others."""
    simulation = Simulation(space)

    def proposals(seed: int) -> list[Proposal]:
        return simulation.run(make(space, simulation.goals, tuple(fidelities), seed=seed), 40).proposals

    assert proposals(5) == proposals(5), "the same seed gives other proposals"
    assert proposals(5) != proposals(6), "another seed gives the same proposals"


def check_exhaustion(make: Make, *, fidelities: Sequence[Fidelity] = FIDELITIES) -> None:
    """Checks that a tiny space is proposed whole, and that then fewer are given than asked for, at last none."""
    for tree, size in ({"a": OneOf(1, 2, 3), "b": OneOf(1, 2)}, 6), ({"a": OneOf(1)}, 1), ({"a": 1}, 1):
        space = Space(tree)
        simulation = Simulation(space, limited=False, failing=0.0)
        strategy = make(space, simulation.goals, tuple(fidelities), seed=4)
        run = simulation.run(strategy, 1000)
        for trial in run.outstanding:
            strategy.tell([trial])
        found = {proposal.architecture for proposal in run.proposals}
        assert len(found) == size, f"proposed {len(found)} of the {size} architectures of a tiny space"
        assert strategy.ask(3) == [], "proposes something although the space is exhausted"


def mean_advantage(
    make: Make,
    space: Space,
    *,
    fidelities: Sequence[Fidelity] = FIDELITIES,
    num_trials: int = 120,
    num_seeds: int = 8,
) -> float:
    """Returns how much better than random search's the best architecture is, on the true score, over simulations."""
    advantages = []
    for seed in range(num_seeds):
        simulation = Simulation(space, seed=seed)
        best = []
        for kind in (make, RandomSearch):
            strategy = kind(space, simulation.goals, tuple(fidelities), seed=seed)
            told = simulation.run(strategy, num_trials, seed=seed).told
            front = Front(told, simulation.goals)
            best.append(max(simulation.score(trial.architecture) for trial in front))
        advantages.append(best[0] - best[1])
    return float(np.mean(advantages))
