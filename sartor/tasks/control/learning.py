"""How policies learn: by imitating demonstrations, by being corrected, by rewards, or first the one and then the other.

From rewards by proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) of a recurrent policy: episodes of
the network itself are cut into windows, each with the state it began in, through which gradients flow; advantages are
generalised estimates (Schulman et al. 2016, arXiv:1506.02438) of a perceptron that the learner keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.tasks.control.data import BATCHES_PER_EPOCH, Part, demonstrated
from sartor.tasks.control.environments import Actions, Environment
from sartor.tasks.control.environments import Policy as Acts
from sartor.tasks.control.network import Policy, standardised
from sartor.tasks.control.options import Options
from sartor.training import Learner, Step, to_device
from sartor.training.learner import Loss

NUM_ENVIRONMENTS = 16
"""Episodes of a recording."""
CLIP = 0.2
TRACE = 0.95
"""Lambda of the generalised advantage."""
ENTROPY = 0.003
VALUE_WEIGHT = 0.5
FIRST_LOG_STD = -0.7
"""Of actions, in halves of their range."""
CRITIC = 64
"""Units of both layers of the perceptron that values states."""
NUM_CORRECTED, STEPS_PER_ROUND, ROUNDS_KEPT = 8, 40, 12
"""Episodes of a round in which the network acts and the expert corrects, steps between rounds, and rounds kept."""
IMITATED = 0.5
"""Share of a training that imitates, where it is fine-tuned by rewards."""


def imitation_loss(outputs: Tensor, action: Tensor, weight: Tensor, actions: Actions) -> Tensor:
    """Returns the cross-entropy of choices, or the mean squared error of actions in halves of their range.

    Args:
        outputs: Of a policy, ``(length, n, outputs)``.
        action: What was done, int64 ``(length, n)`` or float32 ``(length, n, components)``.
        weight: Of each step, ``(length, n)``.
        actions: What may be done.
    """
    if actions.discrete:
        each = functional.cross_entropy(outputs.flatten(0, 1), action.flatten(), reduction="none").view(weight.shape)
    else:
        wanted = (action - torch.from_numpy(actions.middle).to(action)) / torch.from_numpy(actions.half).to(action)
        # Beyond the bound more is not different: what is done is clipped.
        beyond = (wanted.abs() >= 1) & (outputs * wanted.sign() >= 1)
        each = torch.where(beyond, 0.0, (outputs - wanted) ** 2).mean(-1)
    return (each * weight).sum() / weight.sum().clamp_min(1)


def advantages(
    reward: np.ndarray, value: np.ndarray, behind: np.ndarray, alive: np.ndarray, discount: float
) -> np.ndarray:
    """Returns generalised advantages, ``(n, steps)``, 0 behind the end of an episode.

    Args:
        reward: Of each step, ``(n, steps)``.
        value: Of what was observed before it.
        behind: Of what was observed behind the last step, ``(n,)``; 0 where the episode ended by itself.
        alive: Whether the episode had not ended before a step.
        discount: Of later rewards.
    """
    n, steps = reward.shape
    found, running, following = np.zeros((n, steps)), np.zeros(n), behind
    last = alive.sum(1) - 1
    for at in range(steps - 1, -1, -1):
        inside, ends = alive[:, at], last == at
        following = np.where(ends, behind, following)
        error = reward[:, at] + discount * following - value[:, at]
        running = np.where(inside, error + discount * TRACE * np.where(ends, 0.0, running), 0.0)
        found[:, at] = running
        following = value[:, at]
    return found


class Corrected(Learner):
    """Imitation of an expert who says what should have been done where the network itself led to (DAgger; Ross, Gordon
    and Bagnell 2011, arXiv:1011.0686): a small error is then not followed by situations that nobody showed.

    What the network met is kept with the demonstrations; of many rounds, the last ones.

    Args:
        loss: Of imitation.
        environment: To act in.
        expert: Is given all observations.
        mean, spread: Of observations.
        window: Steps of a window.
    """

    observation: Tensor
    action: Tensor
    weight: Tensor
    num_windows: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(
        self, loss: Loss, environment: Environment, expert: Acts, mean: Tensor, spread: Tensor, window: int
    ) -> None:
        super().__init__(loss)
        self.environment, self.expert, self.window = environment, expert, window
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.most = ROUNDS_KEPT * NUM_CORRECTED * max(1, 2 * environment.num_steps // window)
        shape = (self.most, window)
        actions = environment.actions
        self.register_buffer("observation", torch.zeros(*shape, len(environment.names)))
        did = torch.zeros(shape, dtype=torch.int64) if actions.discrete else torch.zeros(*shape, len(actions.names))
        self.register_buffer("action", did)
        self.register_buffer("weight", torch.zeros(shape))
        self.register_buffer("num_windows", torch.zeros((), dtype=torch.int64))

    def batch(self, network: nn.Module, data: Part, step: Step) -> dict[str, Tensor]:
        """Returns windows drawn from the demonstrations and from what the network met."""
        assert isinstance(network, Policy) and data.windows is not None
        if step.draw and step.draw % STEPS_PER_ROUND == 0:
            with torch.no_grad():
                self._record(network, step)
        shown, own = len(data.windows), min(int(self.num_windows), self.most)
        index = step.numpy.integers(shown + own, size=step.recipe.batch_size)
        found: dict[str, Tensor] = to_device(data.windows.take(index[index < shown]), step.device)
        met = torch.from_numpy(index[index >= shown] - shown).to(step.device)
        return {name: torch.cat((value, getattr(self, name)[met])) for name, value in found.items()}

    def _record(self, network: Policy, step: Step) -> None:
        wanted: list[np.ndarray] = []
        device = self.mean.device
        state = torch.zeros(NUM_CORRECTED, network.state_size, device=device)

        def act(observation: np.ndarray) -> np.ndarray:
            nonlocal state
            wanted.append(self.expert(observation))
            seen = torch.from_numpy(observation[:, self.environment.kept]).to(device)
            outputs, state = network.step(standardised(seen, self.mean, self.spread), state)
            return self.environment.actions.of(outputs.cpu().numpy())

        seeds = step.numpy.integers(2**31, size=NUM_CORRECTED)
        episodes = self.environment.roll_out(act, seeds, everything=True)
        windows = demonstrated(episodes, np.stack(wanted, 1)).windows(self.window)
        place = (int(self.num_windows) + torch.arange(len(windows), device=device)) % self.most
        for name, column in windows.columns.items():
            getattr(self, name)[place] = column.to(device)
        self.num_windows += len(windows)


class Reinforcement(Learner):
    """Proximal policy optimisation; what was recorded last is kept, so that a training can be gone on with.

    Args:
        environment: To act in.
        options: Of the task.
        mean, spread: Of observations.
        reward_spread: By which rewards are divided.
        state_size: Of the policy.
        imitate: The loss of imitation, for the first part of a training; None to learn from rewards alone.
    """

    observation: Tensor
    action: Tensor
    chance: Tensor
    advantage: Tensor
    target: Tensor
    weight: Tensor
    state: Tensor
    num_windows: Tensor
    mean_return: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(
        self, environment: Environment, options: Options, mean: Tensor, spread: Tensor, reward_spread: float,
        state_size: int, imitate: Learner | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.environment, self.options, self.actions = environment, options, environment.actions
        self.reward_spread, self.imitate = reward_spread, imitate
        width, num = len(environment.names), len(environment.actions.names)
        self.critic = nn.Sequential(
            nn.Linear(width, CRITIC), nn.Tanh(), nn.Linear(CRITIC, CRITIC), nn.Tanh(), nn.Linear(CRITIC, 1)
        )
        self.log_std = nn.Parameter(torch.full((0 if self.actions.discrete else num,), FIRST_LOG_STD))
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.length = options.window
        most = NUM_ENVIRONMENTS * -(-environment.num_steps // self.length)
        shape = (most, self.length)
        self.register_buffer("observation", torch.zeros(*shape, width))
        did = torch.zeros(shape, dtype=torch.int64) if self.actions.discrete else torch.zeros(*shape, num)
        self.register_buffer("action", did)
        for name in ("chance", "advantage", "target", "weight"):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("state", torch.zeros(most, state_size))
        self.register_buffer("num_windows", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean_return", torch.zeros(()))

    def _imitates(self, step: Step) -> bool:
        return self.imitate is not None and step.fraction < IMITATED

    def batch(self, network: nn.Module, data: Part, step: Step) -> dict[str, Tensor]:
        """Returns some windows of what was recorded last; every so many steps the network acts anew."""
        assert isinstance(network, Policy)
        if self._imitates(step):
            windows: dict[str, Tensor] = to_device(
                data.windows.batch(step.recipe.batch_size, step.seed, step.draw), step.device  # type: ignore[union-attr]
            )
            return windows
        if step.draw % BATCHES_PER_EPOCH == 0 or not int(self.num_windows):
            with torch.no_grad():
                self._record(network, data, step)
        num = int(self.num_windows)
        # Each round of batches goes through all windows in an order of its own.
        size = min(step.recipe.batch_size, num)
        rounds, place = divmod(step.draw % BATCHES_PER_EPOCH, max(1, num // size))
        order = np.random.default_rng([step.seed, step.draw // BATCHES_PER_EPOCH, rounds]).permutation(num)
        index = torch.from_numpy(order[place * size : (place + 1) * size]).to(step.device)
        names = ("observation", "action", "chance", "advantage", "target", "weight", "state")
        return {name: getattr(self, name)[index] for name in names}

    def _record(self, network: Policy, data: Part, step: Step) -> None:
        """Lets the network act in episodes, and keeps what it saw, did and got, cut into windows."""
        device = self.mean.device
        seeds = step.numpy.integers(2**31, size=NUM_ENVIRONMENTS)
        state = torch.zeros(NUM_ENVIRONMENTS, network.state_size, device=device)
        states, chances, values = [], [], []

        def act(observation: np.ndarray) -> np.ndarray:
            nonlocal state
            states.append(state)
            x = standardised(torch.from_numpy(observation).to(device), self.mean, self.spread)
            outputs, state = network.step(x, state)
            values.append(self.critic(x)[:, 0])
            if self.actions.discrete:
                drawn = torch.multinomial(outputs.softmax(-1).cpu(), 1, generator=step.torch)[:, 0].to(device)
                chances.append(outputs.log_softmax(-1).gather(1, drawn[:, None])[:, 0])
                return np.asarray(drawn.cpu().numpy())
            std = self.log_std.exp()
            noise = torch.randn(outputs.shape, generator=step.torch).to(device)
            drawn = outputs + std * noise
            chances.append(self._log_chance(outputs, drawn))
            raw.append(drawn.cpu().numpy())
            return self.actions.of(drawn.cpu().numpy())

        raw: list[np.ndarray] = []
        episodes = self.environment.roll_out(act, seeds)
        did = episodes.action if self.actions.discrete else np.stack(raw, 1)
        value = torch.stack(values, 1).cpu().numpy()
        last = standardised(torch.from_numpy(episodes.last).to(device), self.mean, self.spread)
        behind = self.critic(last)[:, 0].cpu().numpy() * ~episodes.terminated
        reward = episodes.reward / self.reward_spread
        advantage = advantages(reward, value, behind, episodes.alive, self.options.discount)
        lengths = episodes.alive.sum(1)
        chance = torch.stack(chances, 1).cpu().numpy()
        all_states = torch.stack(states, 1)
        target = advantage + value
        known = advantage[episodes.alive]
        advantage = (advantage - known.mean()) / (known.std() + 1e-6)
        at = 0
        columns = {
            "observation": episodes.observation, "action": did, "chance": chance, "advantage": advantage,
            "target": target, "weight": episodes.alive.astype(np.float32),
        }  # fmt: skip
        for i, length in enumerate(lengths.tolist()):
            for start in range(0, length, self.length):
                size = min(self.length, length - start)
                for name, array in columns.items():
                    kept = getattr(self, name)
                    kept[at].zero_()
                    kept[at, :size] = torch.from_numpy(np.ascontiguousarray(array[i, start : start + size])).to(kept)
                self.state[at] = all_states[i, start]
                at += 1
        self.num_windows.fill_(at)
        self.mean_return.fill_(float(episodes.returns.mean()))

    def _log_chance(self, outputs: Tensor, drawn: Tensor) -> Tensor:
        """Returns the log density of drawn actions around outputs, in halves of the range."""
        distance = (drawn - outputs) * torch.exp(-self.log_std)
        return (-0.5 * distance**2 - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        assert isinstance(network, Policy)
        if self.imitate is not None and "chance" not in batch:
            # The critic and the spread of actions learn later: their gradient is 0 until then.
            idle = sum((parameter.sum() for parameter in self.parameters()), torch.zeros((), device=step.device))
            imitated: Tensor = self.imitate.loss(network, batch, step) + 0.0 * idle
            return imitated
        x = standardised(batch["observation"], self.mean, self.spread).transpose(0, 1)
        outputs, _ = network(x, batch["state"])
        weight = batch["weight"].T
        action = batch["action"].transpose(0, 1)
        if self.actions.discrete:
            logs = outputs.log_softmax(-1)
            chance = logs.gather(-1, action.unsqueeze(-1))[..., 0]
            entropy = -(logs.exp() * logs).sum(-1)
        else:
            chance = self._log_chance(outputs, action)
            entropy = self.log_std.sum() + torch.zeros_like(weight)
        ratio = (chance - batch["chance"].T).exp()
        gain = batch["advantage"].T
        better = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain)
        error = (self.critic(x)[..., 0] - batch["target"].T) ** 2
        each = -better + VALUE_WEIGHT * error - ENTROPY * entropy
        mean: Tensor = (each * weight).sum() / weight.sum().clamp_min(1)
        return mean
