"""What a person may choose of the control task. No torch: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sartor.data import check_shares
from sartor.errors import InputError, near
from sartor.task import Task

Learning = Literal["imitation", "dagger", "reinforcement", "fine-tuning", "evolution"]


@dataclass(frozen=True)
class Options(Task.Options):
    """Options of the control task.

    Attributes:
        learning: From demonstrations; from demonstrations and an expert who says what should have been done where the
            network itself led to (DAgger); from rewards (PPO); from demonstrations and then from rewards; or from
            rewards without gradients (evolution strategies).
        environment: The gymnasium environment that policies from a file of demonstrations are scored in; without, they
            are scored by how well they imitate.
        expert: Python function from an observation (a vector) to an action, as module:name or file.py:name, that gives
            demonstrations; by default the classical controller that this task has for the environment.
        demonstrations: Episodes to record for training.
        evaluations: Episodes that score a network, from other beginnings for validation and for the test.
        hide: Observations withheld from the network, by name or number from 0, separated by commas.
        window: Steps through which gradients flow.
        discount: Of later rewards, for learning from rewards.
        episode: Column of a file with the episode that a row is of.
        step: Column of a file with the number of the step in its episode.
        observations: Columns of a file with the observations, separated by commas; by default those whose name begins
            with "observation".
        actions: Columns of a file with the actions, separated by commas; by default those whose name begins with
            "action".
        validation: Share of a file's episodes that scores architectures.
        test: Share of them that is kept back to test finalists.
        split_seed: Seed of the parts of a file, and of where episodes begin.
    """

    learning: Learning = "imitation"
    environment: str | None = None
    expert: str | None = None
    demonstrations: int = 40
    evaluations: int = 20
    hide: str = ""
    window: int = 32
    discount: float = 0.97
    episode: str = "episode"
    step: str = "step"
    observations: str = ""
    actions: str = ""
    validation: float = 0.15
    test: float = 0.15
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.validation, self.test, self.split_seed)
        if self.learning not in get_args(Learning):
            raise InputError(f"there is no learning {self.learning!r}{near(self.learning, get_args(Learning))}")
        for name in ("demonstrations", "evaluations"):
            if getattr(self, name) < 2:
                raise InputError(f"{name}: expected at least 2 episodes, got {getattr(self, name)}")
        if self.window < 2:
            raise InputError(f"window: expected at least 2 steps, got {self.window}")
        if not 0 < self.discount < 1:
            raise InputError(f"discount: expected between 0 and 1, got {self.discount}")

    @property
    def from_rewards(self) -> bool:
        """Whether rewards alone teach, so that no demonstrations are needed."""
        return self.learning in ("reinforcement", "evolution")
