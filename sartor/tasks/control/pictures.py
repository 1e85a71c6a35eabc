"""Pictures of control: returns, an episode as it went, how a changed world is borne, the circuit and its neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sartor.pictures import Lines, Picture, Table, Wires
from sartor.task import Predictions
from sartor.tasks.control.metrics import imitation_error, normalised
from sartor.tasks.control.network import Circuit, Deployed, standardised

if TYPE_CHECKING:
    from sartor.tasks.control.data import Part
    from sartor.tasks.control.task import Control

NUM_TRIED = 10
"""Episodes in each changed world, and in which neurons are watched."""
NUM_HELD = 4
"""Episodes in which each neuron is held, all of them at once."""
MOST_POINTS = 400
FEW = 3
"""Steps by which a neuron may be behind what it follows."""
FEWEST, STILL, CLEARLY = 10, 1e-6, 0.02
"""Steps that a correlation needs; the deviation below which something does not move; by how much one correlation must
be larger than another."""


def shown(task: Control, predictions: Predictions) -> list[Picture]:
    """Returns returns beside the expert's and random ones, and one episode as it went."""
    found: list[Picture] = []
    if "episode_return" in predictions:
        own, random = predictions["episode_return"], predictions["random_return"]
        rows = [("this network", own), ("random actions", random)]
        expert = predictions.get("expert_return")
        if expert is not None:
            rows.insert(1, ("the expert", expert))
        header = ("policy", "mean return", "least", "median", "most")
        table = tuple(
            (name, *(f"{value:.1f}" for value in (v.mean(), v.min(), np.median(v), v.max()))) for name, v in rows
        )
        found.append(Table(table, header, f"Returns of {len(own)} episodes"))
        ordered = np.stack([np.sort(values) for _, values in rows])
        found.append(
            Lines(
                np.arange(1, len(own) + 1), ordered, tuple(name for name, _ in rows), "episodes, the worst first",
                "return", "Return of each episode",
            )
        )  # fmt: skip
        found += _episode(task, predictions)
    if "action_error" in predictions:
        error = imitation_error(predictions)
        text = f"{error:.1%} of the choices differ" if task.actions.discrete else f"{error:.3f} half ranges off"
        found.append(
            Table((("steps", f"{len(predictions['action_error']):,}"), ("this network", text)),
                  ("imitation", "of demonstrations"), "How well it imitates")
        )  # fmt: skip
    return found


def _episode(task: Control, predictions: Predictions) -> list[Picture]:
    observation, action = predictions["observation"], predictions["action"]
    every = -(-len(observation) // MOST_POINTS)
    time = np.arange(0, len(observation), every)
    spread = task.spread
    names = tuple(f"{name} (x {1 / s:.2g})" for name, s in zip(task.names, spread, strict=True))
    values = action[:, None] if task.actions.discrete else action
    done = "number of the choice" if task.actions.discrete else "action"
    labels = ("choice",) if task.actions.discrete else task.actions.names
    return [
        Lines(
            time, (observation / spread)[::every].T, names, "step", "standard deviations",
            "What is observed in the first episode",
        ),
        Lines(time, values[::every].T.astype(np.float64), labels, "step", done, "What the network does in it"),
    ]  # fmt: skip


def inspected(task: Control, deployed: Deployed, part: Part) -> list[Picture]:
    """Returns how a changed world is borne, and the circuit with the role of each neuron."""
    if task.environment is None:
        return []
    found: list[Picture] = [_robustness(task, deployed, part)]
    if isinstance(deployed.policy, Circuit):
        found += circuit_pictures(task, deployed, part.seeds)
    return found


def _robustness(task: Control, deployed: Deployed, part: Part) -> Table:
    assert task.environment is not None
    seeds = part.seeds[:NUM_TRIED]
    rows = []
    for shift in task.environment.shifts:
        own = float(task.act(deployed, seeds, shift).returns.mean())
        expert = task.expert_returns(seeds, shift)
        row: tuple[str, ...] = (shift.name, f"{own:.1f}")
        if expert is not None and part.expert is not None:
            # Both in the scale of the world of the training, so that what is lost is seen.
            share = normalised(own, part.expert[:NUM_TRIED], part.random[:NUM_TRIED])
            row = (*row, f"{share:.2f}", f"{expert.mean():.1f}")
        rows.append(row)
    header: tuple[str, ...] = ("world", "return")
    if part.expert is not None:
        header = (*header, "between random (0) and expert (1)", "the expert's there")
    title = (
        f"In a changed world: mean of {len(seeds)} validation episodes; noise and bias in standard deviations of the"
        " observations"
    )
    return Table(tuple(rows), header, title)


# --- circuits


@dataclass(frozen=True)
class Role:
    """What a neuron does, found from episodes.

    Attributes:
        follows: The observation or action that it goes along with most.
        correlation: With that, of its potential some steps later or before.
        lag: Steps by which it is behind; below 0 it is ahead.
        activity: Standard deviation of its potential.
        loss: By how much the return is less when it is held at its mean.
    """

    follows: str
    correlation: float
    lag: int
    activity: float
    loss: float


def roles(task: Control, deployed: Deployed, seeds: np.ndarray) -> list[Role]:
    """Returns what each neuron of a circuit does, in the order of the wiring.

    Args:
        task: In whose environment the circuit acts.
        deployed: The circuit.
        seeds: Of the episodes in which it is watched.
    """
    policy = deployed.policy
    assert isinstance(policy, Circuit) and task.environment is not None
    seeds = seeds[:NUM_TRIED]
    states, seen, outputs, alive = _watched(task, deployed, seeds)
    values = np.concatenate((seen, outputs), 2)
    names = [*task.names, *(f"output {name!r}" for name in task.actions.names)]
    potentials = states[alive]
    mean, steps = potentials.mean(0), states.shape[1]
    found = []
    for neuron, lost in enumerate(_losses(task, deployed, seeds[:NUM_HELD], mean)):
        best = (0, 0, 0.0)
        for lag in sorted(range(-FEW, FEW + 1), key=abs):
            late, early = max(0, lag), max(0, -lag)
            both = alive[:, late : steps - early] & alive[:, early : steps - late]
            own = states[:, late : steps - early, neuron][both]
            if len(own) < FEWEST or own.std() < STILL:
                continue
            for k in range(values.shape[2]):
                other = values[:, early : steps - late, k][both]
                if other.std() > STILL:
                    r = float(np.corrcoef(own, other)[0, 1])
                    # A lag, or what the circuit itself makes, must explain clearly more than the simplest.
                    if abs(r) > abs(best[2]) + (CLEARLY if lag or k >= len(task.names) else 0.0):
                        best = (k, lag, r)
        found.append(Role(names[best[0]], best[2], best[1], float(potentials[:, neuron].std()), lost))
    return found


def _watched(
    task: Control, deployed: Deployed, seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns potentials, observations and outputs ``(n, steps, .)`` of the circuit, and where episodes are alive."""
    assert task.environment is not None
    state = torch.zeros(len(seeds), deployed.policy.state_size)
    states, outputs = [], []

    def act(observation: np.ndarray) -> np.ndarray:
        nonlocal state
        out, state = deployed.policy.step(
            standardised(torch.from_numpy(observation), deployed.mean, deployed.spread), state
        )
        states.append(state.numpy())
        outputs.append(out.numpy())
        return _done(task, deployed, out)

    with torch.no_grad():
        episodes = task.environment.roll_out(act, seeds)
    return np.stack(states, 1), episodes.observation, np.stack(outputs, 1), episodes.alive


def _done(task: Control, deployed: Deployed, outputs: torch.Tensor) -> np.ndarray:
    action: np.ndarray = (outputs.argmax(-1) if task.actions.discrete else deployed.action(outputs)).numpy()
    return action


def _losses(task: Control, deployed: Deployed, seeds: np.ndarray, mean: np.ndarray) -> list[float]:
    """Returns by how much less the return is when each neuron is held at its mean; all of them are tried at once."""
    policy = deployed.policy
    assert isinstance(policy, Circuit) and task.environment is not None
    num, each = policy.state_size, len(seeds)
    held = torch.full(((num + 1) * each, num), torch.nan)
    for neuron in range(num):
        held[(neuron + 1) * each : (neuron + 2) * each, neuron] = float(mean[neuron])
    state = torch.zeros(len(held), num)

    def act(observation: np.ndarray) -> np.ndarray:
        nonlocal state
        x = standardised(torch.from_numpy(observation), deployed.mean, deployed.spread)
        outputs, state = policy.step(x, state, held)
        return _done(task, deployed, outputs)

    with torch.no_grad():
        returns = task.environment.roll_out(act, np.tile(seeds, num + 1)).returns.reshape(num + 1, each).mean(1)
    return [float(returns[0] - value) for value in returns[1:]]


def circuit_pictures(task: Control, deployed: Deployed, seeds: np.ndarray) -> list[Picture]:
    """Returns the drawn circuit, and a table of its neurons."""
    policy = deployed.policy
    assert isinstance(policy, Circuit)
    wiring = policy.wiring
    sensory, internal = (each.numpy() for each in policy.cell.strengths())
    found = roles(task, deployed, seeds)
    states_names = []
    layer = [0] * wiring.num_inputs
    for number, (name, size) in enumerate(wiring.layers):
        short = task.actions.names if name == "motor" else tuple(f"{name} {i + 1}" for i in range(size))
        states_names += [f"motor: {each}" if name == "motor" else each for each in short]
        layer += [number + 1] * size
    strength = np.concatenate((sensory, internal))
    exists = np.concatenate((wiring.sensory, wiring.internal)) != 0
    source, target = np.nonzero(exists)
    tips = [_told(role) for role in found]
    activity = np.array([1.0] * wiring.num_inputs + [role.activity for role in found])
    circuit = Wires(
        layer=np.array(layer),
        activity=activity / max(float(activity[wiring.num_inputs :].max()), 1e-9),
        source=source,
        target=target + wiring.num_inputs,
        weight=strength[source, target].astype(np.float64),
        names=(*task.names, *states_names),
        tips=(*("observed" for _ in task.names), *tips),
        layers=("sensory", *(name for name, _ in wiring.layers)),
        title=(
            f"The circuit: {wiring.num_neurons} neurons, {wiring.num_synapses} synapses; whole lines excite, broken"
            " ones inhibit, a filled neuron moves much"
        ),
    )
    rows = [
        (name, role.follows, f"{role.correlation:.2f}", str(role.lag), f"{role.activity:.3f}", f"{role.loss:.1f}")
        for name, role in zip(states_names, found, strict=True)
    ]
    header = ("neuron", "goes along with", "correlation", "steps behind", "activity", "return lost without it")
    title = (
        f"What each neuron does, in {min(NUM_TRIED, len(seeds))} validation episodes; without it: held at its mean, in"
        f" {min(NUM_HELD, len(seeds))} of them"
    )
    return [circuit, Table(tuple(rows), header, title)]


def _told(role: Role) -> str:
    behind = f", {role.lag} steps behind" if role.lag > 0 else f", {-role.lag} steps ahead" if role.lag < 0 else ""
    return (
        f"goes along with {role.follows} (r = {role.correlation:.2f}{behind}); activity {role.activity:.3f};"
        f" return lost without it {role.loss:.1f}"
    )
