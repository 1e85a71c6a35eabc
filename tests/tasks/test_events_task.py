"""Event sequences: likelihoods against closed forms, integrals, thinning, data as people have them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from sartor.errors import DataError, InputError
from sartor.tasks.events import SPEC
from sartor.tasks.events.continuous_lstm import ContinuousLSTM, scanned
from sartor.tasks.events.data import true_process
from sartor.tasks.events.hawkes import Hawkes, fit_hawkes, fit_poisson
from sartor.tasks.events.network import MOST_SOURCES, SPEED, CausalAttention, PointProcess, State, simulate
from sartor.tasks.events.task import EXACT_NODES, Events, _terms
from sartor.tasks.events.windows import padded
from sartor.testing.tasks import check_task


@pytest.fixture(scope="module")
def task() -> Events:
    return Events()


def test_the_task_keeps_what_every_task_promises(task: Events) -> None:
    check_task(task, spec=SPEC, num_architectures=2)


def test_the_likelihood_of_a_hawkes_process_is_its_definition() -> None:
    process = Hawkes(np.array([0.3, 0.2]), np.array([[0.2, 0.4], [0.1, 0.3]]), np.array([[1.0, 2.0], [0.5, 1.5]]))
    times, kinds, end = np.array([-0.4, 0.7, 1.1, 2.0]), np.array([1, 0, 1, 1]), 3.0
    sequences = padded([times], [kinds], np.array([-0.4]), np.array([end]))

    def rates(t: float) -> np.ndarray:
        before = times < t
        decay = process.alpha[kinds[before]] * np.exp(-process.beta[kinds[before]] * (t - times[before])[:, None])
        return process.mu + decay.sum(0)

    grid = np.linspace(0, end, 200_001)
    middle = (grid[1:] + grid[:-1]) / 2
    integral = sum(rates(t).sum() for t in middle[::20]) * (end / len(middle)) * 20
    expected = sum(np.log(rates(t)[k]) for t, k in zip(times[1:], kinds[1:], strict=True)) - integral
    assert process.log_likelihood(sequences)[0] == pytest.approx(expected, abs=2e-4)


def test_maximum_likelihood_finds_the_process_that_made_the_data() -> None:
    process = Hawkes(np.array([0.4]), np.array([[0.9]]), np.array([[1.8]]))
    sequences = process.simulate(300, 20.0, np.random.default_rng(0))
    found = fit_hawkes(sequences, 1)
    assert found.mu[0] == pytest.approx(0.4, rel=0.1)
    assert found.alpha[0, 0] / found.beta[0, 0] == pytest.approx(0.5, rel=0.1)
    events = sequences.scored.sum()
    # The likelihood is the largest, and by chance a little larger than that of the truth.
    gain = (found.log_likelihood(sequences).sum() - process.log_likelihood(sequences).sum()) / events
    assert 0 <= gain < 0.002
    assert fit_poisson(sequences, 1).mu[0] == pytest.approx(events / sequences.end.sum())


def test_a_process_that_explodes_is_refused() -> None:
    with pytest.raises(InputError, match="begets 1.50 others"):
        Hawkes(np.ones(1), np.full((1, 1), 3.0), np.full((1, 1), 2.0)).simulate(1, 1.0, np.random.default_rng(0))


def test_many_types_excite_in_few_ways() -> None:
    network = PointProcess(40, lambda num: ContinuousLSTM(num, hidden=4), excitations=2)
    state = network(torch.rand(3, 5), torch.randint(40, (3, 5)))
    assert state.excited is not None and state.excited.shape == (3, 6, 2 * MOST_SOURCES)
    rates = network.intensity(state.after(torch.ones(3, 6))).detach()
    assert rates.shape == (3, 6, 40)
    # Before the first event nothing excites.
    torch.testing.assert_close(rates[:, 0].sum(-1), torch.full((3,), 0.5), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("types", [2, 20])
@pytest.mark.parametrize("encoder", [ContinuousLSTM, CausalAttention])
def test_states_are_causal(encoder: type, types: int) -> None:
    torch.manual_seed(0)
    network = PointProcess(types, lambda num: encoder(num, hidden=8), excitations=3)
    gap, kind = torch.rand(1, 6), torch.tensor([[0, 1, 1, 0, 1, 0]])
    other = gap.clone()
    other[0, 4:] += 1
    later = kind.flip(1).where(torch.arange(6) > 3, kind)
    for name, one, two in zip(State._fields, network(gap, kind), network(other, later), strict=True):
        torch.testing.assert_close(one[:, :5], two[:, :5])
        assert name == "fall" or not torch.equal(one[:, 5:], two[:, 5:])


def test_gradients_that_are_written_out_are_those_of_the_recurrence() -> None:
    torch.manual_seed(0)
    lstm = ContinuousLSTM(2, hidden=5).double()
    gap, kind = torch.rand(3, 7, dtype=torch.float64), torch.randint(2, (3, 7))
    grads = []
    for plain in (False, True):
        lstm.zero_grad()
        if plain:
            read = lstm.embedding(torch.cat((torch.full((3, 1), 2), kind), 1).T) + lstm.recurrent.bias
            wait = torch.cat((gap, torch.zeros(3, 1)), 1).T.unsqueeze(-1)
            states = [part.transpose(0, 1) for part in scanned(read, wait, lstm.recurrent.weight.T)]
        else:
            states = [part for part in lstm(gap, kind) if part is not None]
        # Each value of each part has a weight of its own.
        generator = torch.Generator().manual_seed(1)
        sum((part * torch.randn(part.shape, generator=generator)).sum() for part in states).backward()
        grads.append([*(part.detach() for part in states), *(each.grad.clone() for each in lstm.parameters())])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("excitations", [0, 3])
@pytest.mark.parametrize("encoder", [ContinuousLSTM, CausalAttention])
def test_integrals_are_exact_and_the_bound_is_never_broken(encoder: type, excitations: int) -> None:
    torch.manual_seed(1)
    network = PointProcess(3, lambda num: encoder(num, hidden=8), excitations).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith("excitation"):
                parameter.mul_(2)
    state = network(torch.rand(4, 5, dtype=torch.float64), torch.randint(3, (4, 5)))
    begin, end = torch.full((4, 6), 0.2, dtype=torch.float64), torch.full((4, 6), 7.0, dtype=torch.float64)
    grid = torch.linspace(0.2, 7.0, 4001, dtype=torch.float64)
    rates = torch.stack([network.intensity(state.after(torch.full((4, 6), float(t)))) for t in grid], -1)
    torch.testing.assert_close(
        network.integral(state, begin, end, EXACT_NODES), torch.trapezoid(rates, grid), atol=1e-4, rtol=1e-4
    )
    assert bool((rates.sum(-2) <= network.bound(state).unsqueeze(-1) + 1e-9).all())


@pytest.mark.parametrize("rates", [1, 3])
def test_a_network_that_only_excites_has_the_likelihood_of_hawkes(task: Events, rates: int) -> None:
    torch.manual_seed(0)
    network = PointProcess(3, lambda num: ContinuousLSTM(num, hidden=4), rates)
    mu, beta = np.array([0.3, 0.2, 0.1]), 1.3
    children = torch.rand(3, 3) * 0.3 + 0.05
    assert network.excitation is not None
    with torch.no_grad():
        network.weight.weight.zero_()
        network.weight.bias.copy_(torch.from_numpy(np.log(np.expm1(mu * task.mean_gap))))
        network.excitation.log_rate.fill_(np.log(beta * task.mean_gap) / SPEED)
        # Exponentials of one rate add up to one.
        each = (children / rates).log().unsqueeze(1).expand(3, rates, 3).flatten()
        network.excitation.log_offspring.copy_(each / SPEED)
        predictions = task.predict(task.deploy(network, task.baseline()), task.data().validation)
    process = Hawkes(mu, children.numpy().astype(float) * beta, np.full((3, 3), beta))
    sequences = task._parts.sequences.take(task._parts.rows_of("validation"))
    np.testing.assert_allclose(
        predictions["sequence_log_likelihood"], process.log_likelihood(sequences), rtol=1e-4, atol=2e-3
    )


def test_a_short_training_comes_near_the_true_likelihood(task: Events) -> None:
    from sartor.training import Single, fit

    architecture = task.space().architecture(
        {
            "network.encoder": "lstm", "network.encoder.hidden": 8, "network.excitations": 4,
            "recipe.learning_rate": 2e-2, "recipe.weight_decay": 1.0,
        }
    )  # fmt: skip
    network = task.build(task.space(), architecture)
    recipe = task.recipe_for(architecture)
    fit(Single(network, architecture), task.learner(architecture), task.data().train, recipe, total=120, seed=0)
    with torch.no_grad():
        predictions = task.predict(task.deploy(network, architecture), task.data().validation)
    models = task.classical_likelihoods(predictions)
    truth, poisson = (models[name].sum() for name in ("the process that made the data", "Poisson"))
    found = predictions["sequence_log_likelihood"].sum()
    assert abs(truth - found) / len(predictions["gap"]) < 0.02
    assert found - poisson > 0.9 * (truth - poisson)


@pytest.mark.parametrize("excitations", [0, 4])
def test_a_network_begins_near_the_rates_of_the_types(excitations: int) -> None:
    torch.manual_seed(0)
    shares = (0.7, 0.25, 0.05)
    network = PointProcess(3, lambda num: ContinuousLSTM(num, hidden=16), excitations, shares)
    gap, kind = torch.ones(8, 40), torch.multinomial(torch.tensor(shares), 320, replacement=True).view(8, 40)
    whole = network.integral(network(gap, kind), torch.zeros(8, 41), torch.ones(8, 41), 6).sum((0, 1)) / (8 * 41)
    assert 0.6 < float(whole.sum().detach()) < 1.4
    assert bool((whole[:-1] > whole[1:]).all())


def test_thinning_draws_from_the_process_itself() -> None:
    torch.manual_seed(0)
    network = PointProcess(2, lambda num: ContinuousLSTM(num, hidden=4), excitations=2)
    with torch.no_grad():
        network.encoder.recurrent.weight.mul_(3)
        network.weight.weight.mul_(4)
    generator = torch.Generator().manual_seed(1)
    rescaled = []
    for _ in range(60):
        times, kinds = simulate(network, 12.0, generator)
        gap = torch.from_numpy(np.diff(times, prepend=0.0)).float()[None]
        state = network(gap, torch.from_numpy(kinds)[None])
        with torch.no_grad():
            whole = network.integral(state, torch.zeros(1, len(times) + 1), torch.cat((gap, gap[:, :1]), 1), 24)
        rescaled.extend(whole.sum(-1)[0, :-1].tolist())
    from scipy.stats import kstest

    assert len(rescaled) > 300
    # Gaps that a window's end cuts off are missing, which shortens long ones a little.
    assert kstest(rescaled, "expon").statistic < 0.08


def test_windows_that_know_their_history_add_up_to_the_whole(tmp_path: Path) -> None:
    process = true_process()
    sequences = process.simulate(1, 400.0, np.random.default_rng(3))
    present = sequences.present[0]
    path = tmp_path / "long.csv"
    write(path, ("time", "kind"), zip(sequences.time[0][present], sequences.type[0][present], strict=True))
    task = Events(str(path), type="kind", window=20.0, context=10_000)
    parts = task._parts
    first = sequences.time[0][0]
    whole = padded(
        [sequences.time[0][present] - first],
        [sequences.type[0][present]],
        np.zeros(1),
        np.array([20.0 * len(parts.sequences)]),
    )
    kept = whole.time[0] <= whole.end[0]
    whole = padded([whole.time[0][kept]], [whole.type[0][kept]], np.zeros(1), whole.end)
    assert process.log_likelihood(parts.sequences).sum() == pytest.approx(process.log_likelihood(whole)[0], rel=1e-6)
    assert [*parts.part] == sorted(parts.part, key=["train", "validation", "test"].index)


def test_a_network_with_constant_intensity_has_the_likelihood_of_poisson(task: Events) -> None:
    network = task.build(task.space(), task.baseline())
    assert isinstance(network, PointProcess)
    with torch.no_grad():
        network.weight.weight.zero_()
        rate = task.classical["Poisson"].mu * task.mean_gap
        network.weight.bias.copy_(torch.from_numpy(np.log(np.expm1(rate))))
        predictions = task.predict(task.deploy(network, task.baseline()), task.data().validation)
    np.testing.assert_allclose(
        predictions["sequence_log_likelihood"], task.classical_likelihoods(predictions)["Poisson"], rtol=1e-4, atol=1e-3
    )
    # The median of a constant rate is log 2 over it.
    np.testing.assert_allclose(predictions["median_gap"], np.log(2) / task.classical["Poisson"].mu.sum(), rtol=1e-3)


def test_the_rule_used_in_training_is_close_to_the_exact_one(task: Events) -> None:
    network = task.build(task.space(), task.baseline())
    read = task._batch(task.data().train.take(np.arange(32)))
    with torch.no_grad():
        states = network(read.gap, read.type)
        few, many = (_terms(network, states, read, nodes)[1].sum() for nodes in (6, 48))
    assert abs(float(few - many)) / int(read.scored.sum()) < 1e-3


# --- data as people have them


def write(path: Path, names: tuple[str, ...], rows) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def rows_of(num: int = 20, length: int = 6) -> list[tuple[str, float, str]]:
    rng = np.random.default_rng(0)
    return [
        (f"s{number}", round(float(time), 4), "xy"[i % 2])
        for number in range(num)
        for i, time in enumerate(np.cumsum(rng.exponential(1.0, length)))
    ]


def test_unsorted_and_doubled_events_are_mended_and_counted(tmp_path: Path) -> None:
    rows = rows_of()
    rows[1], rows[2] = rows[2], rows[1]
    rows.append(rows[-1])
    write(tmp_path / "e.csv", ("who", "time", "what"), rows)
    parts = Events(str(tmp_path / "e.csv"), sequence="who", type="what")._parts
    assert any("1 events come before the one above them" in note for note in parts.notes)
    assert any("1 events are there twice" in note for note in parts.notes)
    assert int(parts.sequences.present.sum()) == 120


def test_sequences_of_one_event_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "e.csv", ("who", "time", "what"), [*rows_of(), ("lonely", 3.0, "x")])
    parts = Events(str(tmp_path / "e.csv"), sequence="who", type="what")._parts
    assert len(parts.sequences) == 20
    assert any("1 sequences have a single event" in note for note in parts.notes)


def test_windows_given_by_columns_are_used(tmp_path: Path) -> None:
    rows = [(*row, 0.0, 100.0) for row in rows_of()]
    write(tmp_path / "e.csv", ("who", "time", "what", "from", "to"), rows)
    parts = Events(str(tmp_path / "e.csv"), sequence="who", type="what", begin="from", end="to")._parts
    assert (parts.sequences.end == 100).all() and parts.sequences.scored.sum() == 120 and not parts.notes


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda rows: rows, {"type": "wat"}, "no column 'wat' .the option type.; did you mean 'what'"),
        (lambda rows: [*rows, ("s0", "", "x")], {"type": "what"}, "misses 1 values, the first in row 121"),
        (lambda rows: [*rows, ("s0", "soon", "x")], {"type": "what"}, "mixes numbers with 'soon'|holds no times"),
        (lambda rows: rows[:30], {"type": "what"}, "5 sequences: expected at least 10"),
        (
            lambda rows: [*rows, ("s0", 99.0, "rare")],
            {"type": "what", "split_seed": 3},
            "types come in no training sequence",
        ),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, change, options, message: str) -> None:
    write(tmp_path / "e.csv", ("who", "time", "what"), change(rows_of()))
    seeds = range(8) if "split_seed" in options else [0]
    with pytest.raises(DataError, match=message):
        for seed in seeds:
            Events(str(tmp_path / "e.csv"), sequence="who", **{**options, "split_seed": seed})


def test_events_outside_of_their_window_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "e.csv", ("who", "time", "what", "to"), [(*row, 2.0) for row in rows_of()])
    with pytest.raises(DataError, match="events outside of the time that it was watched"):
        Events(str(tmp_path / "e.csv"), sequence="who", type="what", end="to")


def test_options_that_exclude_one_another_are_refused() -> None:
    with pytest.raises(InputError, match="cuts one long sequence"):
        Events(None, window=3.0, sequence="who")
