"""Tree-structured Parzen estimator, TPE (Bergstra, Bardenet, Bengio and Kegl 2011, NeurIPS 24).

The results are split into the best few and the rest, each described by a density over the tree of choices. Candidates
are drawn from the density of the good ones, and the one of the largest expected improvement is proposed: that grows
with the ratio of the two densities (equation 4). As Sartor is used, that is:

- Several objectives: the good ones are the first non-domination levels (MOTPE, Ozaki et al. 2020,
  doi:10.1145/3377930.3389817); of the level that is cut, those that spread best rather than those of the largest
  hypervolume, which takes longer. Every other proposal is for the primary objective alone, since the best network
  within the limits is asked for most.
- Limits: the improvement is multiplied by the probability that the limits hold, as in c-TPE (Watanabe and Hutter 2023,
  arXiv:2211.14411), here by the process of each cost that all strategies share; it knows the infeasible trials too.
- What is being evaluated, failed, or was found infeasible for reasons unknown counts among the rest, so that proposals
  made before results come differ.
- Of several fidelities the highest with enough results is modelled (Falkner et al. 2018, arXiv:1807.01774).
- Where candidates break a constraint on choices, the nearest legal architecture takes their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.space._choices import Choices, Values
from sartor.strategies._costs import CostModel
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, check_at_least, from_text
from sartor.strategies._levels import Levels, spread
from sartor.strategies._parzen import Parzen
from sartor.strategies._standing import Standing, standing
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "tpe",
    "sartor.strategies.tpe:Tpe",
    "tree-structured Parzen estimator, over all objectives, limits included",
    citation="Bergstra et al. 2011; Ozaki et al. 2020; Watanabe and Hutter 2023, arXiv:2211.14411",
    needs="Nothing but results.",
    when="When dozens to thousands of trainings can be had, of conditional choices and numbers, at little time each.",
)

Array = npt.NDArray[np.float64]

_MAX_GOOD = 25
"""Results that are good at most (Bergstra et al.'s own implementation)."""
_NUM_BATCHES = 4
"""Times that candidates are drawn before those that break constraints are repaired."""


class Tpe:
    """Proposes what is likelier among the good architectures than among the rest.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first.
        num_initial: Random architectures before the first that is modelled, and results that a fidelity needs to be.
        num_candidates: Drawn for each proposal.
        good_share: Share of the results that count as good.
        prior: Observations that the even prior of a choice adds to each of its values, or to its range of numbers.
        random_share: Share of the proposals that are random.

    Raises:
        InputError: an option is out of its range.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        num_initial: int = 10,
        num_candidates: int = 24,
        good_share: float = 0.15,
        prior: float = 1.0,
        random_share: float = 0.0,
    ) -> None:
        check_at_least("num_initial", num_initial, 2)
        check_at_least("num_candidates", num_candidates, 1)
        if not 0 < good_share < 1:
            raise InputError(f"good_share is between 0 and 1, got {good_share}")
        if not (prior > 0 and math.isfinite(prior)):
            raise InputError(f"prior is a number above 0, got {prior}")
        if not 0 <= random_share <= 1:
            raise InputError(f"random_share is a share from 0 to 1, got {random_share}")
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._num_initial, self._num_candidates = num_initial, num_candidates
        self._good_share, self._prior, self._random_share = good_share, prior, random_share
        self._choices = Choices(space)
        self._fresh = Fresh(space, np.random.default_rng([seed, 12]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._results: dict[float, _Results] = {}
        """By the amount of the fidelity."""
        self._lost: dict[Architecture, Values] = {}
        """Trained in vain, or infeasible without a cost that says why; with their decisions."""
        self._pending: dict[str, Architecture] = {}
        """Proposed and not told yet, by digest."""
        self._num_modelled = 0

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._next()
            if architecture is None:
                break
            self._pending[Fresh.digest(architecture)] = architecture
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def _next(self) -> Architecture | None:
        fresh, results = self._fresh, self._modelled()
        if results is None or fresh.has_initial or fresh.exhausted or len(fresh) < self._num_initial:
            return fresh.drawn()
        if self._random_share and fresh.rng.random() < self._random_share:
            return fresh.drawn()
        return self._best(results)

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._fresh.take(trial.architecture)
            self._pending.pop(Fresh.digest(trial.architecture), None)
            self._costs.tell(trial)
            result = standing(trial, self._goals)
            if result is not None and result.feasible:
                self._at(result.amount).add(result)
            elif trial.state != "infeasible" or not self._goals.excess(trial.values):
                self._lose(self._space.architecture(trial.architecture))

    def _lose(self, architecture: Architecture) -> None:
        self._lost[architecture] = self._choices.values([architecture])

    def _at(self, amount: float) -> _Results:
        return self._results.setdefault(amount, _Results(self._choices, len(self._goals.objectives)))

    def _modelled(self) -> _Results | None:
        """Returns the results of the highest fidelity with enough of them, or None."""
        enough = [amount for amount, results in self._results.items() if len(results.told) >= self._num_initial]
        return self._results[max(enough)] if enough else None

    def _best(self, results: _Results) -> Architecture | None:
        """Returns the best of the candidates; near a good one when all are known; None when the space is exhausted."""
        rng = self._fresh.rng
        self._num_modelled += 1
        table = results.values
        good = results.good(self._good_share, by_primary=self._num_modelled % 2 == 0)
        rest = np.delete(table, good, axis=0)
        pending = self._choices.values(list(self._pending.values()))
        above = Parzen(self._choices, table[good], self._prior)
        below = Parzen(self._choices, np.concatenate([rest, *self._lost.values(), pending]), self._prior)
        candidates = self._candidates(above)
        if not candidates:
            near = results.told[good[int(rng.integers(len(good)))]].architecture
            return self._fresh.varied(partial(self._space.mutate, near, rng))
        values = self._choices.values(candidates)
        share = len(good) / len(table)
        behind = below.log(values) - above.log(values)
        gain = -np.logaddexp(math.log(share), math.log1p(-share) + behind) + self._costs.log_feasible(candidates)
        best = candidates[int(gain.argmax())]
        self._fresh.take(best)
        return best

    def _candidates(self, density: Parzen) -> list[Architecture]:
        """Returns architectures drawn from a density that were not proposed, each once."""
        rng, found = self._fresh.rng, dict[Architecture, None]()
        for batch in range(_NUM_BATCHES):
            for row in density.draw(self._num_candidates, rng).tolist():
                made = self._choices.make(row, rng, repair=batch == _NUM_BATCHES - 1)
                if made is not None and made not in self._fresh:
                    found[made] = None
            if 2 * len(found) >= self._num_candidates:
                break
        return list(found)

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "results": [[amount, [s.to_json() for s in each.told]] for amount, each in self._results.items()],
            "lost": [architecture.to_json() for architecture in self._lost],
            "pending": [architecture.to_json() for architecture in self._pending.values()],
            "num_modelled": self._num_modelled,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._results = {}
        for amount, told in state["results"]:
            for each in told:
                self._at(amount).add(Standing.from_json(self._space, each))
        self._lost = {}
        for text in state["lost"]:
            self._lose(from_text(self._space, text))
        pending = [from_text(self._space, text) for text in state["pending"]]
        self._pending = {Fresh.digest(architecture): architecture for architecture in pending}
        self._num_modelled = state["num_modelled"]


class _Results:
    """What was told of one fidelity."""

    def __init__(self, choices: Choices, num_objectives: int) -> None:
        self.told: list[Standing] = []
        self._choices = choices
        self._rows: list[Values] = []
        self._levels = Levels(num_objectives)

    def add(self, result: Standing) -> None:
        self.told.append(result)
        self._rows.append(self._choices.values([result.architecture])[0])
        self._levels.add(result.losses)

    @property
    def values(self) -> Values:
        return np.stack(self._rows)

    def good(self, share: float, *, by_primary: bool) -> list[int]:
        """Returns the positions of the good results, at least one and not all of two or more."""
        losses = self._levels.losses
        num = min(math.ceil(share * len(losses)), _MAX_GOOD, max(1, len(losses) - 1))
        if by_primary or losses.shape[1] == 1:
            order: list[int] = np.argsort(losses[:, 0], kind="stable").tolist()
            return order[:num]
        found: list[int] = []
        for level in self._levels.members:
            if len(found) + len(level) > num:
                found += [level[i] for i in spread(losses[level])[: num - len(found)]]
                break
            found += level
        return found
