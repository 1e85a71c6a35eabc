"""P-DARTS: in stages, with ever fewer operations in ever deeper networks.

Chen et al. 2019, "Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and
Evaluation", arXiv:1904.12760. After a stage the operations of the smallest logits are dropped and computed no more,
and the next stage is deeper and begins with new logits. Skip connections are held back twice: by dropout behind them,
which decays within a stage, and by keeping at most two in the normal cell that is derived.

Depth grows where ``deeper`` spaces are given: the same cells, more of them. Otherwise one network goes through all
stages and keeps its weights.

Deviations: the optimisers remember what they saw in the stage before; the logits' learning rate follows the schedule
of the weights', which spans all stages; dropout decays linearly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._differentiable import NEVER, AbstractDifferentiable
from sartor.supernets.collapse import REDUCTION, SKIPS

if TYPE_CHECKING:
    from sartor.space import Architecture, Space
    from sartor.space._mixture import Weights
    from sartor.space._nodes import Label
    from sartor.training import Step

SPEC = Spec(
    "p-darts",
    "sartor.supernets.p_darts:PDarts",
    summary="drops operations in stages",
    citation="Chen et al. 2019, arXiv:1904.12760",
    when="cells of many operations, searched in networks nearly as deep as they will be used in",
)
LEAST_KEPT = 2
"""Operations of a choice that are never dropped: one would be no choice."""


class PDarts(AbstractDifferentiable):
    """Trains a softmax over ever fewer alternatives.

    Args:
        space: Of the first stage.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        deeper: Spaces of the further stages, with the same choices; or none.
        drop: Operations of each choice that are dropped after each stage but the last; at least 2 are kept.
        dropout: Behind skip connections at the beginning of each stage; the paper's for CIFAR-10.
        warmup: Share of each stage in which only the weights are trained; the paper's 10 of 25 epochs.
        skips: Most skip connections in a derived normal cell.
        excluded: Values that are never derived.

    Raises:
        InputError: Numbers of stages that differ, a probability outside [0, 1), fewer than 0 skip connections.
    """

    logits_recipe = {**AbstractDifferentiable.logits_recipe, "learning_rate": 6e-4}

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        deeper: Sequence[Space] = (),
        drop: Sequence[int] = (3, 2),
        dropout: Sequence[float] = (0.0, 0.4, 0.7),
        warmup: float = 0.4,
        skips: int = 2,
        excluded: Sequence[Label] = ("none",),
    ) -> None:
        from sartor.supernets._skip_dropout import drop_skips

        stages = len(drop) + 1
        if len(dropout) != stages or len(deeper) not in (0, stages - 1):
            raise InputError(
                f"{stages - 1} drops make {stages} stages: expected as many dropout rates and no deeper spaces or "
                f"{stages - 1}, got {len(dropout)} and {len(deeper)}"
            )
        if min(drop, default=0) < 0 or skips < 0 or not all(0 <= rate < 1 for rate in dropout):
            raise InputError(f"expected numbers of at least 0 and rates in [0, 1), got {drop}, {skips}, {dropout}")
        super().__init__(
            [space, *deeper], inputs, part=part, seed=seed, excluded=excluded, warmup=warmup, normalises=True
        )
        self.drop, self.dropout, self.skips = tuple(drop), tuple(dropout), skips
        self.num_stages = stages
        self._dropouts = drop_skips(self.module, SKIPS)
        self.module.register_buffer("kept", self._all_kept())

    def _all_kept(self) -> Any:
        import torch

        return torch.ones(sum(map(len, self.module.choices.values())), dtype=torch.bool)

    @property
    def kept(self) -> dict[str, tuple[Label, ...]]:
        """Key -> values that have not been dropped."""
        module: Any = self.module
        flags = iter(module.kept.tolist())
        return {
            key: tuple(value for value in values if next(flags)) for key, values in self.module.choices.items()
        }

    def stage(self, index: int, total: int) -> tuple[int, float]:
        """Returns the stage of a step, from 0, and the share of it that is done."""
        number, done = divmod(index * self.num_stages, total)
        return number, done / total

    def plays(self, index: int, total: int) -> bool:
        return self.stage(index, total)[1] >= self.warmup

    def probabilities(self) -> Weights:
        weights: dict[str, Any] = {}
        kept = self.kept
        for key, logits in self.module.logits.items():
            values = kept[key]
            places = [self.module.choices[key].index(value) for value in values]
            weights[key] = dict(zip(values, logits[places].softmax(0).unbind(), strict=True))
        return weights

    def weights(self, step: Step) -> Weights:
        number, done = self.stage(step.index, step.total)
        for dropout in self._dropouts:
            dropout.p = self.dropout[number] * (1 - done)
        self.module.stage = number if len(self.module.mixtures) > 1 else 0
        return self.probabilities()

    def after(self, step: Step) -> None:
        number, _ = self.stage(step.index, step.total)
        if step.index + 1 < step.total and self.stage(step.index + 1, step.total)[0] > number:
            self._drop(self.drop[number])
            self._begin_anew(number + 1)

    def _drop(self, num: int) -> None:
        """Drops the values of the smallest logits of each choice."""
        module: Any = self.module
        start = 0
        for values, row in zip(self.module.choices.values(), self.module.rows, strict=False):
            flags = module.kept[start : start + len(values)]
            start += len(values)
            places = flags.nonzero()[:, 0]
            order = places[row[0][places].argsort()]
            flags[order[: max(0, min(num, len(order) - LEAST_KEPT))]] = False

    def _begin_anew(self, stage: int) -> None:
        """Draws the logits of a stage."""
        from sartor.supernets._relaxed import first_logits

        self.module.put_logits(first_logits([row.shape[1] for row in self.module.rows], self.seed, stage))

    def derive(self) -> Architecture:
        """Returns the best architecture with at most ``skips`` skip connections in each normal cell.

        While there are more, the weakest is ruled out and the best of the rest derived again.
        """
        scores = self.scores()
        while True:
            derived = self.space.argmax(scores)
            chosen: dict[str, list[str]] = {}
            for key, value in derived.items():
                if value in SKIPS and key in scores and scores[key][value] > NEVER:
                    chosen.setdefault(key.split(".")[0], []).append(key)
            ruled_out = [
                min(keys, key=lambda key: scores[key][derived[key]])
                for cell, keys in chosen.items()
                if cell != REDUCTION and len(keys) > self.skips
            ]
            if not ruled_out:
                return derived
            for key in ruled_out:
                scores[key][derived[key]] = NEVER

    def indicators(self) -> Mapping[str, float]:
        kept: Any = self.module.kept
        return {**super().indicators(), "kept_share": float(kept.float().mean())}
