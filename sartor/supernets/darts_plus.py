"""DARTS+: DARTS that stops before it collapses.

Liang et al. 2019, "DARTS+: Improved Differentiable Architecture Search with Early Stopping", arXiv:1909.06035. The
search ends when a normal cell has two skip connections or more (criterion 1), or when the order of the logits of the
operations that have weights has not changed for some time (criterion 1*). From then on the logits stay as they are;
weights go on being trained, as long as somebody trains.

Deviation: criteria are looked at every so many steps, not every epoch: a step knows no epochs; and not from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._differentiable import AbstractDifferentiable
from sartor.supernets.collapse import REDUCTION, cells

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.space import Space
    from sartor.space._mixture import Weights
    from sartor.space._nodes import Label
    from sartor.training import Step

SPEC = Spec(
    "darts-plus",
    "sartor.supernets.darts_plus:DartsPlus",
    summary="DARTS that stops at two skip connections",
    citation="Liang et al. 2019, arXiv:1909.06035",
    when="cells with skip connections; no more than DARTS to train",
)


class DartsPlus(AbstractDifferentiable):
    """Trains a softmax over alternatives until a criterion holds.

    Args:
        space: Of cells with ``skip_connect`` among their operations.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        skips: Skip connections in one normal cell at which to stop.
        check_every: Steps between looks at the criteria.
        patience: Looks without a change in the order of the logits at which to stop; 10 epochs in the paper.
        from_share: Share of the training before the first look: what the first logits say is chance.
        excluded: Values that are never derived.

    Raises:
        InputError: A number below 1.
    """

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        skips: int = 2,
        check_every: int = 10,
        patience: int = 10,
        from_share: float = 0.1,
        excluded: Sequence[Label] = ("none",),
    ) -> None:
        if min(skips, check_every, patience) < 1:
            raise InputError(
                f"expected skips, check_every and patience of at least 1, got {skips}, {check_every} and {patience}"
            )
        if not 0 <= from_share < 1:
            raise InputError(f"expected a share from_share in [0, 1), got {from_share}")
        super().__init__([space], inputs, part=part, seed=seed, excluded=excluded, normalises=True)
        self.skips, self.check_every, self.patience, self.from_share = skips, check_every, patience, from_share
        self._learnable = self._with_weights()
        ranking = self._ranking()
        self.module.register_buffer("ranking", ranking)
        self.module.register_buffer("unchanged", ranking.new_zeros(()))
        self.module.register_buffer("stopped_at", ranking.new_full((), -1))

    def _with_weights(self) -> dict[str, list[int]]:
        """Returns the positions of the values that have something to learn, where several have."""
        found: dict[str, set[int]] = {}
        for mixed in self.module.mixed():
            for code, alternative in enumerate(mixed.alternatives):
                if any(parameter.requires_grad for parameter in alternative.parameters()):
                    found.setdefault(mixed.choice, set()).add(code)
        return {key: sorted(codes) for key, codes in found.items() if key in self.module.choices and len(codes) > 1}

    def _ranking(self) -> Tensor:
        """Returns the order of the logits of the values that have weights, all choices in a row."""
        import torch

        logits = self.module.logits
        orders = [logits[key].detach()[codes].argsort() for key, codes in self._learnable.items()]
        return torch.cat(orders) if orders else torch.zeros(0, dtype=torch.int64)

    @property
    def stopped_at(self) -> int | None:
        """The step after which the logits are trained no more, or None."""
        step = int(self.module.stopped_at)  # type: ignore[arg-type]
        return None if step < 0 else step

    def weights(self, step: Step) -> Weights:
        return self.probabilities()

    def plays(self, index: int, total: int) -> bool:
        return self.stopped_at is None and super().plays(index, total)

    def after(self, step: Step) -> None:
        if self.stopped_at is not None or (step.index + 1) % self.check_every or step.fraction < self.from_share:
            return
        module: Any = self.module
        ranking = self._ranking()
        same = len(ranking) > 0 and bool((ranking == module.ranking).all())
        module.unchanged.copy_(module.unchanged + 1 if same else 0 * module.unchanged)
        module.ranking.copy_(ranking)
        if self._has_skips() or int(module.unchanged) >= self.patience:
            module.stopped_at.fill_(step.index)

    def _has_skips(self) -> bool:
        derived = cells(self.space, self.derive())
        return any(cell.skips >= self.skips for name, cell in derived.items() if name != REDUCTION)

    def indicators(self) -> Mapping[str, float]:
        return {**super().indicators(), "is_stopped": float(self.stopped_at is not None)}
