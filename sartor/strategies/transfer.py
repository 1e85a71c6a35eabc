"""Reuse of earlier searches: what they found is proposed first, and a model reads what they would have said.

- Architectures, a start learned over tasks: those that earlier searches hold to be best, so chosen that each search has
  a good one among them (a portfolio, as Feurer, Springenberg and Hutter 2015, "Initializing Bayesian hyperparameter
  optimization via meta-learning"); of one search alone, good ones that differ most.
- Predictor: of each earlier search a Gaussian process predicts every candidate; the process of `bayesian` has these
  predictions among its inputs and learns from the results here how much each is worth, so that a search on other data
  that misleads loses its weight after some trainings (Feurer et al. 2018, "Scalable meta-learning for Bayesian
  optimization", weight such models by how well they rank what is known here; a length scale of its own does the same).
- Space: with ``share`` only values of choices that the best of an earlier search have are proposed (Perrone et al.
  2019, "Learning search spaces for Bayesian optimization").

`agreement` says afterwards how well each earlier search ranked the trainings here, and so whether it helped or hurt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._features import Features
from sartor.strategies._fresh import check_at_least
from sartor.strategies._narrow import narrowed
from sartor.strategies._results import Results
from sartor.strategies._scored import PredictedScores, Scored
from sartor.strategies.bayesian import Bayesian
from sartor.strategies.warm_start import diverse
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "transfer",
    "sartor.strategies.transfer:Transfer",
    "Gaussian processes that begin with what earlier searches found and learn how much of it holds",
    citation="Feurer et al. 2015; Feurer et al. 2018, arXiv:1802.02219; Perrone et al. 2019, arXiv:1909.12552",
    needs="Earlier searches of the same space: sartor search --transfer FOLDER.",
    when="When the same space was searched on other data, or under other limits.",
)

Array = npt.NDArray[np.float64]
LEAST = 4
"""Architectures of an earlier search from which it can be learned."""
_MAX_FITTED = 300


@dataclass(frozen=True)
class Source:
    """An earlier search.

    Attributes:
        name: How it is called.
        architectures: What was trained there.
        losses: Of the primary objective, smaller is better, as at the highest fidelity; one for each.
    """

    name: str
    architectures: tuple[Mapping[str, Any], ...]
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.architectures) != len(self.losses):
            num = len(self.architectures)
            raise InputError(f"{self.name}: expected a loss for each of {num} architectures, got {len(self.losses)}")
        if not all(map(math.isfinite, self.losses)):
            raise InputError(f"{self.name}: losses must be finite")

    @classmethod
    def of_trials(cls, name: str, trials: Sequence[Trial], goals: Goals, space: Space) -> Source:
        """Returns the source of a search's trials: those that were trained and are in the space.

        Args:
            name: How it is called.
            trials: Of the search, in any state.
            goals: Of that search.
            space: To be searched now.
        """
        results = Results(space, goals)
        for trial in trials:
            if space.contains(trial.architecture):
                results.tell(trial)
        known = results.known
        losses = results.losses(known)[:, 0].tolist() if known else []
        return cls(name, tuple(dict(each.architecture) for each in known), tuple(losses))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "architectures": list(map(dict, self.architectures)), "losses": list(self.losses)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Source:
        return cls(value["name"], tuple(value["architectures"]), tuple(value["losses"]))


class Transfer:
    """`Bayesian`, begun and informed by earlier searches.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed, sources and results, same proposals.
        initial: Proposed first.
        sources: Earlier searches of this space, `Source` or its JSON.
        num_start: Architectures of the sources proposed first.
        num_initial: Architectures before the first that is modelled.
        share: Only values that are among this share of a source's best are proposed, e.g. 0.1; 1 keeps the space.

    Raises:
        InputError: No source has as many as four different architectures of the space; an option out of its range.

    Example:
        >>> from sartor.goals import Objective
        >>> from sartor.space import OneOf
        >>> space = Space({"depth": OneOf(1, 2, 3, 4), "width": OneOf(8, 16)})
        >>> source = Source("earlier", tuple(dict(a) for a in space), tuple(-a["depth"] for a in space))
        >>> begun = Transfer(space, Goals((Objective("accuracy"),)), [Fidelity(9)], sources=[source])
        >>> begun.ask(1)[0].architecture["depth"]
        4
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        sources: Sequence[Source | Mapping[str, Any]] = (),
        num_start: int = 5,
        num_initial: int = 8,
        share: float = 1.0,
    ) -> None:
        check_at_least("num_start", num_start, 1)
        if not 0 < share <= 1:
            raise InputError(f"share is a share from above 0 to 1, got {share}")
        read = [each if isinstance(each, Source) else Source.from_json(each) for each in sources]
        models = _models(space, read)
        kept = space if share == 1 else good_part(space, [model.source for model in models], share, initial)
        start = _start(kept, models, num_start)
        self._inner = Bayesian(
            kept,
            goals,
            fidelities,
            seed=seed,
            initial=[*initial, *start],
            num_initial=num_initial,
            features=Features(kept, lambda architectures: np.stack([model(architectures) for model in models], 1)),
        )
        self._kept = kept

    def ask(self, n: int) -> list[Proposal]:
        return self._inner.ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        # Something else may have proposed what is not in the part of the space that is searched.
        self._inner.tell([trial for trial in trials if self._kept.contains(trial.architecture)])

    def recommend(self) -> Architecture:
        """Returns what `Bayesian.recommend` does."""
        return self._inner.recommend()

    def state_dict(self) -> dict[str, Any]:
        return self._inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._inner.load_state_dict(state)


class _Model:
    """What a source would say of any architecture, larger is better."""

    def __init__(self, space: Space, source: Source) -> None:
        from sartor.estimators.predictors.gaussian_process import GaussianProcess

        self.source = source
        self.architectures = [space.architecture(values) for values in source.architectures]
        self.losses = np.array(source.losses)
        order = np.argsort(self.losses, kind="stable")
        if len(order) > _MAX_FITTED:
            # The best ones, and others evenly over the rest.
            num = _MAX_FITTED // 3
            rest = np.linspace(num, len(order) - 1, _MAX_FITTED - num).astype(int)
            order = order[np.unique([*range(num), *rest.tolist()])]
        fitted = order.tolist()
        self._process = GaussianProcess(space)
        self._process.fit([self.architectures[i] for i in fitted], -self.losses[fitted])

    def __call__(self, architectures: Sequence[Architecture]) -> Array:
        means, _ = self._process.predict(architectures)
        return means


def _models(space: Space, sources: Sequence[Source]) -> list[_Model]:
    models = []
    for source in sources:
        known = {
            space.architecture(a): loss
            for a, loss in zip(source.architectures, source.losses, strict=True)
            if space.contains(a)
        }
        if len(known) >= LEAST:
            models.append(_Model(space, Source(source.name, tuple(map(dict, known)), tuple(known.values()))))
    if not models:
        names = ", ".join(source.name for source in sources) or "none given"
        raise InputError(
            f"transfer needs earlier searches with at least {LEAST} trained architectures of this space, by --transfer"
            f" FOLDER; of these ({names}) none has"
        )
    return models


def _start(space: Space, models: Sequence[_Model], num: int) -> list[Architecture]:
    """Returns a portfolio: greedily what lowers the mean over sources of the best rank most; of one, what differs."""
    known = [a for a in dict.fromkeys(a for model in models for a in model.architectures) if space.contains(a)]
    if not known:
        return []
    ranks = np.stack([np.argsort(np.argsort(-model(known), kind="stable")) for model in models]) / max(
        1, len(known) - 1
    )
    mean = ranks.mean(0)
    best = np.ones(len(models))
    taken: list[int] = []
    while len(taken) < min(num, len(known)):
        reached = np.minimum(best[:, None], ranks).mean(0)
        if taken and reached.min() >= best.mean() - 1e-12:
            break
        # Of equal ones the best on average.
        taken.append(int(np.lexsort((mean, reached))[0]))
        best = np.minimum(best, ranks[:, taken[-1]])
    chosen = [known[i] for i in taken]
    left = [known[i] for i in np.argsort(mean, kind="stable").tolist() if i not in taken]
    return [*chosen, *diverse(space, left, num - len(chosen), len(known))]


def good_part(space: Space, sources: Sequence[Source], share: float, initial: Sequence[Architecture] = ()) -> Space:
    """Returns the space with only those values of choices that the best of a source, or what is initial, have.

    Args:
        space: To be narrowed; ranges of numbers stay.
        sources: Earlier searches, of architectures in the space.
        share: Of each source's architectures that count as best, at least four.
        initial: Stay in the space.
    """
    kept: dict[str, set[Any]] = {}
    for source in sources:
        order = np.argsort(source.losses, kind="stable")[: max(LEAST, math.ceil(share * len(source.losses)))]
        for architecture in [*(source.architectures[i] for i in order.tolist()), *initial]:
            for key, value in architecture.items():
                kept.setdefault(key, set()).add(value)
    chosen = {
        key: sorted(kept[key], key=space.values(key).index)
        for key in space.keys
        if key in kept and key not in space.continuous and len(kept[key]) < len(space.values(key))
    }
    return narrowed(space, chosen)


@dataclass(frozen=True)
class Agreement:
    """How well what was known before a search ranks its trainings.

    Attributes:
        what: Was known, e.g. ``transfer from results``.
        num_trained: Trainings compared.
        tau: Kendall's tau between what it predicts and what came out, -1 to 1; NaN where that is undefined.
        chance: Probability of a tau as far from 0 by chance.
    """

    what: str
    num_trained: int
    tau: float
    chance: float

    @property
    def words(self) -> str:
        """Says whether it helped or hurt."""
        if math.isnan(self.tau):
            return f"{self.what}: too few trainings to say whether it helped"
        said = f"{self.what}: tau {self.tau:.2f} between what it predicts and {self.num_trained} trainings"
        if self.chance > 0.05:
            return f"{said}, which may be chance: it said little"
        return f"{said}: it {'helped' if self.tau > 0 else 'misled, search without it'}"


def agreement(sources: Sequence[Source], trials: Sequence[Trial], goals: Goals, space: Space) -> list[Agreement]:
    """Returns how well each source ranks what was trained here."""
    models = {f"transfer from {model.source.name}": model for model in _models(space, sources)}
    return _agreement(models, trials, goals, space)


def agreement_of_scores(scored: Scored, trials: Sequence[Trial], goals: Goals, space: Space) -> list[Agreement]:
    """Returns how well training-free scores rank what was trained; of few scored architectures nothing.

    The last column counts: the aggregate, where there are several.
    """
    scores = PredictedScores(space, scored)
    what = f"{list(scored.columns)[-1]} of the networks before training"
    return _agreement({what: lambda found: scores(found)[:, -1]}, trials, goals, space) if scores.says else []


def _agreement(
    models: Mapping[str, Callable[[Sequence[Architecture]], Array]], trials: Sequence[Trial], goals: Goals, space: Space
) -> list[Agreement]:
    from scipy.stats import kendalltau

    here = Source.of_trials("here", trials, goals, space)
    trained, found = [space.architecture(values) for values in here.architectures], []
    for what, model in models.items():
        tau, chance = math.nan, 1.0
        if len(trained) >= LEAST:
            result = kendalltau(model(trained), -np.array(here.losses))
            tau, chance = float(result.statistic), float(result.pvalue)
        found.append(Agreement(what, len(trained), tau, chance))
    return found
