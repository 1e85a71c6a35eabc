"""ProxylessNAS: one path is trained at a step, two are compared.

Cai et al. 2019, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", arXiv:1812.00332. The
weights' turn runs one alternative of each choice, drawn by its probability. The logits' turn draws two and opens the
gate of one; the gradient of the loss with respect to the gates passes to the logits of both by the softmax over them
(equation 4). Afterwards both are shifted so that the other alternatives keep their probabilities. Costs by a lookup
table enter as their expectation (equation 7), with a factor (equation 8).

Deviations: at a choice whose alternatives lie below another choice the cost counts as if it were always active. Trained
by one process: others would not know which alternatives were drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._costs import Costs, CostTable
from sartor.supernets._differentiable import ARCHITECTURE, AbstractDifferentiable

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.space import Space
    from sartor.space._mixture import Weights
    from sartor.training import Step

SPEC = Spec(
    "proxylessnas",
    "sartor.supernets.proxylessnas:ProxylessNas",
    summary="one or two paths a step, costs in the loss",
    citation="Cai et al. 2019, arXiv:1812.00332",
    when="large networks: memory and time of a step are those of one network",
    one_process=True,
)


class ProxylessNas(AbstractDifferentiable):
    """Trains sampled paths and binary gates.

    Args:
        space: Of blocks, or any other.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        costs: Key -> value -> cost, e.g. in milliseconds; without costs the loss alone counts.
        cost_weight: What a unit of expected cost adds to the loss.
        warmup: Share of the training in which only the weights are trained.

    Raises:
        InputError: Costs that do not fit the choices, or a negative weight of them.
    """

    logits_recipe = {**AbstractDifferentiable.logits_recipe, "learning_rate": 1e-3, "beta1": 0.0, "weight_decay": 0.0}

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        costs: Costs | None = None,
        cost_weight: float = 0.1,
        warmup: float = 0.0,
    ) -> None:
        if cost_weight < 0:
            raise InputError(f"expected a weight of the cost of at least 0, got {cost_weight}")
        super().__init__([space], inputs, part=part, seed=seed, warmup=warmup, share=0.9)
        self.module.at_rest = self.likeliest
        self.costs = CostTable(costs, self.module.choices) if costs else None
        self.cost_weight = cost_weight
        self._touched: dict[str, set[int]] = {}
        self._before: dict[str, Tensor] = {}

    def likeliest(self) -> Weights:
        """Returns a weight of 1 for the alternative of the largest probability of each choice, and no others."""
        return {
            key: {self.module.choices[key][int(logits.argmax())]: logits.new_ones(())}
            for key, logits in self.module.logits.items()
        }

    def weights(self, step: Step) -> Weights:
        if step.player == ARCHITECTURE:
            return self._gates(step)
        weights: dict[str, Any] = {}
        for key, logits in self.module.logits.items():
            chosen = self._drawn(logits, step, 1)[0]
            weights[key] = {self.module.choices[key][chosen]: logits.new_ones(())}
        return weights

    def _drawn(self, logits: Tensor, step: Step, num: int) -> list[int]:
        """Returns different alternatives, drawn by their probabilities."""
        probabilities = logits.detach().double().softmax(0).cpu()
        drawn: list[int] = probabilities.multinomial(num, generator=step.torch).tolist()
        return drawn

    def _gates(self, step: Step) -> Weights:
        """Returns for each choice two gates, one open and one shut, whose gradient the logits of both receive."""
        weights: dict[str, Any] = {}
        if step.micro == 0:
            self._touched, self._before = {}, {}
        for key, logits in self.module.logits.items():
            pair = self._drawn(logits, step, min(2, len(logits)))
            self._touched.setdefault(key, set()).update(pair)
            self._before.setdefault(key, logits.detach().clone())
            probabilities = logits[pair].softmax(0)
            gates = probabilities.new_zeros(len(pair))
            gates[self._drawn(logits[pair], step, 1)] = 1.0
            gates = gates + probabilities - probabilities.detach()
            weights[key] = {self.module.choices[key][i]: gate for i, gate in zip(pair, gates, strict=True)}
        return weights

    def objective(self, loss: Tensor, step: Step) -> Tensor:
        if self.costs is None:
            return loss
        return loss + self.cost_weight * self.costs.expected(self.probabilities())

    def after(self, step: Step) -> None:
        for key, logits in self.module.logits.items():
            if key in self._touched:
                pair = sorted(self._touched[key])
                shift = logits[pair].logsumexp(0) - self._before[key][pair].logsumexp(0)
                logits[pair] -= shift
        self._touched, self._before = {}, {}

    def indicators(self) -> Mapping[str, float]:
        if self.costs is None:
            return super().indicators()
        cost = self.costs.expected(self.probabilities()).detach()
        return {**super().indicators(), "expected_cost": float(cost)}
