"""FBNet: Gumbel softmax over blocks, with latency from a lookup table in the loss.

Wu et al. 2019, "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search",
arXiv:1812.03443. Alternatives are weighted by a softmax of logits plus Gumbel noise, at a temperature that falls from 5
exponentially; the logits minimise ``loss * alpha * log(cost) ** beta`` (equation 2), where the cost is the sum over a
table under the same weights (equation 8).

Deviations: the weights minimise the loss alone, which differs by a factor; the architecture with the largest
probability is derived, not the best of some that are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._costs import Costs, CostTable
from sartor.supernets._differentiable import AbstractDifferentiable

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.space import Space
    from sartor.space._mixture import Weights
    from sartor.training import Step

SPEC = Spec(
    "fbnet",
    "sartor.supernets.fbnet:FbNet",
    summary="Gumbel softmax, costs in the loss",
    citation="Wu et al. 2019, arXiv:1812.03443",
    needs="a cost for each alternative, for networks that are fast",
    when="chains of blocks with a limit on latency",
)
FIRST_TEMPERATURE, LAST_TEMPERATURE = 5.0, 0.087
"""The paper's: 5 exp(-0.045 epoch) over 90 epochs."""


class FbNet(AbstractDifferentiable):
    """Trains a Gumbel softmax over alternatives.

    Args:
        space: Of blocks, or any other.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        costs: Key -> value -> cost (microseconds in the paper); without costs the loss alone counts.
        fixed_cost: Of everything that is not chosen, in the same unit.
        alpha: Factor of the cost.
        beta: Power of the cost's logarithm: how much it counts.
        temperatures: At the beginning and at the end.
        warmup: Share of the training in which only the weights are trained; the paper's 10 of 90 epochs.

    Raises:
        InputError: Costs that do not fit the choices, or whose logarithm may not be positive; temperatures of 0.
    """

    logits_recipe = {**AbstractDifferentiable.logits_recipe, "learning_rate": 1e-2, "beta1": 0.9, "weight_decay": 5e-4}

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        costs: Costs | None = None,
        fixed_cost: float = 0.0,
        alpha: float = 0.2,
        beta: float = 0.6,
        temperatures: tuple[float, float] = (FIRST_TEMPERATURE, LAST_TEMPERATURE),
        warmup: float = 10 / 90,
    ) -> None:
        if not min(temperatures) > 0 or not alpha > 0:
            raise InputError(f"expected temperatures and alpha above 0, got {temperatures} and {alpha}")
        super().__init__([space], inputs, part=part, seed=seed, warmup=warmup, share=0.8)
        self.costs = CostTable(costs, self.module.choices, fixed_cost) if costs else None
        if self.costs is not None and not self.costs.least > 1:
            raise InputError(
                f"the loss has the cost's logarithm: expected costs of more than 1 in all, got {self.costs.least:g} "
                "for the cheapest; state them in a smaller unit"
            )
        self.alpha, self.beta, self.temperatures = alpha, beta, temperatures

    def temperature(self, step: Step) -> float:
        """Returns the temperature of a step."""
        first, last = self.temperatures
        return float(first * (last / first) ** step.fraction)

    def weights(self, step: Step) -> Weights:
        temperature = self.temperature(step)
        weights = {}
        for key, logits in self.module.logits.items():
            # Minus the logarithm of an exponential variable is a Gumbel variable.
            noise = -logits.new_empty(logits.shape, device="cpu").exponential_(generator=step.torch).log()
            weights[key] = ((logits + noise.to(logits.device)) / temperature).softmax(0)
        return weights

    def objective(self, loss: Tensor, step: Step) -> Tensor:
        if self.costs is None:
            return loss
        bound: Any = self.module.bound
        return loss * self.alpha * self.costs.expected(bound).log() ** self.beta

    def indicators(self) -> Mapping[str, float]:
        if self.costs is None:
            return super().indicators()
        cost = self.costs.expected(self.probabilities()).detach()
        return {**super().indicators(), "expected_cost": float(cost)}
