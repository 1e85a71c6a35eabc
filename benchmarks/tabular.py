"""Sartor's default strategy on published tables, beside what a person would use instead.

    python benchmarks/tabular.py --table ../shared/data/nas            # says beforehand how many runs there are
    python benchmarks/tabular.py --table ../shared/data/nas --quick    # within a minute: two seeds, two tables

A run is a search in which a training is a look-up (`sartor.estimators.tables.simulate`); its regret is how far what it
found is from the best of the table, in the unit of the table (points of accuracy on NAS-Bench-201). Protocols: *clean*,
the search observes what it is judged by; *noisy*, it observes one training and is judged by the mean, both for the best
it observed and for what it recommends.

``sartor`` is ``bayesian`` as ``sartor search`` makes it, and sees the training-free scores that a table has published
(on NAS-Bench-201 logarithm of SynFlow, NASWOT, Zen-score, linear regions, and multiply-accumulates; elsewhere
parameters): ``sartor-blind`` sees none. Settings were chosen on NAS-Bench-201/CIFAR-10 and NAS-Bench-Macro; all others
are held out. Each peer is used as its maker recommends: Optuna's samplers with their defaults.

Results: see ``RESULTS`` in this file, negative ones included.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import multiprocessing
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _main import exit_with
from _optuna import suggest

from sartor._environment import environment
from sartor._parent import die_with
from sartor.errors import SartorError
from sartor.estimators.tables._table import Table
from sartor.estimators.tables.lookup import load
from sartor.estimators.tables.simulate import Simulation, simulate
from sartor.goals import Goals
from sartor.registry import find
from sartor.space import Architecture, Space
from sartor.strategies._features import Features
from sartor.trials import Fidelity, Proposal, Trial

RESULTS = """
26 November 2026, AMD EPYC, 2 virtual cores beside other work (CPU-s twice those of a quiet machine).

``--only c100 --methods sartor random evolution local-search optuna-tpe optuna-nsga2 --seeds 30``, held out:

table protocol method          observed: 25     50    100    150 | recommended: 50    100    150  optimum at  CPU-s
c100  clean    sartor                 0.552  0.041  0.000  0.000 |           0.092  0.000  0.000          28   18.9
c100  clean    random                 3.039  2.419  1.998  1.699 |           2.419  1.998  1.699           -    0.0
c100  clean    evolution              2.518  1.311  0.422  0.149 |           1.311  0.422  0.149         131    0.0
c100  clean    local-search           1.755  0.530  0.012  0.001 |           0.530  0.012  0.001          56    0.1
c100  clean    optuna-tpe             2.179  0.991  0.238  0.058 |           0.991  0.238  0.058          91    1.1
c100  clean    optuna-nsga2           3.008  2.277  1.725  0.998 |           2.277  1.725  0.998           -    0.3
c100  noisy    sartor                 0.796  0.253  0.033  0.033 |           0.416  0.224  0.215          58   15.9
c100  noisy    random                 3.113  2.501  2.066  1.804 |           2.501  2.066  1.804           -    0.0
c100  noisy    evolution              2.687  1.871  0.605  0.152 |           1.871  0.605  0.152         139    0.1
c100  noisy    local-search           2.046  0.953  0.224  0.127 |           0.953  0.224  0.127           -    0.1
c100  noisy    optuna-tpe             2.080  1.013  0.354  0.220 |           1.013  0.354  0.220           -    1.1
c100  noisy    optuna-nsga2           3.030  2.306  1.889  1.325 |           2.306  1.889  1.325           -    0.3

The same ``--only in16``, held out:

in16  clean    sartor                 0.733  0.235  0.000  0.000 |           0.264  0.008  0.071          46   19.2
in16  clean    random                 2.718  2.080  1.591  1.367 |           2.080  1.591  1.367           -    0.0
in16  clean    evolution              2.467  1.391  0.553  0.276 |           1.391  0.553  0.276           -    0.1
in16  clean    local-search           1.481  0.937  0.602  0.420 |           0.937  0.602  0.420           -    0.1
in16  clean    optuna-tpe             1.995  0.834  0.397  0.292 |           0.834  0.397  0.292           -    1.1
in16  clean    optuna-nsga2           2.636  2.061  1.527  1.147 |           2.061  1.527  1.147           -    0.4
in16  noisy    sartor                 1.019  0.813  0.873  0.867 |           0.802  0.880  0.867           -   14.4
in16  noisy    random                 2.790  2.151  1.748  1.472 |           2.151  1.748  1.472           -    0.0
in16  noisy    evolution              2.597  1.463  1.022  0.840 |           1.463  1.022  0.840           -    0.1
in16  noisy    local-search           2.168  1.444  0.939  0.890 |           1.444  0.939  0.890           -    0.1
in16  noisy    optuna-tpe             2.263  1.141  0.983  0.979 |           1.141  0.983  0.979           -    1.1
in16  noisy    optuna-nsga2           2.649  2.111  1.636  1.188 |           2.111  1.636  1.188           -    0.3

27 November 2026, Intel Xeon, 2 virtual cores beside other work, 30 seeds, ``--only macro``, ``normal``, ``jigsaw``:

table    protocol method       observed: 25     50    100 | recommended: 50    100  optimum at  CPU-s
macro    clean    sartor              0.050  0.007  0.000 |           0.007  0.000          44    1.5
macro    clean    random              0.486  0.372  0.296 |           0.372  0.296           -    0.0
macro    clean    evolution           0.362  0.114  0.015 |           0.114  0.015          94    0.0
macro    clean    local-search        0.231  0.072  0.032 |           0.072  0.032           -    0.0
macro    clean    optuna-tpe          0.192  0.067  0.027 |           0.067  0.027           -    0.2
macro    clean    optuna-nsga2        0.448  0.337  0.212 |           0.337  0.212           -    0.1
normal   clean    sartor              0.018  0.017  0.014 |           0.017  0.014           -    1.3
normal   clean    random              0.025  0.022  0.018 |           0.022  0.018           -    0.0
normal   clean    evolution           0.023  0.019  0.015 |           0.019  0.015           -    0.0
normal   clean    local-search        0.022  0.018  0.016 |           0.018  0.016           -    0.0
normal   clean    optuna-tpe          0.021  0.018  0.013 |           0.018  0.013           -    0.2
normal   clean    optuna-nsga2        0.024  0.021  0.018 |           0.021  0.018           -    0.1
jigsaw   clean    sartor              1.078  0.726  0.570 |           0.762  0.604           -    1.3
jigsaw   clean    random              1.039  0.850  0.688 |           0.850  0.688           -    0.0
jigsaw   clean    evolution           0.930  0.713  0.526 |           0.713  0.526           -    0.0
jigsaw   clean    local-search        0.896  0.634  0.513 |           0.634  0.513           -    0.0
jigsaw   clean    optuna-tpe          1.007  0.715  0.578 |           0.715  0.578           -    0.2
jigsaw   clean    optuna-nsga2        1.056  0.857  0.637 |           0.857  0.637           -    0.1

So without scores of untrained networks (the tables of TransNAS have none here) Sartor is ahead on Macro, no better than
its peers on surface normals (1.08 times the best one's regret at 100 queries) and behind local search and evolution on
jigsaw (1.11 times). What it recommends (AMD EPYC, the same seeds) was worse than the best it saw while it was
recommended by parts alone: .096, .020 and 1.096 at 100 queries.

``--only c10 --methods sartor --seeds 6``, the code of the day before; settings were chosen on it:

c10   clean    sartor                 0.191  0.000  0.000  0.000 |           0.005  0.010  0.010          20   15.4
c10   noisy    sartor                 0.253  0.151  0.077  0.077 |           0.130  0.064  0.026           -   13.4

27 November 2026, AMD EPYC, 2 virtual cores beside much other work, 30 seeds, ``--only cora arxiv --methods sartor
random evolution local-search optuna-tpe optuna-nsga2``, held out; shares from 0 to 1, .01 is a point:

table  protocol method        observed:  25      50     100 | recommended: 50     100  optimum at  CPU-s
cora   clean    sartor               0.0339  0.0310  0.0286 |          0.0308  0.0265           -    9.7
cora   clean    random               0.0372  0.0331  0.0293 |          0.0331  0.0293           -    0.0
cora   clean    evolution            0.0345  0.0337  0.0328 |          0.0337  0.0328           -    0.0
cora   clean    local-search         0.0344  0.0355  0.0360 |          0.0355  0.0360           -    0.0
cora   clean    optuna-tpe           0.0309  0.0343  0.0318 |          0.0343  0.0318           -    0.5
cora   clean    optuna-nsga2         0.0370  0.0328  0.0306 |          0.0328  0.0306           -    0.2
arxiv  clean    sartor               0.0052  0.0042  0.0043 |          0.0042  0.0045           -    8.8
arxiv  clean    random               0.0079  0.0061  0.0052 |          0.0061  0.0052           -    0.0
arxiv  clean    evolution            0.0063  0.0044  0.0035 |          0.0044  0.0035           -    0.0
arxiv  clean    local-search         0.0061  0.0048  0.0040 |          0.0048  0.0040           -    0.0
arxiv  clean    optuna-tpe           0.0058  0.0041  0.0038 |          0.0041  0.0038           -    0.5
arxiv  clean    optuna-nsga2         0.0083  0.0070  0.0052 |          0.0070  0.0052           -    0.2

These tables show validation and judge by test, so that the best search is not the one of the least regret. The best of
all 26,206 by validation is .0043 from the best by test on arxiv, and .0050 or .0233 (two are equal) on Cora, where the
mean of its best twenty is .0196. On arxiv Sartor found the best by validation within 100 queries in 18 of 30 runs,
local search in 6, evolution and TPE in 3, NSGA-II in 1, random search in none; its regret stays at .0043 by that. On
Cora validation agrees with test to a Spearman correlation of .73: Sartor's regret is not told from random search's
(standard errors .0016 and .0022), and local search's grows with its queries. Against the best peer at 100 queries: .98
times on Cora, 1.25 times on arxiv.

The same, ``--only nasbench101``, 8 seeds (0 to 7), held out:

table        protocol method       observed: 25      50     100     150 | recommended: 50     100     150  CPU-s
nasbench101  clean    sartor             0.0038  0.0024  0.0014  0.0009 |          0.0025  0.0018  0.0013   28.4
nasbench101  clean    random             0.0108  0.0083  0.0068  0.0066 |          0.0083  0.0068  0.0066    0.1
nasbench101  clean    evolution          0.0069  0.0057  0.0030  0.0016 |          0.0057  0.0030  0.0016    0.2
nasbench101  clean    local-search       0.0059  0.0042  0.0030  0.0023 |          0.0042  0.0030  0.0023    0.2
nasbench101  clean    optuna-tpe         0.0068  0.0042  0.0021  0.0013 |          0.0042  0.0021  0.0013   11.8
nasbench101  clean    optuna-nsga2       0.0080  0.0073  0.0061  0.0031 |          0.0073  0.0061  0.0031    2.2

Sartor's regret after 150 queries is .092 points (goal .08; with seeds 1000 to 1003 it was .083), .66 times the best
peer's at 100. A run took 75 CPU-s before predicates and classes were asked once for each cell, with the same proposals
(seed 0, 150 queries; likewise Cora, 100 queries, 28 and 11 CPU-s with seed 0).

On NAS-Bench-201, clean, the optimum is found in every run within 100 queries on all three sets; at 50 the goal of .05
is met on CIFAR-10 and CIFAR-100, on ImageNet16-120 it is .24. An ask and a tell take 4.4 ms around 1,000 trials. With
noise, what is recommended is halfway between a process over paths, subtrees, choices and scores and what was observed,
chosen on CIFAR-10 (12 other seeds: .077 and .065 at 50 and 100 queries, the best observed .123 and .077) and on Macro,
where the process that had recommended before was .15 behind the best observed. On the held-out sets, looked at once, it
is no better with noise than what was there before (a process over paths, subtrees and choices alone: .428, .197, .105
on CIFAR-100, .828, .824, .745 on ImageNet16-120); without noise it is. The goals of .20, .20, .60 at 50 queries and
.10, .05, .40 at 100 are met on CIFAR-10 alone.

Peers in an environment of their own, 27 November 2026, the same machine, ``--peers PYTHON --methods neps syne-tune
--only c100 --protocol noisy``, seed 0 with 150 queries, others with 100 (``--queries 100``): NePS 0.17.0 (Bayesian
optimisation; with botorch 0.12 and gpytorch 1.13, as it fails to import with later ones) and Syne Tune 0.16.0 (CQR; it
needs huggingface_hub, which it does not ask for). Regret of the best observed, seed by seed; no run failed:

c100  noisy    method    seed      25     50    100    150   CPU-s
               neps         0   2.407  2.063  0.000  0.033     528
               neps         1   1.773  1.313  0.793      -     227
               neps         2   0.000  0.000  0.033      -     287
               syne-tune    0   1.120  0.353  0.293  0.033     667
               syne-tune    1   1.093  0.033  0.033      -     349

Means at 50 and 100: NePS 1.13 and .28 (3 seeds), Syne Tune .19 and .16 (2 seeds); Sartor above .25 and .03 (30 seeds).
So few seeds settle nothing at 50. They take 9 and 11 CPU-minutes for 150 queries, where Sartor takes 18 seconds and
Optuna one, which is why there are no more.
"""

TABLES: Mapping[str, tuple[str, str | None, tuple[str, ...], int]] = {
    "c10": ("nasbench201", "cifar10", ("clean", "noisy"), 150),
    "c100": ("nasbench201", "cifar100", ("clean", "noisy"), 150),
    "in16": ("nasbench201", "imagenet16-120", ("clean", "noisy"), 150),
    "macro": ("nasbench_macro", None, ("clean",), 100),
    "nasbench101": ("nasbench101", None, ("clean",), 150),
    "cora": ("nasbench_graph", "cora", ("clean",), 100),
    "arxiv": ("nasbench_graph", "arxiv", ("clean",), 100),
    "jigsaw": ("transnasbench101_micro", "jigsaw", ("clean",), 100),
    "normal": ("transnasbench101_micro", "normal", ("clean",), 100),
}
"""Short name -> table, data set, protocols, queries."""
SCORES = ("logsynflow", "naswot", "zen", "nregions")
METHODS = ("sartor", "sartor-blind", "random", "evolution", "local-search", "optuna-tpe", "optuna-nsga2")
PEERS = ("neps", "syne-tune")
"""Run when an interpreter that has them is given (``--peers``)."""
MORE = ("tpe", "bananas", "nas-bowl", "npenas", "pnas", "reinforce", "ppo")
"""Sartor's other strategies, run when asked for by ``--methods``: a predictor trained anew takes seconds a batch."""
QUICK = {"c10": ("clean",), "macro": ("clean",)}
AT = (25, 50, 100, 150)
_MAX_REPEATS = 1_000
"""Of what a tool asked for already, one after the other, after which it has nothing left to say."""


@cache
def table_of(short: str, folder: str) -> Table:
    name, dataset, _, _ = TABLES[short]
    return load(folder, name, dataset)


@cache
def features_of(short: str, folder: str, seeing: bool) -> Features:
    """Descriptions of a table's architectures, shared by all seeds of a process."""
    table = table_of(short, folder)
    columns = [table.scores[name] for name in SCORES if name in table.scores and short != "nasbench101"]
    cost = next((table.costs[name].values for name in ("macs", "params") if name in table.costs), None)
    columns += [] if cost is None else [cost]
    if not seeing or not columns:
        return Features(table.space)
    scores = np.stack(columns, 1)
    return Features(table.space, lambda architectures: scores[table.indices(architectures)])


# --- Optuna


class OptunaStrategy:
    """An Optuna sampler as a strategy: a categorical parameter a choice."""

    def __init__(
        self, space: Space, goals: Goals, fidelities: Sequence[Fidelity], *, seed: int, sampler: str
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kinds: dict[str, Callable[[], Any]] = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
        }
        self._study = optuna.create_study(direction="minimize", sampler=kinds[sampler]())
        self._space, self._goals, self._fidelity = space, goals, fidelities[-1]
        self._open: dict[Architecture, Any] = {}
        self._told: dict[Architecture, float] = {}

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            trial = self._study.ask()
            architecture = self._suggested(trial)
            if architecture is None:
                # Not in the space: told so, as a person would.
                self._study.tell(trial, 0.0 if not self._told else max(self._told.values()))
            elif architecture in self._told:
                self._study.tell(trial, self._told[architecture])
            else:
                self._open[architecture] = trial
                proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def _suggested(self, trial: Any) -> Architecture | None:
        try:
            return suggest(trial, self._space, ordered=False)
        except SartorError:
            return None

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            loss = float(self._goals.losses(trial)[0])
            self._told[trial.architecture] = loss
            self._study.tell(self._open.pop(trial.architecture), loss)


# --- tools in an environment of their own


class PeerError(SartorError):
    """A tool failed."""


class PeerStrategy:
    """A tool that runs under another interpreter (`_peer.py`) as a strategy.

    It is told the loss of what it asks for again, and the worst so far for what is not in the space, as a person would.

    Raises:
        PeerError: The tool failed: with the end of what it said.
    """

    def __init__(
        self, space: Space, goals: Goals, fidelities: Sequence[Fidelity], *, seed: int, peer: str, python: str
    ) -> None:
        slots = [slot for slot in space._compiled.slots if slot.kind != "use"]
        if any(slot.when is not None or slot.kind == "number" for slot in slots):
            raise SartorError(f"{peer} is asked for spaces of plain choices alone")
        self._domains = {slot.key: list(slot.domain) for slot in slots}
        self._space, self._goals, self._fidelity, self._peer = space, goals, fidelities[-1], peer
        self._told: dict[Architecture, float] = {}
        self._asked: Architecture | None = None
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("_peer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        choices = {key: len(domain) for key, domain in self._domains.items()}
        self._send({"peer": peer, "seed": seed, "choices": choices})

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def _failure(self) -> PeerError:
        self._process.wait()
        self._said.seek(0)
        return PeerError(f"{self._peer} failed: {self._said.read()[-300:].strip()}")

    def ask(self, n: int) -> list[Proposal]:
        assert n == 1
        assert self._process.stdout is not None
        for _ in range(_MAX_REPEATS):
            self._send("ask")
            answer = self._process.stdout.readline()
            if not answer:
                raise self._failure()
            codes = json.loads(answer)
            try:
                architecture = self._space.representative({k: self._domains[k][code] for k, code in codes.items()})
            except SartorError:
                self._send({"tell": max(self._told.values(), default=0.0)})
                continue
            if architecture in self._told:
                self._send({"tell": self._told[architecture]})
                continue
            self._asked = architecture
            return [Proposal(architecture, self._fidelity)]
        return []

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            loss = float(self._goals.losses(trial)[0])
            self._told[trial.architecture] = loss
            self._send({"tell": loss})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


# --- runs


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        observed, recommended: Regret after 25, 50, 100, 150 queries; NaN beyond the run's own.
        optimum: Queries until the best of the table was observed, or infinite.
        seconds: CPU-seconds of the strategy and the look-ups, of a peer's own process too.
    """

    table: str
    protocol: str
    method: str
    seed: int
    observed: tuple[float, ...]
    recommended: tuple[float, ...]
    optimum: float
    seconds: float
    failure: str = ""


def run(short: str, folder: str, protocol: Any, method: str, seed: int, queries: int, python: str | None) -> Result:
    """Runs a method on a table; a peer's own failure is a result."""
    table = table_of(short, folder)
    peers: list[PeerStrategy] = []

    def make(space: Space, goals: Goals, fidelities: Sequence[Fidelity], *, seed: int) -> Any:
        if method in PEERS:
            assert python is not None
            peers.append(PeerStrategy(space, goals, fidelities, seed=seed, peer=method, python=python))
            return peers[0]
        if method.startswith("optuna-"):
            return OptunaStrategy(space, goals, fidelities, seed=seed, sampler=method.removeprefix("optuna-"))
        if method.startswith("sartor"):
            features = features_of(short, folder, method == "sartor")
            return find("strategies", "bayesian").load()(space, goals, fidelities, seed=seed, features=features)
        return find("strategies", method).load()(space, goals, fidelities, seed=seed)

    if method.startswith("sartor"):
        features = features_of(short, folder, method == "sartor")
        _ = features.groups, features.promising
    began = _cpu_s()
    try:
        done: Simulation = simulate(table, make, queries, seed, protocol, at=[q for q in AT if q <= queries])
    except PeerError as error:
        none = (math.nan,) * len(AT)
        return Result(short, protocol, method, seed, none, none, math.inf, math.nan, str(error))
    finally:
        for peer in peers:
            peer.close()
    observed = tuple(done.regret_at(q) if q <= queries else math.nan for q in AT)
    recommended = tuple(done.recommended.get(q, math.nan) for q in AT)
    return Result(short, protocol, method, seed, observed, recommended, done.queries_to(1e-9), _cpu_s() - began)


def _cpu_s() -> float:
    """Returns the CPU-seconds of this process and of those that it ended: a peer is one."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def ask_tell_ms(folder: str) -> float:
    """Returns the mean time of an ask and a tell between 900 and 1,100 trials on NAS-Bench-201."""
    table = table_of("c10", folder)
    fidelity = tuple(table.fidelities)[-1]
    strategy = find("strategies", "bayesian").load()(
        table.space, Goals((table.objective,)), [fidelity], features=features_of("c10", folder, True)
    )
    values, spent = table.observed(), 0.0
    for number in range(1100):
        began = time.process_time()
        proposal = strategy.ask(1)[0]
        asked = time.process_time()
        value = float(values[table.index(proposal.architecture)])
        trial = Trial(number, proposal, 0, "complete", {table.metric: value})
        told = time.process_time()
        strategy.tell([trial])
        if number >= 900:
            spent += time.process_time() - told + asked - began
    return spent / 200 * 1e3


# --- the table


def report(results: Sequence[Result]) -> dict[str, Any]:
    """Prints regrets by table, protocol and method; returns the figures of the last line."""
    figures: dict[str, Any] = {}
    print("\nregret: of the best observed after 25, 50, 100, 150 queries | of the recommended after 50, 100, 150")
    print(f"{'table':12s} {'protocol':8s} {'method':15s} seeds{'':58s}  optimum at  CPU-s")
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.table, result.protocol, result.method), []).append(result)
    for (table, protocol, method), runs in sorted(groups.items(), key=lambda item: _place(*item[0])):
        failed = [r for r in runs if r.failure]
        if failed:
            print(f"{table:12s} {protocol:8s} {method:15s} failed in {len(failed)} of {len(runs)}: {failed[0].failure}")
        found = [r for r in runs if not r.failure]
        if not found:
            continue
        observed = np.mean([r.observed for r in found], axis=0)
        recommended = np.mean([r.recommended for r in found], axis=0)
        optimum = statistics.median(r.optimum for r in found)
        seconds = statistics.mean(r.seconds for r in found)
        print(
            f"{table:12s} {protocol:8s} {method:15s} {len(found):5d}"
            + "".join(f"{value:8.4f}" for value in observed)
            + " |"
            + "".join(f"{value:8.4f}" for value in recommended[1:])
            + f"  {optimum:10.0f}  {seconds:5.1f}"
        )
        if table in ("c10", "c100", "in16"):
            for i, queries in enumerate(AT):
                if method == "sartor" and protocol == "clean" and queries in (50, 100):
                    figures[f"clean_{table}_regret_{queries}"] = _rounded(observed[i])
                if method == "sartor" and protocol == "noisy" and queries >= 50:
                    figures[f"noisy_{table}_regret_{queries}"] = _rounded(recommended[i])
                shown = ("optuna-tpe", "random", *PEERS)
                if table == "c100" and protocol == "noisy" and method in shown and queries >= 50:
                    figures[f"noisy_c100_regret_{queries}_{method.replace('-', '_')}"] = _rounded(observed[i])
            if method == "sartor" and protocol == "clean":
                figures[f"median_queries_to_optimum_{table}"] = optimum if math.isfinite(optimum) else None
        if table == "nasbench101" and method == "sartor":
            figures["nasbench101_regret_150"] = _rounded(observed[3] * 100)
    ratios = []
    for table, protocol in dict.fromkeys((r.table, r.protocol) for r in results):
        regrets = {method: _at_100(results, table, protocol, method) for _, _, method in groups}
        means = {method: float(np.mean(values)) for method, values in regrets.items() if values}
        peers = [value for method, value in means.items() if not method.startswith("sartor")]
        if "sartor" in means and peers and min(peers) > 0 and math.isfinite(means["sartor"]):
            ratios.append(means["sartor"] / min(peers))
    figures["mean_regret_ratio_best_peer_100"] = _rounded(statistics.mean(ratios)) if ratios else None
    return figures


def _place(table: str, protocol: str, method: str) -> tuple[int, str, int]:
    return list(TABLES).index(table), protocol, (*METHODS, *PEERS, *MORE).index(method)


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _at_100(results: Sequence[Result], *of: str) -> list[float]:
    return [r.observed[2] for r in results if (r.table, r.protocol, r.method) == of and not r.failure]


def plot(results: Sequence[Result], path: Path) -> None:
    """Saves a bar a method for each table: mean regret of the best observed after 100 queries, with standard error."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = list(dict.fromkeys((r.table, r.protocol) for r in results))
    methods = [m for m in (*METHODS, *PEERS, *MORE) if any(r.method == m for r in results)]
    figure, axes = plt.subplots(1, len(shown), figsize=(2.6 * len(shown), 3.2), constrained_layout=True, squeeze=False)
    for axis, (table, protocol) in zip(axes[0], shown, strict=True):
        for i, method in enumerate(methods):
            values = _at_100(results, table, protocol, method)
            if values:
                axis.bar(i, np.mean(values), yerr=np.std(values) / np.sqrt(len(values)), color=f"C{i}", label=method)
        axis.set_title(f"{table}, {protocol}", fontsize=9)
        axis.set_xticks([])
    axes[0][0].set_ylabel("regret after 100 queries")
    handles, labels = axes[0][0].get_legend_handles_labels()
    # Two names fit below a table.
    ncols = min(len(methods), 2 * len(shown))
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default="../shared/data/nas", metavar="DIR", help="folder of the published tables")
    parser.add_argument("--quick", action="store_true", help="two seeds and tables: shows that it works")
    parser.add_argument("--seeds", type=int, help="how many (30; 2 when quick)")
    parser.add_argument("--first-seed", type=int, default=0, help="others than those reported, to tune on")
    parser.add_argument("--only", nargs="+", choices=list(TABLES), help="of the tables")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *PEERS, *MORE), default=None)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of an environment that has NePS and Syne Tune")
    parser.add_argument("--queries", type=int, help="of each run; by table: 100 or 150")
    parser.add_argument("--protocol", choices=("clean", "noisy"), help="that alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time (one a core)")
    parser.add_argument("--plot", type=Path, default=Path("tabular.png"))
    arguments = parser.parse_args()
    quick = arguments.quick
    if quick:
        arguments.queries = 50
    num_seeds = arguments.seeds or (2 if quick else 30)
    seeds = range(arguments.first_seed, arguments.first_seed + num_seeds)
    names = arguments.only or (list(QUICK) if quick else list(TABLES))
    all_methods = METHODS if arguments.peers is None else (*METHODS, *PEERS)
    methods = arguments.methods or (("sartor", "random", "evolution", "optuna-tpe") if quick else all_methods)
    if arguments.peers is None and set(methods) & set(PEERS):
        parser.error(f"{' and '.join(PEERS)} need --peers PYTHON: an environment that has them")
    jobs = [
        (name, arguments.table, protocol, method, seed, arguments.queries or TABLES[name][3], arguments.peers)
        for name in names
        for protocol in (QUICK.get(name, ("clean",)) if quick else TABLES[name][2])
        if arguments.protocol in (None, protocol)
        for method in methods
        for seed in seeds
    ]
    for name, value in environment().items():
        print(f"{name}: {value}")
    print(f"{len(jobs)} runs, {arguments.jobs} at once", flush=True)
    results: list[Result] = []
    with concurrent.futures.ProcessPoolExecutor(
        arguments.jobs, multiprocessing.get_context("spawn"), die_with, (os.getpid(),)
    ) as pool:
        futures = [pool.submit(run, *job) for job in jobs]
        for i, future in enumerate(concurrent.futures.as_completed(futures), 1):
            results.append(future.result())
            if i % 50 == 0:
                print(f"  {i} of {len(futures)}", flush=True)
    figures = report(results)
    if not quick:
        figures["ask_tell_ms_1000"] = round(ask_tell_ms(arguments.table), 2)
        plot(results, arguments.plot)
        print(f"saved {arguments.plot}")
    print(json.dumps({**figures, "seeds": num_seeds}))
    return 0


if __name__ == "__main__":
    exit_with(main)
