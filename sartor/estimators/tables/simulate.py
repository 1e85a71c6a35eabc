"""Runs a search strategy on a table, where a training is a look-up: what a search costs in trainings.

from sartor.strategies.bayesian import Bayesian
simulation = simulate(table, Bayesian, queries=100, seed=0, protocol="noisy")
simulation.regret_at(50), simulation.recommended[100]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sartor.contracts import Recommender, Strategy
from sartor.errors import BudgetError, InputError
from sartor.estimators.tables._table import Array, ProtocolName, Table
from sartor.goals import Goals, Limit
from sartor.strategies._fresh import check_at_least
from sartor.trials import Fidelity, Proposal, Trial, derive_seed

Make = Callable[..., Strategy]
"""Called as ``make(space, goals, fidelities, seed=...)``."""

MAX_REFUSED = 10_000
"""Proposals beyond a limit, one after the other, after which a search is given up: they cost no training."""
_FIRST = (10, 25)


def checkpoints(queries: int) -> tuple[int, ...]:
    """Returns the numbers of queries at which results are shown: 10, 25, 50, 100 and on by 50, and the last.

    Example:
        >>> checkpoints(120)
        (10, 25, 50, 100, 120)
    """
    return tuple(sorted({*(q for q in (*_FIRST, *range(50, queries + 1, 50)) if q < queries), queries}))


@dataclass(frozen=True)
class Simulation:
    """A search on a table.

    A query is one training at the highest fidelity; a shorter one counts as its share. Failed trainings count, what
    breaks a limit does not.

    Attributes:
        trials: Finished, in order.
        queries: Spent once each trial was finished, ``[num_trials]``.
        regret: Of the best observed until then, ``[num_trials]``, in the unit of the judged column: the distance
            between its judged figure and the best of all rows that meet the limits. NaN while none is complete. With
            several fidelities the best is of those observed at the highest so far.
        recommended: Queries -> regret of what the strategy recommends by its model, or of the best observed where it
            recommends nothing.
        stopped: Why it ended before the budget, or empty.
    """

    trials: Sequence[Trial]
    queries: Array
    regret: Array
    recommended: Mapping[int, float]
    stopped: str = ""

    def regret_at(self, queries: float) -> float:
        """Returns the regret of the best observed within so many queries, NaN when none was complete."""
        within = int(np.searchsorted(self.queries, queries + 1e-9, side="right"))
        return float(self.regret[within - 1]) if within else math.nan

    def queries_to(self, regret: float = 0.0) -> float:
        """Returns the queries after which the best observed was within ``regret``, infinite when never."""
        found = np.flatnonzero(self.regret <= regret)
        return float(self.queries[found[0]]) if len(found) else math.inf


def simulate(
    table: Table,
    make: Make,
    queries: int,
    seed: int,
    protocol: ProtocolName = "clean",
    *,
    limits: Sequence[Limit] = (),
    device: str | None = None,
    fidelities: Sequence[Fidelity] | None = None,
    batch_size: int = 1,
    failing: float = 0.0,
    at: Sequence[int] | None = None,
) -> Simulation:
    """Returns a search of a strategy on a table.

    Args:
        table: Where architectures are looked up.
        make: Makes the strategy; its objective is the table's metric.
        queries: Budget, in trainings at the highest fidelity.
        seed: Of the strategy.
        protocol: What the strategy is shown and judged by.
        limits: On costs of the table.
        device: Whose costs are limited.
        fidelities: Offered to the strategy, ascending, the table's highest last; that alone when None.
        batch_size: Proposals asked before any of them is told.
        failing: Share of the architectures whose training fails, drawn by the seed.
        at: Queries at which the strategy is asked for its recommendation; `checkpoints` when None.

    Raises:
        InputError: An option out of range, a protocol, fidelity or cost that the table lacks; the strategy proposes
            what is not in the table.
        BudgetError: No architecture meets the limits; all trainings failed.
    """
    check_at_least("queries", queries, 1)
    check_at_least("batch_size", batch_size, 1)
    if not 0 <= failing <= 1:
        raise InputError(f"failing is a share from 0 to 1, got {failing}")
    if device is not None and device not in table.devices:
        table.cost("latency_ms", device)
    offered = tuple(fidelities) if fidelities is not None else tuple(table.fidelities)[-1:]
    if not offered or offered[-1] != tuple(table.fidelities)[-1]:
        raise InputError(f"the last fidelity of table {table.name} is {tuple(table.fidelities)[-1]}, got {offered}")
    run = _Run(table, protocol, tuple(limits), device, offered, failing, seed)
    goals = Goals((table.objective,), tuple(limits))
    strategy = make(table.space, goals, offered, seed=seed)
    wanted = sorted({q for q in (checkpoints(queries) if at is None else at) if 1 <= q <= queries})
    recommended: dict[int, float] = {}
    stopped = ""
    while run.spent < queries - 1e-9 and not stopped:
        proposals = strategy.ask(min(batch_size, math.ceil(queries - run.spent)))
        if not proposals:
            stopped = f"nothing was left to propose after {run.num_trained:,} trainings"
            break
        trials = [run.finish(proposal) for proposal in proposals]
        strategy.tell(trials)
        if run.num_refused >= MAX_REFUSED:
            stopped = f"the last {run.num_refused:,} proposals broke a limit"
        while wanted and run.spent >= wanted[0] - 1e-9:
            recommended[wanted.pop(0)] = run.recommendation(strategy)
    if not run.num_complete and run.num_trained:
        raise BudgetError(f"all {run.num_trained:,} trainings on table {table.name} failed")
    if not run.num_trained:
        raise BudgetError(f"no proposal met the limits on table {table.name}: {stopped}")
    recommended |= dict.fromkeys(wanted, run.recommendation(strategy)) if wanted else {}
    return Simulation(run.trials, np.array(run.queries), np.array(run.regrets), recommended, stopped)


class _Run:
    """What was asked of the table so far."""

    def __init__(
        self,
        table: Table,
        protocol: ProtocolName,
        limits: Sequence[Limit],
        device: str | None,
        fidelities: Sequence[Fidelity],
        failing: float,
        seed: int,
    ) -> None:
        self.table, self.limits, self.device = table, limits, device
        self.full, self.failing, self.seed = fidelities[-1].amount, failing, seed
        self.observed = {fidelity: table.observed(fidelity, protocol) for fidelity in fidelities}
        self.allowed = np.ones(len(table), bool)
        for limit in limits:
            values = table.cost(limit.name, device).values
            least = values[self.allowed].min()
            self.allowed &= values <= limit.bound
            if not self.allowed.any():
                others = " among those that meet the others" if len(limits) > 1 else ""
                raise BudgetError(
                    f"none of the {len(table):,} architectures of table {table.name} meets "
                    f"{', '.join(map(str, limits))}: the least {limit.name}{others} is {least:g}"
                )
        judged = table.column(table.protocol(protocol).judged)
        sign = 1.0 if table.direction == "max" else -1.0
        self.distance = (sign * judged)[self.allowed].max() - sign * judged
        self.sign = sign
        self.trials: list[Trial] = []
        self.queries: list[float] = []
        self.regrets: list[float] = []
        self.spent = 0.0
        self.num_trained = self.num_complete = self.num_refused = 0
        self._best: tuple[float, float] = (-math.inf, -math.inf)
        self._best_row = -1

    def finish(self, proposal: Proposal) -> Trial:
        """Returns the finished trial of a proposal."""
        row = self.table.index(proposal.architecture)
        trial = Trial(len(self.trials), proposal, derive_seed(self.seed, proposal.architecture.to_json()))
        trial.costs = self.table.figures(row, self.device if self.device in self.table.devices else None)
        if not self.allowed[row]:
            values = trial.values
            broken = [limit for limit in self.limits if limit.excess(values[limit.name]) > 0]
            trial.state, trial.failure = "infeasible", ", ".join(map(str, broken))
            self.num_refused += 1
        else:
            self.num_refused = 0
            self.num_trained += 1
            self.spent += proposal.fidelity.amount / self.full
            if derive_seed(self.seed, proposal.architecture.to_json(), "fails") < self.failing * 2**32:
                trial.state, trial.failure = "failed", "drawn to fail"
            else:
                self._complete(trial, row)
        self.trials.append(trial)
        self.queries.append(self.spent)
        self.regrets.append(float(self.distance[self._best_row]) if self._best_row >= 0 else math.nan)
        return trial

    def _complete(self, trial: Trial, row: int) -> None:
        fidelity = trial.proposal.fidelity
        if fidelity not in self.observed:
            raise InputError(f"trial {trial.number} is at {fidelity}, which was not offered")
        trial.state = "complete"
        self.num_complete += 1
        value = float(self.observed[fidelity][row])
        trial.metrics[self.table.metric] = value
        if (fidelity.amount, self.sign * value) > self._best:
            self._best, self._best_row = (fidelity.amount, self.sign * value), row

    def recommendation(self, strategy: Strategy) -> float:
        """Returns the regret of what the strategy recommends, or else of the best observed."""
        if self._best_row < 0:
            return math.nan
        row = self._best_row
        if isinstance(strategy, Recommender):
            row = self.table.index(strategy.recommend())
            if not self.allowed[row]:
                return math.inf
        return float(self.distance[row])
