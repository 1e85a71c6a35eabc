"""Series: what the task promises, on data as people have them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sartor.cli import main
from sartor.contracts import Candidate
from sartor.data import TEST, TRAIN
from sartor.errors import DataError, DivergedError, InputError
from sartor.pictures import Lines
from sartor.runs import Record
from sartor.space import Architecture
from sartor.tasks.series import SPEC
from sartor.tasks.series.network import Deployed
from sartor.tasks.series.task import SEEN, Series
from sartor.testing.tasks import check_task


@pytest.fixture(scope="module")
def task() -> Series:
    return Series()


def test_the_task_keeps_what_every_task_promises(task: Series) -> None:
    check_task(task, spec=SPEC, num_architectures=2)


def causal(task: Series, kind: str = "nonlinear") -> Architecture:
    own = {
        "nonlinear": {
            "network.encoder.hidden": 16, "network.encoder.field.width": 32, "network.encoder.field.depth": 1,
            "solver": "midpoint",
        },
        "low_rank": {"network.encoder.hidden": 16, "network.encoder.field.rank": 2, "solver": "euler"},
        "diagonal": {"network.encoder.hidden": 32, "network.encoder.depth": 2},
        "gru_d": {"network.encoder.hidden": 32},
    }[kind]  # fmt: skip
    path = {} if kind == "gru_d" else {"interpolation": "rectilinear", "counts": True, "features": 16}
    return task.space().architecture(
        {
            "network.encoder": kind, **own, **path, "network.dropout": 0.0, "recipe.learning_rate": 5e-3,
            "recipe.weight_decay": 1e-2,
        }
    )  # fmt: skip


def deployed(task: Series, architecture: Architecture) -> Deployed:
    found = Candidate(task, task.space(), architecture).deployed.eval()
    assert isinstance(found, Deployed)
    return found


@pytest.mark.parametrize("kind", ["nonlinear", "low_rank", "diagonal", "gru_d"])
def test_what_is_said_online_depends_on_what_came_until_then_only(task: Series, kind: str) -> None:
    network = deployed(task, causal(task, kind))
    part = task.data().validation.take(slice(0, 4))
    time, values = part["time"], part["values"]
    with torch.no_grad():
        along = network.along(time, values)
        later = values.clone()
        later[:, 9:] = 7.0
        moved = time.clone()
        moved[:, 9:] += 1.0
        other = network.along(moved, later)
        torch.testing.assert_close(along[:, :9], other[:, :9])
        assert not torch.allclose(along[:, 9:], other[:, 9:])
        torch.testing.assert_close(along[:, 8], network(time[:, :9], values[:, :9]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(along[:, -1], network(time, values), atol=1e-5, rtol=1e-5)


def test_a_spline_looks_ahead_and_says_nothing_online(task: Series) -> None:
    with pytest.raises(InputError, match="looks ahead"):
        deployed(task, task.baseline()).along(*task.example_inputs(task.baseline()))


def test_what_is_solved_by_the_adjoint_learns_no_path() -> None:
    task = Series(adjoint=True)
    assert task.baseline() in task.space()
    solved = [each for each in task.space().sample(np.random.default_rng(0), 60) if "solver" in each]
    assert solved and not any("features" in each for each in solved)


@pytest.mark.parametrize("kind", ["nonlinear", "low_rank"])
def test_a_learnt_path_gets_gradients(task: Series, kind: str) -> None:
    network = Candidate(task, task.space(), causal(task, kind)).network
    part = task.data().train.take(slice(0, 4))
    network(part["time"], (part["values"] - task._means) / task._deviations).square().sum().backward()
    gradient = network.encoder.reader.features.first.weight.grad
    assert gradient is not None and bool((gradient != 0).any())


@pytest.mark.parametrize("kind", ["baseline", "nonlinear", "diagonal", "gru_d"])
def test_what_fills_up_a_series_changes_nothing(task: Series, kind: str) -> None:
    architecture = task.baseline() if kind == "baseline" else causal(task, kind)
    network = deployed(task, architecture)
    part = task.data().validation.take(slice(0, 3))
    time, values = part["time"], part["values"]
    longer = torch.cat((time, time[:, -1:].repeat(1, 5)), 1)
    filled = torch.cat((values, torch.full((3, 5, values.shape[2]), torch.nan)), 1)
    with torch.no_grad():
        torch.testing.assert_close(network(time, values), network(longer, filled), atol=1e-5, rtol=1e-5)


def test_a_few_hundred_steps_tell_the_simulated_classes(task: Series) -> None:
    from sartor.training import Single, fit

    architecture = causal(task, "diagonal")
    network = Candidate(task, task.space(), architecture).network
    fit(
        Single(network, architecture), task.learner(architecture), task.data().train, task.recipe_for(architecture),
        total=150, seed=0,
    )  # fmt: skip
    made = task.deploy(network.eval(), architecture)
    said = task.predict(made, task.data().validation)
    right = float((said["probabilities"].argmax(-1) == said["label"]).mean())
    online = task.inspect(made)[0]
    assert isinstance(online, Lines)
    assert right > 0.75 and online.y[0, -1] == right > online.y[0, 0] + 0.1
    assert online.y.shape[1] == len(SEEN)


def test_a_validation_asks_the_network_once(task: Series) -> None:
    network = deployed(task, causal(task, "diagonal"))
    asked: list[int] = []
    network.register_forward_hook(lambda _, inputs, __: asked.append(len(inputs[0])))
    task.predict(network, task.data().validation)
    assert asked == [len(task.data().validation)]


def test_scores_that_are_not_finite_are_refused(task: Series) -> None:
    network = deployed(task, causal(task, "low_rank"))
    with torch.no_grad():
        network.network.encoder.field.strength.weight.mul_(1e30)
        with pytest.raises(DivergedError, match="its equation diverges"):
            task.predict(network, task.data().validation)


# --- data as people have them


def write(path: Path, rows: list[list[object]], names: tuple[str, ...] = ("id", "time", "a", "b", "label")) -> str:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
    return str(path)


def rows_of(num: int = 24, length: int = 6) -> list[list[object]]:
    rng = np.random.default_rng(0)
    return [
        [f"s{number}", round(float(time), 3), *rng.normal(size=2).round(3).tolist(), "xy"[number % 2]]
        for number in range(num)
        for time in np.cumsum(rng.exponential(1.0, length))
    ]  # fmt: skip


def test_unsorted_rows_are_sorted_and_counted(tmp_path: Path) -> None:
    rows = rows_of()
    whole = Series(write(tmp_path / "a.csv", rows))._parts
    rows[1], rows[3] = rows[3], rows[1]
    parts = Series(write(tmp_path / "b.csv", rows))._parts
    assert any("2 rows are earlier than the one of their series above them" in note for note in parts.notes)
    np.testing.assert_array_equal(parts.series.values, whole.series.values)
    assert not whole.notes


def test_rows_at_one_time_are_merged_and_counted_or_refused(tmp_path: Path) -> None:
    rows = rows_of()
    one, other = list(rows[2]), list(rows[2])
    one[3], other[2] = "", ""
    path = write(tmp_path / "a.csv", [*rows[:2], one, other, *rows[3:]])
    parts = Series(path)._parts
    assert any("1 rows are at the time of another of their series: they were merged" in note for note in parts.notes)
    np.testing.assert_array_equal(parts.series.values, Series(write(tmp_path / "b.csv", rows))._parts.series.values)
    other[2] = 99
    with pytest.raises(DataError, match="1 times are there twice in a series with different values, the first .* 's0'"):
        Series(write(tmp_path / "c.csv", [*rows, other]))


def test_missing_values_stay_missing(tmp_path: Path) -> None:
    rows = rows_of()
    rows[4][2] = ""
    rows[5][3] = "n.d."
    values = Series(write(tmp_path / "a.csv", rows), missing="n.d.")._parts.series.values
    assert np.isnan(values[0, 4, 0]) and np.isnan(values[0, 5, 1]) and np.isnan(values).sum() == 2


def test_series_of_one_row_are_kept_and_counted(tmp_path: Path) -> None:
    parts = Series(write(tmp_path / "a.csv", [*rows_of(), ["lonely", 3.0, 1.0, 2.0, "x"]]))._parts
    assert any("1 series have a single row" in note for note in parts.notes) and len(parts.series) == 25


def test_constant_and_empty_channels_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [[*row[:4], 5.0, "", row[4]] for row in rows_of()]
    task = Series(write(tmp_path / "a.csv", rows, ("id", "time", "a", "b", "same", "empty", "label")))
    assert task.channels == ("a", "b")
    assert any("2 channels are left out" in note and "same, empty" in note for note in task.data().notes)


def test_series_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = rows_of()
    for row in rows[:12]:
        row[4] = ""
    parts = Series(write(tmp_path / "a.csv", rows))._parts
    assert any("2 series have no target 'label'" in note for note in parts.notes) and len(parts.series) == 22


def test_one_label_a_series_is_enough(tmp_path: Path) -> None:
    rows = rows_of()
    for row in rows[1:6]:
        row[4] = ""
    assert len(Series(write(tmp_path / "a.csv", rows))._parts.series) == 24


def test_numbers_are_predicted_where_asked_for(tmp_path: Path) -> None:
    rows = [[*row[:4], int(str(row[0])[1:]) % 5] for row in rows_of()]
    path = write(tmp_path / "a.csv", rows)
    assert Series(path).class_names == ("0", "1", "2", "3", "4")
    task = Series(path, purpose="regression")
    assert task.class_names == () and task.primary == "rmse"
    check_task(task, num_architectures=1)


def test_dates_are_days(tmp_path: Path) -> None:
    rows = [[row[0], f"2024-03-{1 + i % 6:02d}T{i % 6:02d}:00", *row[2:]] for i, row in enumerate(rows_of())]
    parts = Series(write(tmp_path / "a.csv", rows))._parts
    np.testing.assert_allclose(parts.series.time[0], np.arange(6) * (1 + 1 / 24))
    assert parts.unit == "days" and parts.dates


def test_groups_and_copies_stay_in_one_part(tmp_path: Path) -> None:
    rows = [[*row, f"g{int(str(row[0])[1:]) // 3}"] for row in rows_of(36)]
    parts = Series(write(tmp_path / "a.csv", rows, ("id", "time", "a", "b", "label", "who")), group="who")._parts
    assert all(len(set(parts.part[i : i + 3])) == 1 for i in range(0, 36, 3)) and len(set(parts.part)) == 3
    copies = rows_of(12)
    copies += [[f"{row[0]}again", *row[1:]] for row in copies]
    twice = Series(write(tmp_path / "b.csv", copies))._parts
    assert any("12 series are exact copies of others" in note for note in twice.notes)
    assert (twice.part[:12] == twice.part[12:]).all()


def test_given_parts_are_honoured_and_leaks_are_counted(tmp_path: Path) -> None:
    rows = [[*row, "test" if int(str(row[0])[1:]) >= 16 else "train"] for row in rows_of()]
    names = ("id", "time", "a", "b", "label", "part")
    parts = Series(write(tmp_path / "a.csv", rows, names), split="part")._parts
    assert (parts.part[16:] == TEST).all() and (parts.part[:16] != TEST).all() and (parts.part == TRAIN).any()
    leaking = [*rows, *[["leak", *row[1:5], "test"] for row in rows[:6]]]
    found = Series(write(tmp_path / "b.csv", leaking, names), split="part", validation=0.1)._parts
    assert any("exact copies of training series" in note for note in found.notes) or found.part[0] != TRAIN


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda rows: [*rows, ["s0", 99.0, 1, 1, "y"]], {}, "'label' differs within 1 series, e.g. 'x' and 'y' in"),
        (lambda rows: [*rows, ["s0", "", 1, 1, "x"]], {}, "'time' misses 1 values, the first in row 145"),
        (lambda rows: [*rows, ["", 3.0, 1, 1, "x"]], {}, "'id' misses 1 values"),
        (lambda rows: rows[:36], {}, "6 series with a label: expected at least 10"),
        (lambda rows: rows, {"label": "lable"}, "no column 'lable' .the label.; did you mean 'label'"),
        (lambda rows: rows, {"id": "idd"}, "no column 'idd'; did you mean 'id'"),
        (lambda rows: rows, {"channels": "a,label"}, "'label' is named as a channel and for something else"),
        (lambda rows: [[f"r{i}", *row[1:]] for i, row in enumerate(rows)], {}, "every series has one row"),
        (lambda rows: [[*row[:2], 1, 2, row[4]] for row in rows], {}, "no channel is left"),
        (lambda rows: [[*row[:4], "x"] for row in rows], {}, "one class, 'x'"),
        (lambda rows: [[*row[:4], row[4] if i < 48 else ""] for i, row in enumerate(rows)], {}, "more than half"),
        (lambda rows: [[*row[:2], "u" if i % 2 else "v", *row[3:]] for i, row in enumerate(rows)], {"channels": "a"},
         "'a' is of category values"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(
    tmp_path: Path, change: Callable[..., list[list[object]]], options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Series(write(tmp_path / "a.csv", change(rows_of())), **options)


def test_an_id_in_two_given_parts_is_refused(tmp_path: Path) -> None:
    rows = [[*row, "test" if i % 6 == 5 else "train"] for i, row in enumerate(rows_of())]
    path = write(tmp_path / "a.csv", rows, ("id", "time", "a", "b", "label", "part"))
    with pytest.raises(DataError, match="'part' differs within 24 series"):
        Series(path, split="part")
    grouped = [[*row, "g", "test" if int(str(row[0])[1:]) >= 12 else "train"] for row in rows_of()]
    path = write(tmp_path / "b.csv", grouped, ("id", "time", "a", "b", "label", "who", "part"))
    with pytest.raises(DataError, match="1 ids are in two parts that the data give"):
        Series(path, split="part", group="who")


# --- files of the archive

ARCHIVE = """# A comment
@problemName Toy
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
"""


def archive(path: Path, num: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(num):
        length = 3 + i % 4
        first = [f"{value:.3f}" for value in rng.normal(size=length)]
        first[1] = "?" if i % 3 == 0 else first[1]
        second = [f"{value:.3f}" for value in rng.normal(size=length)]
        lines.append(f"{','.join(first)}:{','.join(second)}:{'up' if i % 2 else 'down'}")
    path.write_text(ARCHIVE + "\n".join(lines) + "\n")
    return str(path)


def test_files_of_the_archive_are_read_with_the_test_file_beside(tmp_path: Path) -> None:
    archive(tmp_path / "Toy_TEST.ts", 8, 1)
    parts = Series(archive(tmp_path / "Toy_TRAIN.ts", 20, 0))._parts
    assert len(parts.series) == 28 and (parts.part[20:] == TEST).all() and (parts.part[:20] != TEST).all()
    assert parts.classes == ("down", "up") and parts.channels == ("channel_1", "channel_2")
    assert np.isnan(parts.series.values[0, 1, 0]) and parts.series.num_rows[:4].tolist() == [3, 4, 5, 6]
    np.testing.assert_array_equal(parts.series.time[0], [0, 1, 2, 2, 2, 2])


def test_stamps_of_the_archive_may_be_dates_and_differ_between_channels(tmp_path: Path) -> None:
    from sartor.tasks.series.ts import read_ts

    path = tmp_path / "a.ts"
    head = ARCHIVE.replace("@timeStamps false", "@timeStamps true")
    path.write_text(
        head + "(2007-01-01 00:00:00,1.5),(2007-01-02 12:00:00,?):(2007-01-01 00:00:00,4),(2007-01-03 00:00:00,5):up\n"
    )
    columns = read_ts(path)
    assert columns["time"].kind == "date" and columns["label"].labels == ("up",)
    np.testing.assert_allclose(columns["time"].values - columns["time"].values[0], [0, 1.5, 0, 2])
    np.testing.assert_array_equal(columns["channel_2"].values, [np.nan, np.nan, 4, 5])
    path.write_text(head + "(0,1.5),(0.5,2):(1,3):up\n")
    assert read_ts(path)["time"].values.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,x:3,4,5:up", "line 10: expected a number or ., got 'x'"),
        ("(0,1),(1,2):(0,1):up", "line 10: holds times, but @timestamps is not true"),
        ("1,2:up\n1,2:3,4:up", "series have 1 to 2 channels"),
        ("", "holds no series"),
    ],
)
def test_what_is_not_of_the_archive_is_said(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.ts"
    path.write_text(ARCHIVE + line + "\n")
    with pytest.raises(DataError, match=message):
        Series(str(path))


# --- the command line


def run(*tokens: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(tokens))
    assert stopped.value.code in (0, None), stopped.value


def test_the_baseline_is_trained_exported_reported_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="latency is measured and files are checked with onnxruntime")
    path, out = write(tmp_path / "a.csv", rows_of(30)), tmp_path / "out"
    run("train", "series", "--data", path, "--epochs", "2", "--out", str(out))
    with Record(out, read_only=True) as record:
        searched, final = record.runs()
        (trial,) = record.trials(final.id)
    assert "test.cross_entropy" in trial.metrics
    page = (out / searched.id / "report.html").read_text()
    for title in ("Online: what is right", "natural cubic spline", "Confusion matrix (series)", "as it goes on"):
        assert title in page
    new = rows_of(5, 4)
    new[1], new[2] = new[2], new[1]
    new[0][2] = ""
    given = write(tmp_path / "new.csv", [row[:4] for row in new], ("id", "time", "a", "b"))
    network = next(out.glob("*-final/0.onnx"))
    capsys.readouterr()
    run("predict", str(network), given, "--to", str(tmp_path / "said.csv"))
    assert "1 rows are earlier" in "".join(capsys.readouterr())
    with open(tmp_path / "said.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 and all(float(row["x"]) + float(row["y"]) == pytest.approx(1, abs=1e-5) for row in rows)
    longer = write(tmp_path / "long.csv", [row[:4] for row in rows_of(2, 9)], ("id", "time", "a", "b"))
    with pytest.raises(SystemExit):
        main(["predict", str(network), longer])
    assert "series 's0' has 9 rows, the network takes at most 6" in "".join(capsys.readouterr())
