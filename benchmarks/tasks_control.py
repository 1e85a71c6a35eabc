"""Small circuits against LSTMs and perceptrons of their size, of ten and of a hundred times it, in worlds old and new.

    python benchmarks/tasks_control.py           # about an hour and a half on one core
    python benchmarks/tasks_control.py --quick   # minutes: one seed, few steps; decides nothing

**Setups.** Learning from the classical controllers, by imitation of 40 episodes: the pendulum as it is; and by DAgger:
the pendulum without its turning speed and the cart-pole without both velocities, where a policy must remember (the
controllers see everything).

**Networks.** The neural circuit policy of 12 inter and 6 command neurons with closed-form cells, 19 or 20 neurons in
all, the same with liquid cells, an LSTM and a perceptron over the last four observations with as many parameters as
the first (as near as their widths allow), with ten times and (LSTM) a hundred times as many. Synapses that are not
there are no parameters. Learning rates are each kind's best of two on validation, seed 0.

**Protocol.** For each seed (of initial weights, of order and of the architectures drawn) all are trained for
``--steps`` and tested in 20 episodes that neither training nor choice saw, as they are and in each changed world of the
report: noise of 0.3 and 1 and a bias of 0.5 standard deviations, observations 2 and 5 steps late, other physics. The
search trains ``--trials`` architectures with no more parameters than the circuit and takes the best on validation.

**Score.** Where a mean return lies between that of random actions, 0, and the expert's in the same episodes of the
unchanged world, 1: returns of the pendulum are negative, and their ratio would say nothing. ``ncp_return_ratio_*`` is
the circuit's mean score over seeds and setups over that of the LSTM with ten times its parameters. ``cell_time_ratio``
is of processor time forward and backward, batch 32, length 32, 8 inputs, the 19 neurons over ``nn.LSTM`` of 19.

Results: see ``RESULTS``, negative ones included.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from sartor._environment import environment
from sartor.contracts import Candidate, NullContext
from sartor.data import Splits
from sartor.estimators.training import Training
from sartor.nets import ClosedFormCircuit, LiquidCircuit, circuit_wiring
from sartor.space import OneOf, Space
from sartor.tasks.control.environments import CLEAN
from sartor.tasks.control.metrics import normalised
from sartor.tasks.control.network import Feedforward, Gated, neural_circuit
from sartor.tasks.control.task import Control
from sartor.trials import Fidelity

RESULTS = """
27 November 2026, Intel Xeon, 2 virtual cores beside much other work, 5 seeds, 1,000 steps, 4 architectures a search,
the three setups run apart and joined (--setups, --join). Scores, 0 random and 1 the controller: in the world of the
training, and the mean of the six changed worlds.

                                   pendulum        without speed   cart-pole without velocities
    circuit, 19 or 20 neurons      1.001   .616    .581   .301     1.000   .673
    LSTM of its size                .973   .596    .595   .316     1.000   .688
    LSTM x10                       1.000   .733    .983   .525     1.000   .772
    LSTM x100                      1.000   .712    .989   .531     1.000   .807
    perceptron of its size          .998   .613    .979   .444     1.000   .736
    perceptron x10                 1.000   .600    .986   .428     1.000   .697
    circuit, liquid, 3 unfolds      .094   .022    .206   .176      .092   .065
    search, at most its size        .998   .598    .511   .305     1.000   .670

ncp_return_ratio_clean .866 (1.001, .591, 1.000), ncp_return_ratio_shifted .783 (.840, .574, .872),
search_gain_over_baseline -.024 (-.004, -.069, .000). cell_time_ratio 2.1 (liquid 5.2 with 3 unfolds, 9.3 with 6; ncps
1.0.1 on the same machine about 30 closed-form, 87 liquid).

So the aim, 95% of the LSTM with ten times the parameters, is met on the pendulum as it is and on the cart-pole, and
missed by far on the pendulum without its speed, where an LSTM of the circuit's size does no better and a perceptron
over four observations of that size does. **Small circuits are not more robust**: under shifts they do as LSTMs of
their size do, and larger LSTMs are ahead in all three. Liquid cells did not learn in 1,000 steps at rates of .005 and
.01; others were not tried. The search found nothing better than the published circuit: of four architectures of at
most its size it takes the best on validation, which on the pendulum without its speed was no perceptron in four seeds
of five.
"""

SETUPS = {
    "pendulum": ("Pendulum-v1", "", "imitation"),
    "pendulum without speed": ("Pendulum-v1", "turning speed", "dagger"),
    "cart-pole without velocities": ("CartPole-v1", "velocity,turning speed", "dagger"),
}
RATES = (5e-3, 1e-2)
CIRCUIT, RIVAL = "circuit", "LSTM x10"
MOST_DRAWS = 200
Scores = dict[str, dict[str, dict[str, float]]]
"""Setup -> network -> world -> mean over seeds."""


def num_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def networks(task: Control) -> dict[str, Callable[[], nn.Module]]:
    """Returns name -> maker of a network."""
    sizes = len(task.names), len(task.actions.names)
    own = num_params(neural_circuit(*sizes))

    def wide(make: Callable[..., nn.Module], times: int) -> Callable[[], nn.Module]:
        widths = range(1, 400)
        return partial(make, hidden=min(widths, key=lambda width: abs(num_params(make(hidden=width)) - times * own)))

    lstm = partial(Gated, *sizes, "lstm")
    perceptron = partial(Feedforward, *sizes, frames=4)
    return {
        CIRCUIT: partial(neural_circuit, *sizes),
        RIVAL: wide(lstm, 10),
        "LSTM x1": wide(lstm, 1),
        "perceptron x1": wide(perceptron, 1),
        "perceptron x10": wide(perceptron, 10),
        "LSTM x100": wide(lstm, 100),
        "circuit, liquid": partial(neural_circuit, *sizes, partial(LiquidCircuit, unfolds=3)),
    }


def trained(
    task: Control, space: Space, architecture: Any, *, steps: int, seed: int
) -> tuple[nn.Module, dict[str, float]]:
    """Returns the network and its metrics on validation."""
    splits, fidelity = task.data(), Fidelity(steps, "steps")
    candidate = Candidate(task, space, architecture, seed)
    estimator = Training(task, space, Splits(splits.train, splits.validation), (fidelity,))
    metrics = estimator.estimate(candidate, fidelity=fidelity, seed=seed, context=NullContext())
    return candidate.network, dict(metrics)


def goodness(metrics: dict[str, float]) -> tuple[float, float]:
    """Returns what is compared on validation: the return, and where that is the same how well it imitates."""
    return round(metrics["normalised_return"], 3), -metrics["imitation_error"]


def tested(task: Control, network: nn.Module, part: Any) -> dict[str, float]:
    """Returns the score in each world."""
    assert task.environment is not None
    deployed = task.deploy(network, None).eval()
    return {
        shift.name.partition(":")[0]: normalised(
            float(task.act(deployed, part.seeds, shift).returns.mean()), part.expert, part.random
        )
        for shift in task.environment.shifts
    }


def measure(name: str, *, seeds: int, trials: int, steps: int) -> dict[str, dict[str, list[float]]]:
    """Returns network -> world -> scores of the seeds on the test part; ``search`` is a network too."""
    source, hide, learning = SETUPS[name]
    task = Control(source, hide=hide, learning=learning)
    sealed = task.data().test
    assert sealed is not None
    test = sealed.open()
    made = networks(task)
    limit = num_params(made[CIRCUIT]())
    found: dict[str, dict[str, list[float]]] = {}
    for kind, make in made.items():
        own = Space({"network": partial(make), "recipe": {"learning_rate": OneOf(*RATES)}})
        choices = {rate: own.architecture({"recipe.learning_rate": rate}) for rate in RATES}
        first = {rate: trained(task, own, each, steps=steps, seed=0) for rate, each in choices.items()}
        rate = max(RATES, key=lambda rate: goodness(first[rate][1]))
        started = time.process_time()
        for seed in range(seeds):
            network = first[rate][0] if seed == 0 else trained(task, own, choices[rate], steps=steps, seed=seed)[0]
            for world, score in tested(task, network, test).items():
                found.setdefault(kind, {}).setdefault(world, []).append(score)
        spent = time.process_time() - started
        report(name, f"{kind} ({num_params(make())} parameters, rate {rate:g}, {spent:.0f} s)", found[kind])
    space = task.space()
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        drawn = (space.sample_choices(rng) for _ in range(MOST_DRAWS))
        legal = [each for each in drawn if num_params(space.build(each)) <= limit][:trials]
        runs = [(each, *trained(task, space, each, steps=steps, seed=seed)) for each in legal]
        best = max(runs, key=lambda run: goodness(run[2]))
        print(f"  {name}: seed {seed} found {best[0]}", flush=True)
        for world, score in tested(task, best[1], test).items():
            found.setdefault("search", {}).setdefault(world, []).append(score)
    report(name, f"search (at most {limit} parameters)", found["search"])
    return found


def report(setup: str, kind: str, scores: dict[str, list[float]]) -> None:
    row = ", ".join(f"{world} {np.mean(each):.3f} ({np.std(each):.3f})" for world, each in scores.items())
    print(f"  {setup}: {kind}: {row}", flush=True)


def cell_times() -> dict[str, float]:
    """Returns processor time of cells over that of ``nn.LSTM``; the least of many, as the machine may be busy."""
    torch.manual_seed(0)
    x, start = torch.randn(32, 32, 8), torch.zeros(32, 19)
    lstm, wiring = nn.LSTM(8, 19), circuit_wiring(8, 1)
    cells = {
        "closed-form": ClosedFormCircuit(wiring), "liquid, 3 unfolds": LiquidCircuit(wiring, 3),
        "liquid, 6 unfolds": LiquidCircuit(wiring, 6),
    }  # fmt: skip
    runs: dict[str, Callable[[], torch.Tensor]] = {"lstm": lambda: lstm(x)[0]}
    runs |= {name: partial(cell, x, start) for name, cell in cells.items()}
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(60):
        for name, run in runs.items():
            started = time.process_time()
            run().sum().backward()  # type: ignore[no-untyped-call]
            least[name] = min(least[name], time.process_time() - started)
    return {name: round(least[name] / least["lstm"], 2) for name in cells} | {"lstm_ms": round(1e3 * least["lstm"], 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=4, help="architectures of a search")
    parser.add_argument("--steps", type=int, default=1000, help="of a training")
    parser.add_argument("--setups", nargs="+", choices=tuple(SETUPS), default=tuple(SETUPS))
    parser.add_argument("--join", nargs="+", default=(), metavar="LOG", help="of single setups, to be put together")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    seeds, trials, steps = (1, 2, 100) if arguments.quick else (arguments.seeds, arguments.trials, arguments.steps)
    torch.set_num_threads(1)
    print(json.dumps(environment()))
    times = cell_times()
    print(f"cells, processor time over nn.LSTM's: {times}", flush=True)
    table: Scores = {}
    for log in arguments.join:
        table |= json.loads(Path(log).read_text().splitlines()[-1])["scores"]
    for name in arguments.setups if not arguments.join else ():
        found = measure(name, seeds=seeds, trials=trials, steps=steps)
        table[name] = {
            kind: {world: round(float(np.mean(each)), 4) for world, each in worlds.items()}
            for kind, worlds in found.items()
        }

    def mean(kind: str, *, shifted: bool) -> float:
        return float(np.mean([
            score
            for found in table.values()
            for world, score in found[kind].items()
            if (world != CLEAN.name) == shifted
        ]))  # fmt: skip

    print(
        json.dumps(
            {
                "ncp_return_ratio_clean": round(mean(CIRCUIT, shifted=False) / mean(RIVAL, shifted=False), 4),
                "ncp_return_ratio_shifted": round(mean(CIRCUIT, shifted=True) / mean(RIVAL, shifted=True), 4),
                "search_gain_over_baseline": round(mean("search", shifted=False) - mean(CIRCUIT, shifted=False), 4),
                "cell_time_ratio": times["closed-form"],
                "cell_times": times,
                "scores": table,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
