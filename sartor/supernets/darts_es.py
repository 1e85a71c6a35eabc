"""DARTS-ES: DARTS that goes back to where the loss was flat.

Zela et al. 2020, "Understanding and Robustifying Differentiable Architecture Search", arXiv:1909.09656. The largest
eigenvalue of the Hessian of the validation loss with respect to the logits grows before DARTS collapses. It is
computed every so many steps; when its mean over five evaluations has grown by a third since five evaluations ago
(``stopping_point``), the logits of then are put back and stay.

Deviations: evaluations are steps apart, not epochs; the Hessian is of the logits' own batch of that step, with the
normalisations in training mode. Trained by one process: others would not see the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._differentiable import AbstractDifferentiable
from sartor.supernets.collapse import RATIO, WINDOW, stopping_point

if TYPE_CHECKING:
    from sartor.space import Space
    from sartor.space._mixture import Weights
    from sartor.space._nodes import Label
    from sartor.training import Learner, Step

SPEC = Spec(
    "darts-es",
    "sartor.supernets.darts_es:DartsEs",
    summary="DARTS that stops when the loss sharpens",
    citation="Zela et al. 2020, arXiv:1909.09656",
    when="any space, with or without skip connections",
    one_process=True,
)


class DartsEs(AbstractDifferentiable):
    """Trains a softmax over alternatives until the eigenvalue grows.

    Args:
        space: Of cells, or any other.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        evaluate_every: Steps between evaluations; an epoch in the paper. One takes as long as some ten steps.
        window: Evaluations that are averaged, and looked back.
        ratio: Of the mean before to the mean now, below which to stop.
        excluded: Values that are never derived.

    Raises:
        InputError: A number below 1, a ratio outside (0, 1).
    """

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        evaluate_every: int = 50,
        window: int = WINDOW,
        ratio: float = RATIO,
        excluded: Sequence[Label] = ("none",),
    ) -> None:
        import torch

        if min(evaluate_every, window) < 1 or not 0 < ratio < 1:
            raise InputError(
                f"expected evaluate_every and window of at least 1 and a ratio in (0, 1), got {evaluate_every}, "
                f"{window} and {ratio}"
            )
        super().__init__([space], inputs, part=part, seed=seed, excluded=excluded, normalises=True)
        self.evaluate_every, self.window, self.ratio = evaluate_every, window, ratio
        size = sum(row.numel() for row in self.module.rows)
        self.module.register_buffer("eigenvalues", torch.zeros(2 * window))
        self.module.register_buffer("past_logits", torch.zeros(window + 1, size))
        self.module.register_buffer("evaluations", torch.zeros((), dtype=torch.int64))
        self.module.register_buffer("stopped_at", torch.full((), -1))

    @property
    def stopped_at(self) -> int | None:
        """The step at which the logits were put back, or None."""
        step = int(self.module.stopped_at)  # type: ignore[arg-type]
        return None if step < 0 else step

    @property
    def eigenvalues(self) -> list[float]:
        """The last evaluations, oldest first, at most twice ``window``."""
        module: Any = self.module
        known = min(int(module.evaluations), 2 * self.window)
        values: list[float] = module.eigenvalues[2 * self.window - known :].tolist()
        return values

    def weights(self, step: Step) -> Weights:
        return self.probabilities()

    def is_due(self, index: int) -> bool:
        """Returns whether the eigenvalue is to be computed at a step."""
        return self.stopped_at is None and (index + 1) % self.evaluate_every == 0

    def told(self, eigenvalue: float) -> None:
        """Takes an evaluation at the logits as they are."""
        import torch

        module: Any = self.module
        now = torch.cat([row.detach().reshape(-1) for row in module.rows])
        module.eigenvalues.copy_(torch.cat([module.eigenvalues[1:], module.eigenvalues.new_tensor([eigenvalue])]))
        module.past_logits.copy_(torch.cat([module.past_logits[1:], now[None]]))
        module.evaluations += 1

    def plays(self, index: int, total: int) -> bool:
        return self.stopped_at is None and super().plays(index, total)

    def learner(self, inner: Learner) -> Learner:
        from sartor.supernets._sharpness import Watching

        return Watching(self, inner, self.share)

    def after(self, step: Step) -> None:
        if not self.is_due(step.index) or stopping_point(self.eigenvalues, self.window, self.ratio) is None:
            return
        module: Any = self.module
        sizes = [row.numel() for row in module.rows]
        module.put_logits([part[None] for part in module.past_logits[0].split(sizes)])
        module.stopped_at.fill_(step.index)

    def indicators(self) -> Mapping[str, float]:
        known = self.eigenvalues
        last = {"eigenvalue": known[-1]} if known else {}
        return {**super().indicators(), **last, "is_stopped": float(self.stopped_at is not None)}
