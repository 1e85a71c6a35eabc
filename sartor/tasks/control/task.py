"""The control task: policies that act in environments, how they learn, how they are scored, and pictures of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.data import Rows, Splits
from sartor.pictures import Picture
from sartor.task import Metric, Predictions, Task
from sartor.tasks.control.data import Part, Source
from sartor.tasks.control.environments import CLEAN, Episodes, Shift
from sartor.tasks.control.evolution import GENERATIONS, Evolution
from sartor.tasks.control.learning import Corrected, Reinforcement, imitation_loss
from sartor.tasks.control.metrics import imitation_error, mean_return, normalised_return
from sartor.tasks.control.network import Deployed, Policy, standardised
from sartor.tasks.control.options import Options
from sartor.tasks.control.pictures import inspected, shown
from sartor.tasks.control.space import hand_designed, make_space
from sartor.training import Learner
from sartor.training.recipe import Recipe

if TYPE_CHECKING:
    from sartor.space import Architecture, Space
    from sartor.training import Step

STEPS = 1_500
"""Of a full training by imitation."""
RECORDINGS = 80
"""Of a full training by rewards: epochs, in each of which the network acts anew."""
IMITATED_AT_ONCE = 64
"""Windows that a network is asked about at once."""


class Control(Task):
    """Policies that act in an environment. See the package's page for data, learning and metrics.

    Demonstrations are read or recorded when the task is made, so that what is wrong with them is said at once.

    Args:
        source: A gymnasium environment's id, a CSV, TSV or Parquet file of demonstrations, or None for CartPole-v1.
        options: See ``Options``.

    Attributes:
        environment: Where policies act, or None.
        names: Of the observations.
        spread: Standard deviation of each, float32 ``(d,)``.
        actions: What may be done.
        epochs: Of a full training.

    Raises:
        DataError: the data or the environment cannot be used; the message says why and what to do.
        MissingExtraError: gymnasium is not installed.
    """

    Options = Options

    def __init__(self, source: str | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        self._source = Source(source, self.options)
        self.environment = self._source.environment
        self.names, self.actions = self._source.names, self._source.actions
        self.spread = self._source.spread
        by_rewards = self.options.from_rewards or self.options.learning == "fine-tuning"
        self.recipe = Recipe(
            learning_rate=5e-3, weight_decay=0.0, batch_size=32, ema_decay=None if by_rewards else 0.99,
            clip_norm=0.5 if by_rewards else 1.0,
        )  # fmt: skip
        self._splits = self._source.splits(self.recipe.batch_size)
        train, validation = self._splits.train, self._splits.validation
        self.epochs = float(GENERATIONS if self.options.learning == "evolution" else RECORDINGS)
        if not by_rewards:
            self.epochs = float(round(min(400.0, max(2.0, STEPS * self.recipe.batch_size / len(train)))))
        metrics: dict[str, Metric] = {}
        if self.environment is not None:
            metrics["return"] = Metric(mean_return, "max")
            if validation.expert is not None:
                metrics["normalised_return"] = Metric(normalised_return, "max")
        if validation.windows is not None:
            metrics["imitation_error"] = Metric(imitation_error, "min")
        self.metrics = metrics

    # --- data

    def data(self) -> Splits:
        return self._splits

    # --- space

    def space(self) -> Space:
        if self._space is None:
            self._space = make_space(len(self.names), len(self.actions.names))
        return self._space

    def baseline(self) -> Architecture:
        return hand_designed(self.space())

    # --- training

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        """Returns the loss of imitation over windows that begin with an empty memory."""
        assert isinstance(network, Policy)
        x = self._standardised(batch["observation"]).transpose(0, 1)
        outputs, _ = network(x, x.new_zeros(x.shape[1], network.state_size))
        return imitation_loss(outputs, batch["action"].transpose(0, 1), batch["weight"].T, self.actions)

    def learner(self, architecture: Architecture) -> Learner:
        """Returns what draws demonstrations, has the network corrected, or learns from rewards."""
        if self.options.learning == "imitation":
            return _Imitation(self.loss)
        assert self.environment is not None
        if self.options.learning == "dagger":
            expert = self._source.expert
            assert expert is not None
            return Corrected(self.loss, self.environment, expert, *self._scales(), self.options.window)
        mean, spread = self._scales()
        if self.options.learning == "evolution":
            return Evolution(self.environment, mean, spread, self._source.reward_spread)
        size = self._state_size(architecture)
        imitate = _Imitation(self.loss) if self.options.learning == "fine-tuning" else None
        return Reinforcement(
            self.environment, self.options, mean, spread, self._source.reward_spread, size, imitate
        )

    def _scales(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self._source.mean.copy()), torch.from_numpy(self._source.spread.copy())

    def _standardised(self, observation: Tensor) -> Tensor:
        mean, spread = (each.to(observation.device) for each in self._scales())
        return standardised(observation, mean, spread)

    def deploy(self, network: nn.Module, architecture: Mapping[str, Any] | None) -> Deployed:
        assert isinstance(network, Policy)
        middle = half = None
        if not self.actions.discrete:
            middle, half = (
                torch.from_numpy(np.asarray(each, np.float32)) for each in (self.actions.middle, self.actions.half)
            )
        device = next(network.parameters()).device
        return Deployed(network, *self._scales(), middle, half).to(device).train(network.training)

    # --- output

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[Tensor, ...]:
        mean, _ = self._scales()
        return mean.expand(batch_size, -1).clone(), torch.zeros(batch_size, self._state_size(architecture))

    def _state_size(self, architecture: Architecture) -> int:
        with torch.random.fork_rng(devices=[]):
            network = self.build(self.space(), architecture)
        assert isinstance(network, Policy)
        return network.state_size

    def act(self, deployed: nn.Module, seeds: np.ndarray, shift: Shift = CLEAN) -> Episodes:
        """Returns what a network does in the environment, taking the best choice.

        Args:
            deployed: As it is exported.
            seeds: Of the episodes.
            shift: Of the world.
        """
        assert self.environment is not None
        policy = acting(deployed, len(seeds), discrete=self.actions.discrete)
        return self.environment.roll_out(policy, seeds, shift=shift, scale=self._source.spread)

    def expert_returns(self, seeds: np.ndarray, shift: Shift = CLEAN) -> np.ndarray | None:
        """Returns what the expert gets in the same episodes, or None where there is none."""
        return self._source.expert_returns(seeds, shift)

    def predict(self, deployed: nn.Module, part: Part) -> Predictions:
        """Returns what the network gets in the episodes of a part, and how far it is from the demonstrations.

        Returns:
            In an environment: ``episode_return``, ``episode_steps`` ``(n,)``; ``random_return``, and where there is an
            expert ``expert_return``, ``(n,)``; ``observation`` ``(steps, d)``, ``action`` ``(steps,)`` or
            ``(steps, components)`` of the first episode. With demonstrations: ``action_error``, bool ``(m,)`` or
            float64 ``(m,)`` in halves of the range.
        """
        found: dict[str, np.ndarray] = {}
        if len(part.seeds):
            episodes = self.act(deployed, part.seeds)
            first = int(episodes.alive[0].sum())
            found |= {
                "episode_return": episodes.returns,
                "episode_steps": episodes.alive.sum(1),
                "random_return": part.random,
                "observation": episodes.observation[0, :first],
                "action": episodes.action[0, :first],
            }
            if part.expert is not None:
                found["expert_return"] = part.expert
        if part.windows is not None:
            found["action_error"] = self._errors(deployed, part.windows)
        return found

    def _errors(self, deployed: nn.Module, windows: Rows) -> np.ndarray:
        found = []
        for at in range(0, len(windows), IMITATED_AT_ONCE):
            rows = windows.take(np.arange(at, min(at + IMITATED_AT_ONCE, len(windows))))
            policy = acting(deployed, len(rows["weight"]), discrete=self.actions.discrete)
            did = np.stack([policy(each) for each in rows["observation"].transpose(0, 1).numpy()], 1)
            scored, wanted = rows["weight"].numpy() > 0, rows["action"].numpy()
            if self.actions.discrete:
                found.append((did != wanted)[scored])
            else:
                error = ((did - wanted) / self.actions.half).astype(np.float64)
                found.append(np.sqrt((error**2).mean(-1))[scored])
        return np.concatenate(found)

    def describe(self) -> dict[str, Any]:
        """Returns what goes in and comes out at each step."""
        outputs = {"scores of the choices": list(self.actions.names)}
        if not self.actions.discrete:
            outputs = {"action": list(self.actions.names)}
        environment = None if self.environment is None else self.environment.name
        return {
            "environment": environment,
            "input": {"observation": list(self.names), "state": "zeros at the beginning, then the one before"},
            "output": {**outputs, "state": "to be given at the next step"},
        }

    def show(self, predictions: Predictions) -> list[Picture]:
        """Returns the returns of episodes beside the expert's and random ones, and one episode as it went."""
        return shown(self, predictions)

    def inspect(self, deployed: nn.Module) -> list[Picture]:
        """Returns how the network bears a changed world, and its circuit with what each neuron does."""
        assert isinstance(deployed, Deployed)
        return inspected(self, deployed, self._splits.validation)


class _Imitation(Learner):
    """Draws windows of demonstrations."""

    def batch(self, network: nn.Module, data: Part, step: Step) -> Any:
        assert data.windows is not None
        return super().batch(network, data.windows, step)


def acting(deployed: nn.Module, n: int, *, discrete: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a deployed network as a policy that remembers, of ``n`` episodes side by side."""
    size = deployed.state_size
    assert isinstance(size, int)
    device = next((tensor.device for tensor in deployed.buffers()), torch.device("cpu"))
    state = torch.zeros(n, size, device=device)

    def policy(observation: np.ndarray) -> np.ndarray:
        nonlocal state
        with torch.no_grad():
            given, state = deployed(torch.from_numpy(np.ascontiguousarray(observation, np.float32)).to(device), state)
        found: np.ndarray = (given.argmax(-1) if discrete else given).cpu().numpy()
        return found

    return policy
