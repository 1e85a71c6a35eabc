"""ENAS: a controller that learns which architectures of a supernet to train and to keep.

Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing", arXiv:1802.03268. An LSTM writes
architectures token by token; the shared weights are trained on what it writes, and it is trained by policy gradient
(REINFORCE, Williams 1992) on how well those do on a half of the training data that the weights do not see.

Deviations: the two are trained by turns of one step instead of whole epochs, so that a training can be stopped
anywhere; the reward is minus the loss, which every task has, instead of the accuracy; the baseline is its moving
average, and rewards are divided by their moving deviation, as losses have no common scale.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Space, Supernet
    from sartor.supernets._controlled import ControlledSupernet
    from sartor.training import Learner, Recipe, Step

SPEC = Spec(
    "enas",
    "sartor.supernets.enas:Enas",
    summary="a controller writes the paths, and learns from their loss",
    citation="Pham et al. 2018, arXiv:1802.03268",
    when="spaces in which most architectures are poor: training goes to the better ones",
)


class Enas:
    """Trains the paths that a controller writes, and the controller on their loss.

    Args:
        space: Whose architectures; constraints hold in what is written.
        inputs: Not needed.
        part: Entry of a dict space.
        seed: Of the initial weights.
        hidden: Width of the controller, a multiple of 4.
        entropy: Weight of the mean entropy of its tokens, in the scale of the rewards.
        decay: Of the moving average and deviation of rewards.
        every: Steps between those of the controller.
        warm_up: Share of the training in which paths are random, before the controller is listened to.

    Raises:
        InputError: an option that makes no sense.
    """

    def __init__(
        self,
        space: Space,
        inputs: Any = None,
        *,
        part: str | None = None,
        seed: int = 0,
        hidden: int = 64,
        entropy: float = 0.05,
        decay: float = 0.95,
        every: int = 2,
        warm_up: float = 0.2,
    ) -> None:
        from sartor.supernets._controlled import ControlledSupernet

        if hidden < 4 or hidden % 4:
            raise InputError(f"hidden must be a multiple of 4, got {hidden}")
        if not 0 <= decay < 1 or not 0 <= warm_up < 1 or entropy < 0 or every < 1:
            raise InputError(
                f"expected decay and warm_up from 0 to below 1, entropy from 0, every from 1, got {decay}, {warm_up}, "
                f"{entropy}, {every}"
            )
        self.module: ControlledSupernet = ControlledSupernet(space, part=part, seed=seed, hidden=hidden)
        self.entropy, self.decay, self.every, self.warm_up = entropy, decay, every, warm_up

    @property
    def weights(self) -> Supernet:
        return self.module.supernet

    def draw(self, step: Step) -> Iterable[tuple[Architecture, nn.Module]]:
        if step.player != "controller" and step.fraction < self.warm_up:
            architecture = self.module.supernet.space.sample_choices(step.numpy)
        else:
            architecture = self.module.written(step.numpy)
        yield architecture, self.module.supernet.network(architecture)

    def recipe(self, recipe: Recipe) -> Recipe:
        own = {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "ema_decay": None}
        return dataclasses.replace(recipe, players={**recipe.players, "controller": own})

    def learner(self, inner: Learner) -> Learner:
        from sartor.supernets._controlled import ControllerLearner

        return ControllerLearner(inner, self.module, entropy=self.entropy, decay=self.decay, every=self.every)
