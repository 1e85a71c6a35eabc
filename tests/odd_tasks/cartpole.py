"""On-policy control: the batches are what the network itself does (REINFORCE, Williams 1992, on cart-pole).

A part of the data is a set of starting states in a physics; the cart-pole is Barto, Sutton & Anderson's (1983) as in
Gymnasium's CartPole-v1: 0.02 s a step, force of 10 N left or right, failed beyond 12 degrees or 2.4 m.
Metric: steps survived out of 200, mean over the part's starts, acting greedily; higher is better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor.data import Sealed, Splits
from sartor.pictures import Lines, Picture
from sartor.space import Architecture, OneOf, Space
from sartor.task import Metric, Predictions, Task
from sartor.training import Learner, Recipe, Step

HORIZON = 200
MAX_POSITION_M, MAX_ANGLE_RAD = 2.4, 12 * np.pi / 180
FORCE_N, STEP_S, POLE_KG, TOTAL_KG = 10.0, 0.02, 0.1, 1.1


@dataclass(frozen=True)
class Poles:
    """Cart-poles to start from: one for each seed; state is (position, velocity, angle, angular velocity)."""

    seeds: np.ndarray
    gravity: float = 9.8
    half_length: float = 0.5

    def __len__(self) -> int:
        return len(self.seeds)

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Returns starting states, float64 of shape ``(len(seeds), 4)``."""
        return np.stack([np.random.default_rng(int(seed)).uniform(-0.05, 0.05, 4) for seed in seeds])

    def step(self, state: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the next states and which of them have failed."""
        x, v, angle, spin = state.T
        cos, sin = np.cos(angle), np.sin(angle)
        pushed = np.where(right, FORCE_N, -FORCE_N) + POLE_KG * self.half_length * spin**2 * sin
        pushed /= TOTAL_KG
        turn = (self.gravity * sin - cos * pushed) / (self.half_length * (4 / 3 - POLE_KG * cos**2 / TOTAL_KG))
        push = pushed - POLE_KG * self.half_length * turn * cos / TOTAL_KG
        after = np.stack([x + STEP_S * v, v + STEP_S * push, angle + STEP_S * spin, spin + STEP_S * turn], axis=1)
        return after, (np.abs(after[:, 0]) > MAX_POSITION_M) | (np.abs(after[:, 2]) > MAX_ANGLE_RAD)


def roll_out(
    policy: nn.Module, poles: Poles, seeds: np.ndarray, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns states ``(steps, n, 4)``, actions ``(steps, n)`` and which were alive; greedy without ``rng``."""
    state = poles.reset(seeds)
    alive = np.ones(len(state), bool)
    states, actions, alives = [], [], []
    for _ in range(HORIZON):
        with torch.no_grad():
            chance = policy(torch.from_numpy(state.astype(np.float32))).softmax(-1)[:, 1].numpy()
        right = chance > 0.5 if rng is None else rng.random(len(state)) < chance
        states.append(state)
        actions.append(right)
        alives.append(alive.copy())
        after, failed = poles.step(state, right)
        state = np.where(alive[:, None], after, state)
        alive &= ~failed
        if not alive.any():
            break
    return np.stack(states), np.stack(actions), np.stack(alives)


def policy(width: int, depth: int) -> nn.Sequential:
    """Returns a network from states ``(n, 4)`` to the logits of (left, right) ``(n, 2)``."""
    layers: list[nn.Module] = []
    wide = 4
    for _ in range(depth):
        layers += [nn.Linear(wide, width), nn.Tanh()]
        wide = width
    return nn.Sequential(*layers, nn.Linear(wide, 2))


class Reinforce(Learner):
    """The policy gradient with each episode's mean return as its baseline; counts the environment's steps."""

    environment_steps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("environment_steps", torch.zeros((), dtype=torch.int64))

    def batch(self, network: nn.Module, data: Poles, step: Step) -> dict[str, torch.Tensor]:
        seeds = step.numpy.choice(data.seeds, step.recipe.batch_size)
        states, actions, alive = roll_out(network, data, seeds, step.numpy)
        returns = alive[::-1].cumsum(0)[::-1]
        self.environment_steps += int(alive.sum())
        return {
            "states": torch.from_numpy(states.astype(np.float32)),
            "actions": torch.from_numpy(actions.astype(np.int64)),
            "alive": torch.from_numpy(alive.astype(np.float32)),
            "returns": torch.from_numpy(returns.astype(np.float32)),
        }

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor], step: Step) -> torch.Tensor:
        alive, returns = batch["alive"], batch["returns"]
        baseline = (returns * alive).sum(1, keepdim=True) / alive.sum(1, keepdim=True).clamp(min=1)
        chosen = network(batch["states"]).log_softmax(-1).gather(-1, batch["actions"][..., None])[..., 0]
        return -(chosen * (returns - baseline) / 50 * alive).sum() / alive.sum()


class Cartpole(Task):
    """Balances a pole by policy gradient."""

    recipe = Recipe(batch_size=16, learning_rate=2e-2, weight_decay=0.0, warmup=0.0)
    metrics = {"survived": Metric(lambda predictions: float(predictions["survived"].mean()), "max", "steps")}

    def data(self) -> Splits:
        ids = {"train": np.arange(1000), "validation": np.arange(10_000, 10_032), "test": np.arange(20_000, 20_032)}
        fingerprint = hashlib.sha256(b"".join(value.tobytes() for value in ids.values())).hexdigest()[:16]
        return Splits(
            Poles(ids["train"]),
            Poles(ids["validation"]),
            Sealed(lambda: Poles(ids["test"], gravity=12.0, half_length=0.7)),
            ids=ids,
            fingerprint=fingerprint,
        )

    def space(self) -> Space:
        return Space(partial(policy, width=OneOf(4, 16, 32), depth=OneOf(1, 2)))

    def baseline(self) -> Architecture:
        return Architecture({"width": 16, "depth": 1})

    def learner(self, architecture: Architecture) -> Learner:
        return Reinforce()

    def predict(self, deployed: nn.Module, part: Poles) -> Predictions:
        states, _, alive = roll_out(deployed, part, part.seeds, None)
        return {"survived": alive.sum(0), "angle": states[:, 0, 2]}

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(batch_size, 4),)

    def show(self, predictions: Predictions) -> Sequence[Picture]:
        angle: Any = predictions["angle"]
        return (Lines(np.arange(len(angle)) * STEP_S, angle[None], ("angle",), "seconds", "radians", "First episode"),)
