"""Controllers trained by REINFORCE and by proximal policy optimisation."""

from __future__ import annotations

import itertools
import json
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture, OneOf, Space
from sartor.space._walk import Walk
from sartor.strategies._controller import Controller, Learner
from sartor.strategies._reward import Reward
from sartor.strategies.ppo import PPO
from sartor.strategies.reinforce import Reinforce
from sartor.testing.strategies import check_proposals, check_strategy, make_spaces
from sartor.trials import Fidelity, Figure, Proposal, Trial

FULL = (Fidelity(9.0),)
SPACE = Space({f"x{i}": OneOf(*range(5)) for i in range(6)})
ACCURACY = Goals((Objective("accuracy"),))
KINDS = {
    f"{kind.__name__}, {body}": partial(kind, controller=body, hidden=8, batch_size=4)
    for kind in (Reinforce, PPO)
    for body in ("lstm", "transformer")
}


def total(architecture: Architecture) -> float:
    return float(sum(architecture.values()))


def finish(number: int, architecture: Architecture, accuracy: float | None, **costs: float) -> Trial:
    trial = Trial(number, Proposal(architecture, FULL[0]), 0, "infeasible" if accuracy is None else "complete")
    trial.costs = {name: Figure(value) for name, value in costs.items()}
    trial.metrics = {} if accuracy is None else {"accuracy": accuracy}
    return trial


@pytest.mark.parametrize("name", ["Reinforce, lstm", "PPO, transformer"])
def test_a_controller_conforms(name: str) -> None:
    check_strategy(KINDS[name], make_spaces()["conditional"], num_trials=12, points=(9,), num_next=6)


@pytest.mark.parametrize("space", ["numbers", "constrained", "collections"])
def test_a_controller_proposes_what_is_in_the_space(space: str) -> None:
    check_proposals(KINDS["PPO, lstm"], make_spaces()[space], num_trials=10)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_controller_learns_what_is_rewarded(name: str) -> None:
    strategy = KINDS[name](SPACE, ACCURACY, FULL, seed=0, hidden=16)
    scores = []
    for number in range(100):
        (proposal,) = strategy.ask(1)
        scores.append(total(proposal.architecture))
        strategy.tell([finish(number, proposal.architecture, scores[-1])])
    # Uniform draws have 12 on average, and means of 20 of them a deviation of 0.8; the most is 24.
    assert abs(np.mean(scores[:12]) - 12) < 4
    assert np.mean(scores[-20:]) > 15


@pytest.mark.parametrize("name", list(KINDS))
def test_weights_and_moments_survive_json_exactly(name: str) -> None:
    strategy, restored = (KINDS[name](SPACE, ACCURACY, FULL, seed=seed) for seed in (1, 2))
    for number, proposal in enumerate(strategy.ask(14)):
        strategy.tell([finish(number, proposal.architecture, total(proposal.architecture))])
    restored.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    for number in range(14, 30):
        asked = strategy.ask(1)
        assert restored.ask(1) == asked
        for one in (strategy, restored):
            one.tell([finish(number, asked[0].architecture, total(asked[0].architecture))])
    weights = [torch.cat([p.flatten() for p in one._policy.controller.parameters()]) for one in (strategy, restored)]
    assert torch.equal(*weights)


@pytest.mark.parametrize("kind", [Reinforce, PPO])
def test_options_that_make_no_sense_are_refused(kind: Any) -> None:
    for options, message in (
        ({"controller": "lsmt"}, "did you mean 'lstm'"),
        ({"hidden": 10}, "multiple of 4"),
        ({"decay": 1.0}, "decay"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
    ):
        with pytest.raises(InputError, match=message):
            kind(SPACE, ACCURACY, FULL, **options)


def test_predicates_on_whole_architectures_are_counted_where_they_reject() -> None:
    space = SPACE.where(lambda one: one["x0"] != one["x1"], name="differ")
    strategy = Reinforce(space, ACCURACY, FULL, hidden=8)
    assert all(proposal.architecture in space for proposal in strategy.ask(6))
    assert strategy._policy.num_rejected > 0


# --- the network


@pytest.mark.parametrize("body", ["lstm", "transformer"])
def test_probabilities_of_all_architectures_sum_to_one(body: Any) -> None:
    space = make_spaces()["constrained"].given({f"layers.{i}.kernel": 3 for i in range(4)})
    space = space.given({"layers.2.groups": 1, "layers.3.groups": 2})
    walk = Walk(space)
    controller = Controller(walk, body, 0, hidden=8)
    with torch.no_grad():
        controller.heads.normal_(generator=torch.Generator().manual_seed(0))
    every = list(space)
    logs, entropies = controller.log_probability(walk.tokens(every))
    assert logs.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (entropies >= 0).all()
    # How often each is drawn is what its probability says: chi-squared, six deviations above its mean.
    drawn = controller.sample(4000, np.random.default_rng(0)).architectures(np.random.default_rng(0))
    counts = np.array([drawn.count(one) for one in every])
    expected = 4000 * logs.exp().detach().numpy().astype(float)
    assert len(every) > 10
    assert ((counts - expected) ** 2 / expected).sum() < len(every) + 6 * math.sqrt(2 * len(every))


@pytest.mark.parametrize("body", ["lstm", "transformer"])
def test_no_token_depends_on_those_behind_it(body: Any) -> None:
    walk = Walk(SPACE)
    controller = Controller(walk, body, 0, hidden=8)
    with torch.no_grad():
        controller.heads.normal_(generator=torch.Generator().manual_seed(0))
    tokens = torch.zeros(1, 6, dtype=torch.int64)
    changed = tokens.clone()
    changed[0, 3] = 2
    before, after = controller(tokens)[0], controller(changed)[0]
    assert torch.allclose(before[:4], after[:4]) and not torch.allclose(before[4:], after[4:])


def test_a_step_is_that_of_torchs_own_adam() -> None:
    walk = Walk(SPACE)
    ours, theirs = (Controller(walk, "lstm", 0, hidden=8) for _ in range(2))
    learner, optimizer = Learner(ours, 0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    tokens = walk.tokens(SPACE.sample(np.random.default_rng(0), 8))
    for _ in range(5):
        learner.step(-20 * ours.log_probability(tokens)[0].mean())
        optimizer.zero_grad()
        (-20 * theirs.log_probability(tokens)[0].mean()).backward()
        assert torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0) > 1.0
        optimizer.step()
    for mine, own in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, own, atol=1e-5)


# --- rewards


def _rewards(goals: Goals, trials: list[tuple[float | None, dict[str, float]]]) -> list[float]:
    reward = Reward(goals)
    architecture = next(iter(SPACE))
    for number, (accuracy, costs) in enumerate(trials):
        assert reward.tell(finish(number, architecture, accuracy, **costs))
    found: list[float] = reward.values().tolist()
    again = Reward(goals)
    again.load_state_dict(json.loads(json.dumps(reward.state_dict())))
    assert again.values().tolist() == found
    return found


def test_rewards_are_ranks_whatever_the_scale_and_ties_are_equal() -> None:
    for goals, sign in ((ACCURACY, 1), (Goals((Objective("accuracy", "min"),)), -1)):
        rewards = _rewards(goals, [(sign * value, {}) for value in (0.1, 900.0, 0.3, 0.3, -5.0)])
        assert rewards == [-0.5, 1.0, 0.25, 0.25, -1.0]
    assert _rewards(ACCURACY, [(3.0, {})]) == [0.0]


def test_a_cost_counts_on_both_sides_of_its_target_and_a_limit_beyond_it() -> None:
    both = Goals((Objective("accuracy"), Objective("latency_ms", "min")))
    cheap, middle, dear = _rewards(both, [(1.0, {"latency_ms": value}) for value in (1.0, 2.0, 4.0)])
    assert cheap > middle > dear and cheap - middle == pytest.approx(middle - dear)
    limited = Goals((Objective("accuracy"),), (Limit("latency_ms", 2.0),))
    cheap, middle, dear = _rewards(
        limited, [(1.0, {"latency_ms": 1.0}), (1.0, {"latency_ms": 2.0}), (None, {"latency_ms": 4.0})]
    )
    assert cheap == middle == 0.0 and dear == pytest.approx(-1 - math.log(2))


def test_failed_trials_have_no_reward() -> None:
    reward = Reward(ACCURACY)
    trial = finish(0, next(iter(SPACE)), math.nan)
    assert not reward.tell(trial)
    trial.state = "failed"
    assert not reward.tell(trial) and len(reward) == 0


def test_each_clipped_ratio_is_to_the_probability_when_asked() -> None:
    strategy = PPO(SPACE, ACCURACY, FULL, hidden=8, batch_size=2, num_epochs=1)
    asked = strategy.ask(4)
    batches: list[Any] = []
    strategy._learn = batches.append  # type: ignore[method-assign]
    strategy.tell([finish(i, proposal.architecture, float(i)) for i, proposal in enumerate(asked[::-1])])
    logs = strategy._policy.controller.log_probability(Walk(SPACE).tokens([p.architecture for p in asked[::-1]]))[0]
    known = list(itertools.chain.from_iterable(batch.asked.tolist() for batch in batches))
    assert known == pytest.approx(logs.tolist(), abs=1e-5)
