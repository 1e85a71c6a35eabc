"""Policies in environments: controllers, windows, shifts, rewards, roles of neurons, data as people have them."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra control")

from sartor import pictures  # noqa: E402
from sartor._export import as_module  # noqa: E402
from sartor.contracts import Candidate, NullContext  # noqa: E402
from sartor.errors import DataError, InputError, MissingExtraError  # noqa: E402
from sartor.estimators.training import Training, scores  # noqa: E402
from sartor.tasks.control import SPEC  # noqa: E402
from sartor.tasks.control.classic import CLASSICS, classic_of  # noqa: E402
from sartor.tasks.control.data import Demonstrations  # noqa: E402
from sartor.tasks.control.environments import CLEAN, Actions, Environment, Episodes, Shift, by_row  # noqa: E402
from sartor.tasks.control.evolution import Evolution  # noqa: E402
from sartor.tasks.control.learning import TRACE, advantages  # noqa: E402
from sartor.tasks.control.network import Circuit, Feedforward, Gated, Policy, neural_circuit, random_circuit  # noqa: E402
from sartor.tasks.control.pictures import roles  # noqa: E402
from sartor.tasks.control.task import Control, acting  # noqa: E402
from sartor.testing.tasks import check_task  # noqa: E402
from sartor.training import Recipe, Step  # noqa: E402
from sartor.trials import Fidelity  # noqa: E402

QUICK = {"demonstrations": 6, "evaluations": 3}


@pytest.fixture(scope="module")
def pendulum() -> Control:
    return Control("Pendulum-v1", **QUICK)


@pytest.mark.parametrize(
    ("name", "learning"),
    [
        ("Pendulum-v1", "imitation"),
        ("Pendulum-v1", "dagger"),
        ("CartPole-v1", "reinforcement"),
        ("Pendulum-v1", "fine-tuning"),
        ("CartPole-v1", "evolution"),
    ],
)
def test_the_task_keeps_what_every_task_promises(name: str, learning: str) -> None:
    check_task(Control(name, learning=learning, demonstrations=4, evaluations=2), spec=SPEC, num_architectures=3)


# --- environments and their controllers


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("CartPole-v1", 500.0),
        ("Pendulum-v1", -200.0),
        ("Acrobot-v1", -95.0),
        ("MountainCar-v0", -130.0),
        ("MountainCarContinuous-v0", 96.0),
    ],
)
def test_controllers_are_good(name: str, least: float) -> None:
    environment = Environment(name)
    assert environment.classic is not None
    control = by_row(environment.classic.controller(), environment.actions)
    assert environment.roll_out(control, np.arange(8)).returns.mean() >= least


def test_every_classic_names_what_is_observed_and_done_and_changes_its_physics() -> None:
    for name in CLASSICS:
        known = max(each for each in gymnasium.envs.registry if each.startswith(f"{name}-v"))
        environment = Environment(known)
        assert environment.names == CLASSICS[name].observations
        assert environment.actions.names == CLASSICS[name].actions
        act = by_row(environment.classic.controller(), environment.actions)  # type: ignore[union-attr]
        clean, changed = (
            environment.roll_out(act, np.arange(1), shift=shift) for shift in (CLEAN, Shift("p", physics=True))
        )
        assert not np.array_equal(clean.observation[:, :40], changed.observation[:, :40])
    assert classic_of("Walker2d-v5") is None


def test_an_episode_is_what_gymnasium_gives() -> None:
    environment = Environment("CartPole-v1")
    episodes = environment.roll_out(lambda observation: np.ones(len(observation), np.int64), np.array([3, 4]))
    for row, seed in enumerate((3, 4)):
        env = gymnasium.make("CartPole-v1")
        seen, _ = env.reset(seed=seed)
        steps, done = 0, False
        while not done:
            np.testing.assert_array_equal(episodes.observation[row, steps], seen)
            seen, _, done, _, _ = env.step(1)
            steps += 1
        assert episodes.alive[row].sum() == steps == episodes.returns[row]
        assert episodes.terminated[row]
        np.testing.assert_array_equal(episodes.last[row], seen)


def test_shifts_are_what_they_say() -> None:
    environment = Environment("Pendulum-v1")
    still = np.zeros((3, 1), np.float32)
    scale = np.array([1.0, 2.0, 3.0], np.float32)
    seeds = np.arange(3)

    def seen(shift: Shift) -> np.ndarray:
        return environment.roll_out(lambda observation: still, seeds, shift=shift, scale=scale).observation

    clean = seen(CLEAN)
    late = seen(Shift("late", delay=3))
    np.testing.assert_array_equal(late[:, 3:], clean[:, :-3])
    np.testing.assert_array_equal(late[:, :3], np.repeat(clean[:, :1], 3, 1))
    moved = seen(Shift("bias", bias=0.5)) - clean
    np.testing.assert_allclose(np.abs(moved), np.broadcast_to(0.5 * scale, moved.shape), rtol=1e-4)
    noise = (seen(Shift("noise", noise=0.2)) - clean) / scale
    assert noise.std() == pytest.approx(0.2, rel=0.1) and abs(noise.mean()) < 0.02


def test_what_is_hidden_is_not_seen() -> None:
    environment = Environment("CartPole-v1", hide="velocity, 3")
    assert environment.names == ("position", "angle")
    task = Control("CartPole-v1", hide="velocity,turning speed", **QUICK)
    assert task.data().train.windows.columns["observation"].shape[2] == 2
    # The expert sees all.
    assert (task.data().validation.expert == 500).all()


def test_what_gymnasium_says_of_an_environment_is_a_note() -> None:
    assert any("CartPole-v0 is out of date" in note for note in Control("CartPole-v0", **QUICK).data().notes)


# --- data and learning


def test_windows_hold_every_step_and_fill_the_memory_first() -> None:
    steps = np.arange(50, dtype=np.float32)
    number = steps.astype(np.int64)
    rows = Demonstrations((steps[:, None], steps[:5, None]), (number, number[:5])).windows(16)
    seen, weight = rows.columns["observation"][..., 0].numpy(), rows.columns["weight"].numpy()
    assert seen.shape == (len(rows), 16)
    assert set(seen[weight > 0]) == set(steps) and weight[-1].tolist() == [1] * 5 + [0] * 11
    assert weight[0].all() and weight[1].tolist() == [0] * 4 + [1] * 12
    assert np.array_equal(rows.columns["action"].numpy()[weight > 0], seen[weight > 0])


def test_advantages_are_sums_of_errors() -> None:
    rng = np.random.default_rng(0)
    reward, value, discount = rng.normal(size=(3, 6)), rng.normal(size=(3, 6)), 0.9
    behind, lengths = np.array([0.0, 1.5, -0.5]), [4, 6, 1]
    alive = np.arange(6) < np.array(lengths)[:, None]
    found = advantages(np.where(alive, reward, 0), value, behind, alive, discount)
    for i, length in enumerate(lengths):
        after = [*value[i, 1:length], behind[i]]
        errors = [reward[i, t] + discount * after[t] - value[i, t] for t in range(length)]
        for t in range(length):
            expected = sum((discount * TRACE) ** (k - t) * errors[k] for k in range(t, length))
            assert found[i, t] == pytest.approx(expected)
        assert not found[i, length:].any()


def trained(task: Control, architecture, steps: int):
    fidelity = Fidelity(steps, "steps")
    candidate = Candidate(task, task.space(), architecture)
    estimator = Training(task, task.space(), task.data(), [fidelity])
    return candidate, estimator.estimate(candidate, fidelity=fidelity, seed=0, context=NullContext())


@pytest.mark.parametrize("cell", [{"cell": "closed_form"}, {"cell": "liquid", "cell.unfolds": 3}])
def test_a_circuit_learns_to_balance_by_imitation(cell: dict[str, object]) -> None:
    task = Control("CartPole-v1", demonstrations=10, evaluations=4)
    own = {f"network.{name}": value for name, value in cell.items()}
    _, metrics = trained(task, task.space().architecture({**task.baseline(), **own}), 150)
    assert metrics["normalised_return"] > 0.9 and metrics["imitation_error"] < 0.2


def test_a_circuit_learns_to_balance_from_rewards() -> None:
    task = Control("CartPole-v1", learning="reinforcement", evaluations=4)
    _, metrics = trained(task, task.baseline(), 144)
    assert metrics["return"] > 60


def test_a_network_evolves_to_balance_without_gradients() -> None:
    task = Control("CartPole-v1", learning="evolution", evaluations=4)
    rng = np.random.default_rng(0)
    perceptron = next(a for a in task.space().sample(rng, 200) if a["network"] == "perceptron")
    architecture = task.space().architecture({**perceptron, "recipe.learning_rate": 2e-2})
    _, metrics = trained(task, architecture, 10)
    assert metrics["return"] > 40


def test_a_generation_points_to_where_returns_rise() -> None:
    class Weight(Policy):
        def __init__(self) -> None:
            super().__init__(1, 1, 0)
            self.weight = nn.Parameter(torch.zeros(3))

        def step(self, x, state):
            return self.weight[:1].expand(len(x), 1), state

    class World:
        actions = Actions(("a",), np.array([-1.0], np.float32), np.array([1.0], np.float32))

        def roll_out(self, act, seeds):
            done = act(np.zeros((len(seeds), 1), np.float32))
            n = len(seeds)
            return Episodes(
                np.zeros((n, 1, 1)), done[:, None], done.astype(np.float64), np.ones((n, 1), bool),
                np.ones(n, bool), np.zeros((n, 1)),
            )  # fmt: skip

    learner = Evolution(World(), torch.zeros(1), torch.ones(1), 2.0)
    network, step = Weight(), Step(0, 1, 3, Recipe())
    batch = learner.batch(network, None, step)
    again = learner.batch(network, None, Step(0, 1, 3, Recipe()))
    assert torch.equal(batch["direction"], again["direction"])
    mean = sum(learner.batch(network, None, Step(i, 20, 3, Recipe()))["direction"] for i in range(20)) / 20
    assert mean[0] > 4 * mean[1:].abs().max()
    loss = learner.loss(network, batch, step)
    loss.backward()
    torch.testing.assert_close(network.weight.grad, -batch["direction"])
    assert loss.item() == pytest.approx(-float(batch["mean_return"])) and abs(loss.item()) < 0.05


@pytest.mark.parametrize(
    "policy",
    [
        neural_circuit(3, 2),
        random_circuit(3, 2),
        Gated(3, 2, "lstm", 5),
        Gated(3, 2, "gru", 5),
        Feedforward(3, 2, frames=1),
        Feedforward(3, 2, frames=3),
    ],
    ids=lambda policy: f"{type(policy).__name__}{policy.state_size}",
)
def test_steps_of_a_policy_are_its_sequence(policy) -> None:
    x, start = torch.randn(6, 4, 3), torch.randn(4, policy.state_size)
    if isinstance(policy, Feedforward):
        start = torch.zeros_like(start)
    outputs, last = policy(x, start)
    state = start
    for t in range(6):
        out, state = policy.step(x[t], state)
        torch.testing.assert_close(out, outputs[t])
    torch.testing.assert_close(state, last)


def test_policies_are_exported_with_their_state_and_scored_as_files(tmp_path: Path, pendulum: Control) -> None:
    onnx = pytest.importorskip("sartor.export.onnx")
    from sartor.registry import find

    space, baseline = pendulum.space(), pendulum.baseline()
    rate = {"recipe.learning_rate": 5e-3}
    kinds = [
        baseline,
        space.architecture({**baseline, "network.cell": "liquid", "network.cell.unfolds": 3}),
        space.architecture({"network": "lstm", "network.hidden": 8, **rate}),
        space.architecture(
            {"network": "perceptron", "network.hidden": 8, "network.depth": 1, "network.frames": 1, **rate}
        ),
    ]
    for i, architecture in enumerate(kinds):
        candidate = Candidate(pendulum, space, architecture)
        deployed = candidate.deployed.eval()
        path = tmp_path / f"{i}.onnx"
        onnx.export_onnx(deployed, candidate.inputs, path, description=pendulum.describe())
        file = as_module(find("exporters", "onnx").load().load(path), deployed, candidate.inputs)
        seeds = np.arange(2)
        by_file, by_torch = (
            pendulum.environment.roll_out(acting(module, 2, discrete=False), seeds).returns  # type: ignore[union-attr]
            for module in (file, deployed)
        )
        np.testing.assert_allclose(by_file, by_torch, rtol=1e-2)
    assert scores(pendulum, file, pendulum.data().validation)["return"] < 0


def test_roles_tell_what_a_neuron_follows_and_what_is_lost_without_it(pendulum: Control) -> None:
    network = neural_circuit(3, 1)
    with torch.no_grad():
        weight = network.cell.dense()
        place = network.cell.place.view(weight.shape[1:])
        network.cell.weight.zero_()
        # Inter neuron 0 is the turning speed, command 0 is it, the motor brakes by it; the others are cut off.
        target = int(np.flatnonzero(network.wiring.sensory[2])[0])
        command = int(np.flatnonzero(network.wiring.internal[target])[0])
        for source, into in ((2, target), (3 + target, command), (3 + command, 18)):
            network.cell.weight[1:, place[source, into]] = 0.3
        network.scale.fill_(-20.0)
    found = roles(pendulum, pendulum.deploy(network, None).eval(), np.arange(4))
    assert len(found) == network.wiring.num_neurons
    assert found[target].follows == "turning speed" and found[target].correlation > 0.9
    assert found[18].follows in ("output 'torque'", "turning speed")
    idle = next(i for i in range(12) if i != target)
    assert found[idle].loss == 0 and found[idle].activity < 1e-6
    assert found[target].loss == pytest.approx(found[command].loss, rel=0.3) and found[target].loss != 0


def test_the_report_has_the_circuit_and_the_changed_worlds(pendulum: Control) -> None:
    network = pendulum.build(pendulum.space(), pendulum.baseline())
    assert isinstance(network, Circuit)
    with torch.no_grad():
        shown = pendulum.inspect(pendulum.deploy(network, pendulum.baseline()).eval())
    circuit = next(picture for picture in shown if isinstance(picture, pictures.Wires))
    assert circuit.layers == ("sensory", "inter", "command", "motor") and len(circuit.names) == len(circuit.tips) == 22
    assert len(circuit.weight) == network.wiring.num_synapses
    worlds = next(picture for picture in shown if isinstance(picture, pictures.Table))
    assert [row[0] for row in worlds.rows][0] == "as in training" and worlds.rows[-1][0].startswith("physics")


# --- data as people have them


def write(path: Path, names: tuple[str, ...], rows) -> str:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
    return str(path)


NAMES = ("episode", "step", "observation_x", "observation_y", "observation_w", "action")


def rows_of(num: int = 12, length: int = 20) -> list[list[object]]:
    """Returns steps of a pendulum that is braked."""
    environment = Environment("Pendulum-v1")
    episodes = environment.roll_out(lambda seen: np.clip(-seen[:, 2:], -2, 2).astype(np.float32), np.arange(num))
    return [
        [f"e{i}", t, *map(float, episodes.observation[i, t]), float(episodes.action[i, t, 0])]
        for i in range(num)
        for t in range(length)
    ]


def test_demonstrations_are_read_from_a_file_and_scored_in_their_environment(tmp_path: Path) -> None:
    task = Control(write(tmp_path / "d.csv", NAMES, rows_of()), environment="Pendulum-v1", evaluations=2)
    assert task.names == NAMES[2:5] and not task.data().notes and task.primary == "return"
    splits = task.data()
    assert {name: len(ids) for name, ids in splits.ids.items()} == {"train": 8, "validation": 2, "test": 2}
    check_task(task, spec=SPEC, num_architectures=1)


def test_without_an_environment_imitation_is_the_score(tmp_path: Path) -> None:
    rows = [[*row[:5], "push" if float(row[5]) > 0 else "pull"] for row in rows_of()]  # type: ignore[arg-type]
    task = Control(write(tmp_path / "d.csv", NAMES, rows))
    assert task.primary == "imitation_error" and task.actions.names == ("pull", "push")
    check_task(task, spec=SPEC, num_architectures=1)


def test_demonstrations_in_parquet_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = dict(zip(NAMES, map(list, zip(*rows_of(), strict=True)), strict=True))
    parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    assert len(Control(str(tmp_path / "d.parquet")).data().train) > 0


def test_what_is_wrong_with_single_episodes_is_counted(tmp_path: Path) -> None:
    rows = rows_of(15)
    rows[3][5] = "nan"
    rows.append(["alone", 0, 0.1, 0.2, 0.3, 0.4])
    rows += [["copy", *row[1:]] for row in rows if row[0] == "e5"]
    rows[41], rows[42] = rows[42], rows[41]
    task = Control(write(tmp_path / "d.csv", NAMES, rows), environment="Pendulum-v1", evaluations=2)
    notes = "; ".join(task.data().notes)
    assert "1 of 17 episodes miss 1 rows' values (NaN), the first in row 4" in notes
    assert "1 episodes have a single step" in notes
    assert "1 episodes are copies of others, which would be in two parts" in notes
    assert "1 steps come before the one above them" in notes
    assert sum(len(ids) for ids in task.data().ids.values()) == 14


def test_actions_beyond_the_bounds_are_clipped_and_counted(tmp_path: Path) -> None:
    rows = rows_of()
    rows[0][5] = 7.5
    task = Control(write(tmp_path / "d.csv", NAMES, rows), environment="Pendulum-v1", evaluations=2)
    assert any("1 actions are outside of the environment's bounds" in note for note in task.data().notes)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda rows: [row[:-1] + [0] for row in rows],
            {"environment": "CartPole-v1"}, "has 3 columns of observations",
        ),
        (
            lambda rows: rows,
            {"environment": "MountainCar-v0", "observations": "observation_x,observation_y"}, "holds .*choices 0 to 2",
        ),
        (lambda rows: rows, {"actions": "acton"}, "no column 'acton' .action.; did you mean 'action'"),
        (lambda rows: rows, {"observations": "action"}, "is an observation and an action"),
        (lambda rows: [*rows, rows[0]], {}, "episode e0 has a step twice"),
        (lambda rows: rows[:100], {}, "5 episodes of demonstrations: expected at least 10"),
        (lambda rows: [[*row[:5], 1.5] for row in rows], {}, "never changes"),
        (lambda rows: [[*row[:2], "x", *row[3:]] for row in rows], {}, "is of category: expected numbers"),
        (
            lambda rows: [[*row[:5], "hold"] for row in rows],
            {"environment": "CartPole-v1", "hide": "0"}, "has no action 'hold'",
        ),
        (lambda rows: rows, {"learning": "reinforcement"}, "needs an environment"),
        (lambda rows: rows, {"hide": "0"}, "leave the columns out"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(tmp_path: Path, change, options, message: str) -> None:
    path = write(tmp_path / "d.csv", NAMES, change(rows_of()))
    with pytest.raises(InputError, match=message):
        Control(path, **options)


def test_a_file_without_columns_of_actions_is_refused(tmp_path: Path) -> None:
    names = (*NAMES[:5], "torque")
    with pytest.raises(DataError, match="no column whose name begins with 'action'.*torque"):
        Control(write(tmp_path / "d.csv", names, rows_of()))


class Odd(gymnasium.Env):
    """Spaces as asked for; episodes of one step."""

    def __init__(self, seen=None, done=None) -> None:
        spaces = gymnasium.spaces
        self.observation_space = spaces.Box(-1, 1, (2,)) if seen is None else seen
        self.action_space = spaces.Discrete(2) if done is None else done

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, True, False, {}


@pytest.fixture
def odd():
    spaces = gymnasium.spaces
    kinds = {
        "Single-v0": {},
        "Picture-v0": {"seen": spaces.Box(0, 255, (8, 8, 3), np.uint8)},
        "Both-v0": {"done": spaces.MultiDiscrete([2, 3])},
        "Boundless-v0": {"done": spaces.Box(-np.inf, np.inf, (1,))},
    }
    for name, arguments in kinds.items():
        gymnasium.register(name, entry_point=Odd, kwargs=arguments)
    yield
    for name in kinds:
        del gymnasium.envs.registry[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPol-v1", "no environment 'CartPol-v1'; did you mean 'CartPole-v"),
        ("Picture-v0", "expected a vector of numbers"),
        ("Both-v0", "acts by MultiDiscrete.*expected one of some choices"),
        ("Boundless-v0", "expected bounds that are finite"),
        ("Blackjack-v1", "observes Tuple.*expected a vector"),
        ("Reacher-v2", "gymnasium cannot make|needs a package"),
        ("nowhere_to_be:Found-v0", "gymnasium cannot make"),
        ("Single-v0", "no classical controller for Single-v0: give demonstrations"),
    ],
)
def test_environments_that_cannot_be_used_are_refused(odd, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Control(name)


def choose_first(observation: np.ndarray) -> int:
    return 0


def choose_nothing(observation: np.ndarray) -> float:
    return float("nan")


def test_an_expert_may_be_given_and_single_steps_are_counted(odd) -> None:
    task = Control("Single-v0", expert=f"{__file__}:choose_first", **QUICK)
    assert any("6 of 6 recorded episodes have a single step" in note for note in task.data().notes)
    _, metrics = trained(task, task.baseline(), 3)
    assert metrics["return"] == 1


def test_an_expert_of_the_working_directory_is_found(odd, tmp_path, monkeypatch) -> None:
    (tmp_path / "expert_found_here.py").write_text("def act(observation):\n    return 1.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    Control("Single-v0", expert="expert_found_here:act", **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expert": f"{__file__}:choose_nobody"}, "has no attribute 'choose_nobody'"),
        ({"expert": f"{__file__}:choose_nothing"}, "the expert did nan: expected 1 finite numbers"),
        ({"hide": "cosin"}, "no observation 'cosin'; did you mean 'cosine'"),
        ({"hide": "0,1,2"}, "all 3 observations are withheld"),
        ({"learning": "imitating"}, "no learning 'imitating'; did you mean 'imitation'"),
        ({"learning": "dagger", "expert": f"{__file__}:choose_nobody"}, "has no attribute 'choose_nobody'"),
        ({"demonstrations": 1}, "expected at least 2 episodes"),
        ({"window": 1}, "at least 2 steps"),
        ({"discount": 1.0}, "between 0 and 1"),
        ({"environment": "CartPole-v1"}, "goes with a file"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Control("Pendulum-v1", **options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingExtraError, match=r'gymnasium.*pip install "sartor\[control\]"'):
        Control("CartPole-v1")
