import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from sartor import metrics
from sartor.contracts import Candidate
from sartor.errors import DataError, InputError
from sartor.export.onnx import export_onnx
from sartor.export.predict import predict
from sartor.pictures import Curve, Matrix, Table
from sartor.registry import find
from sartor.tasks.tables import SPEC
from sartor.tasks.tables.network import left_out
from sartor.tasks.tables.pairs import agreed_pairs, binned, interaction_gain, rank_pairs
from sartor.tasks.tables.preprocess import date_part
from sartor.tasks.tables.task import Tables
from sartor.testing.tasks import check_task
from sartor.training import Single, Step, fit

SMALL = {"network.units": 8, "network.members": 8, "network.depth": 1}


def rows_of(num: int = 120, seed: int = 0) -> list[dict[str, Any]]:
    """Houses: numbers with holes, categories, dates, one interaction."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(num):
        size, rooms, town = rng.normal(100, 20), int(rng.integers(1, 6)), str(rng.choice(["Aby", "Boro", "Cton"]))
        sold = np.datetime64("2020-01-01") + int(rng.integers(0, 700))
        price = 2 * size + 9 * rooms * (town == "Boro") + 4 * rng.normal()
        known = "" if i % 13 == 0 else f"{size:.2f}"
        found.append({"id": i + 1, "size": known, "rooms": rooms, "town": town, "sold": sold, "price": f"{price:.2f}"})
    return found


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture
def houses(tmp_path: Path) -> Tables:
    return Tables(write(tmp_path / "houses.csv", rows_of()), target="price")


def trained(task: Tables, steps: int = 60, **choices: Any) -> Any:
    """Returns a deployed network after a few steps."""
    space = task.space()
    own = {"network.pairs": space.values("network.pairs")[1], **choices}
    architecture = space.architecture({**task.baseline(), **SMALL, **own})
    network = Candidate(task, space, architecture, seed=1).network
    recipe = task.recipe_for(architecture)
    fit(Single(network, architecture), task.learner(architecture), task.data().train, recipe, total=steps, seed=1)
    return task.deploy(network, architecture).eval(), architecture


def test_the_task_conforms_on_numbers_and_classes(houses: Tables) -> None:
    assert find("tasks", "tables") is SPEC
    check_task(houses, spec=SPEC, num_architectures=1, num_steps=1)
    check_task(Tables("wine"), num_architectures=0, num_steps=1)


def test_the_output_is_exactly_the_bias_and_the_sum_of_terms(houses: Tables) -> None:
    for task in (houses, Tables("wine"), Tables()):
        model, _ = trained(task, 20)
        x = task._x[:50]
        shapes = task.shapes(model)
        terms = shapes.terms(x)
        total = terms.values.mean(1).sum(0) + terms.base
        output = model(torch.from_numpy(x)).detach().double().numpy()
        if output.shape[1] == 2:
            output = output[:, 1:] - output[:, :1]
        assert np.allclose(total, output, rtol=1e-4, atol=1e-4 * np.abs(output).max())
        assert np.allclose(shapes.terms(shapes.x).values.mean(2), 0, atol=1e-3)


def test_a_prediction_changes_by_what_the_changed_terms_add(houses: Tables) -> None:
    model, _ = trained(houses)
    x = houses._x[:8].copy()
    other = x.copy()
    rooms = [f.name for f in houses.form.features].index("rooms")
    other[:, rooms] = 4
    shapes = houses.shapes(model)
    moved = (shapes.terms(other).values - shapes.terms(x).values).mean(1)[..., 0]
    touched = [t for t, sees in enumerate(shapes.sees) if rooms in sees]
    still = [t for t in range(len(moved)) if t not in touched]
    assert (moved[still] == 0).all()
    change = (model(torch.from_numpy(other)) - model(torch.from_numpy(x))).detach().numpy()[:, 0]
    assert np.allclose(moved[touched].sum(0), change, atol=1e-3)


def test_the_interaction_that_is_there_is_found(tmp_path: Path) -> None:
    known = [row for row in rows_of(900) if row["size"]]
    houses = Tables(write(tmp_path / "more.csv", known), target="price", ignore="id")
    names = [f.name for f in houses.form.features]
    pairs, used = houses.pairs(8, 2)
    assert {names[i] for i in pairs[0]} == {"rooms", "town"} and used[0].all() and used.shape == (2, 8)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 5))
    y = x[:, 0] + np.sin(x[:, 3]) + 2 * (x[:, 1] > 0) * (x[:, 4] > 0.5)
    assert rank_pairs(x, y, 0)[0] == (1, 4)
    xor = ((x[:, 0] > 0) ^ (x[:, 2] > 0)).astype(np.int64)
    assert rank_pairs(x, xor, 2)[0] == (0, 2)
    assert rank_pairs(x, xor + (x[:, 3] > 1), 3)[0] == (0, 2)


def test_members_rank_pairs_by_their_own_rows_and_share_those_that_most_rank_first(houses: Tables) -> None:
    rankings = [[(0, 1), (1, 2), (0, 2)], [(1, 2), (0, 1), (0, 2)], [(0, 2), (0, 1), (1, 2)]]
    pairs, used = agreed_pairs(rankings, 2)
    assert pairs == [(0, 1), (1, 2)]
    assert used.tolist() == [[True, True, True], [True, True, False]]
    assert agreed_pairs(rankings, 0)[1].shape == (0, 3)

    train = houses.data().train.columns
    before = houses.pairs(8, 3)
    out = left_out(8, train["folds"])[2].numpy()
    changed = Tables(houses.source, target="price")
    changed._prepared.y[changed._prepared.rows_of("train")[out]] *= -5
    after = changed.pairs(8, 3)
    kept = [dict(zip(pairs, used[:, 2].tolist(), strict=True)) for pairs, used in (before, after)]
    shared = kept[0].keys() & kept[1].keys()
    assert shared and all(kept[0][pair] == kept[1][pair] for pair in shared)


def test_a_member_does_without_pairs_that_are_not_its_own(houses: Tables) -> None:
    model, _ = trained(houses, 20)
    model.used[-1, 3] = 0
    terms = model.terms(torch.from_numpy(houses._x[:30]))
    assert (terms[-1, 3] == 0).all() and (terms[-1, [0, 1, 2, 4]] != 0).any()


def test_the_gain_of_a_pair_is_that_of_the_best_cut_of_all() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(1, 5, 200), rng.integers(1, 4, 200)
    residuals = rng.normal(size=(200, 2))
    best = -np.inf
    for i in range(1, 4):
        for j in range(1, 3):
            left = 0.0
            for quadrant in ((a <= i) & (b <= j), (a <= i) & (b > j), (a > i) & (b <= j), (a > i) & (b > j)):
                left += ((residuals[quadrant] - residuals[quadrant].mean(0)) ** 2).sum()
            best = max(best, ((residuals - residuals.mean(0)) ** 2).sum() - left)
    assert interaction_gain(a, b, residuals) == pytest.approx(best)
    assert binned(np.array([3.0, np.nan, 1.0, 2.0]), 8).tolist() == [3, 0, 1, 2]


def test_parts_of_dates_are_those_of_the_calendar() -> None:
    days = np.array([(np.datetime64("2024-02-29") - np.datetime64("1970-01-01")).astype(int) + 0.75, np.nan, -1.0])
    for part, wanted in (("month", [2, np.nan, 12]), ("weekday", [3, np.nan, 2]), ("hour", [18, np.nan, 0])):
        assert np.array_equal(date_part(days, part), wanted, equal_nan=True)


def test_an_exported_file_predicts_a_table_as_torch_does(houses: Tables, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="predicting needs onnxruntime")
    model, architecture = trained(houses, 20)
    about = {**json.loads(json.dumps(houses.describe())), "task": "tables"}
    report = export_onnx(model, houses.example_inputs(architecture), tmp_path / "a.onnx", description=about)
    assert report.dynamic_batch
    new = rows_of(30, seed=5)
    new[3]["town"] = "Dale"
    for row in new:
        del row["price"]
        row["unused"] = "1" if row["id"] % 2 else "x" * row["id"]
    notes: list[str] = []
    found = predict(tmp_path / "a.onnx", [write(tmp_path / "new.csv", new)], note=notes.append)
    assert [each.row for each in found] == list(range(1, 31))
    (note,) = notes
    assert "'town': 1 values are of 1 categories that training has not ('Dale')" in note
    wanted = houses.explain(model, 7, str(tmp_path / "new.csv"))[0].rows[-1][2]
    assert f"{found[6].value:+.4g}" == wanted
    for row in new:
        row.pop("town")
    with pytest.raises(InputError, match="no column 'town'"):
        predict(tmp_path / "a.onnx", [write(tmp_path / "less.csv", new)])


def test_a_row_is_explained_term_by_term(houses: Tables) -> None:
    model, _ = trained(houses, 20)
    (table,) = houses.explain(model, 5)
    assert isinstance(table, Table) and table.title.startswith("Row 5 of")
    assert len(table.rows) == 2 + len(houses.form.features) + houses.space().values("network.pairs")[1]
    added = [float(row[2]) for row in table.rows[:-1]]
    assert sum(added) == pytest.approx(float(table.rows[-1][2]), rel=0.01)
    with pytest.raises(InputError, match="between 1 and 120, got row 121"):
        houses.explain(model, 121)


def test_shapes_have_the_range_the_levels_and_the_density_of_the_data(houses: Tables) -> None:
    model, _ = trained(houses, 20)
    sizes, *others = houses.inspect(model)
    assert isinstance(sizes, Table) and len(sizes.rows) == len(houses.form.features) + len(model.first)
    curves = {each.title: each for each in others if isinstance(each, Curve)}
    assert curves["town"].ticks == ("Aby", "Boro", "Cton")
    for curve in curves.values():
        assert curve.density.sum() == pytest.approx(1, abs=0.05)
        assert (curve.low <= curve.y).all() and (curve.y <= curve.high).all()
    assert sum(isinstance(each, Matrix) for each in others) == len(model.first)


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 300), np.round(rng.random(300), 1)
    classes = {"label": label, "probabilities": np.stack([1 - score, score], 1)}
    assert metrics.area_under_curve(classes) == pytest.approx(oracle.roc_auc_score(label, score))
    target, value = rng.normal(size=300), rng.normal(size=300)
    numbers = {"target": target, "value": value}
    assert metrics.r_squared(numbers) == pytest.approx(oracle.r2_score(target, value))
    assert metrics.root_mean_squared_error(numbers) ** 2 == pytest.approx(oracle.mean_squared_error(target, value))
    assert metrics.mean_absolute_error(numbers) == pytest.approx(oracle.mean_absolute_error(target, value))


# --- bad input


def noted(task: Tables, text: str) -> bool:
    return any(text in note for note in task.data().notes)


def test_columns_that_say_nothing_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [{**row, "same": "x", "text": f"note {row['id'] * 7}"} for row in rows_of()]
    rows[5]["price"] = ""
    task = Tables(write(tmp_path / "a.csv", rows), target="price")
    assert not {"same", "text", "id"} & {f.column for f in task.form.features}
    assert noted(task, "1 columns are left out, as they are the same in every row: same")
    assert noted(task, "2 columns are left out, as they are different in nearly every row (an id or free text): id")
    assert noted(task, "1 rows have no target 'price'")
    assert len(task._prepared.y) == 119 and 6 not in task._prepared.rows


def test_rows_of_an_id_are_in_one_part_and_ids_in_two_given_parts_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "who": f"p{i // 4}", "part": "test" if i % 5 == 0 else "train"} for i, row in enumerate(rows_of())]
    path = write(tmp_path / "a.csv", rows)
    task = Tables(path, target="price", group="who", ignore="part")
    parts: dict[int, set[str]] = {}
    for key, part in zip(task._prepared.ids.tolist(), task._prepared.parts.tolist(), strict=True):
        parts.setdefault(key, set()).add(part)
    assert len(parts) == 30 and all(len(found) == 1 for found in parts.values())
    with pytest.raises(DataError, match="ids are in two parts that the data give"):
        Tables(path, target="price", group="who", split="part")
    honoured = Tables(path, target="price", split="part", ignore="who")._prepared
    assert (honoured.parts[::5] == "test").all() and (honoured.parts == "test").sum() == 24


def test_copies_of_a_row_stay_in_one_part(tmp_path: Path) -> None:
    rows = rows_of(60)
    for row in rows:
        row.pop("id")
    task = Tables(write(tmp_path / "a.csv", rows + rows), target="price")
    assert noted(task, "60 rows are exact copies of others")
    parts, folds = task._prepared.parts, task._prepared.folds
    assert (parts[:60] == parts[60:]).all() and (folds[:60] == folds[60:]).all()


def test_parts_have_their_shares_of_each_class() -> None:
    prepared = Tables()._prepared
    for part, share in (("train", 0.85), ("test", 0.15)):
        rows = prepared.parts == part
        assert rows.mean() == pytest.approx(share, abs=0.01)
        assert prepared.y[rows].mean() == pytest.approx(prepared.y.mean(), abs=0.03)
    assert (Tables(split_seed=1)._prepared.parts != prepared.parts).any()
    drawn = Tables(validation=0.15)._prepared
    assert (drawn.parts == "validation").mean() == pytest.approx(0.15, abs=0.01)
    assert ((drawn.parts == "test") == (prepared.parts == "test")).all()


def test_each_training_row_is_scored_by_the_members_that_left_it_out_alone() -> None:
    task = Tables("wine")
    model, _ = trained(task, 20)
    splits = task.data()
    assert sorted(splits.ids) == ["test", "train"] and len(splits.validation) == len(splits.train)
    found = task.predict(model, splits.validation)["probabilities"]
    folds = splits.train.columns["folds"].numpy()
    with torch.no_grad():
        scores = model.scores(model.terms(splits.train.columns["x"])).double()
    for row in range(0, len(folds), 7):
        wanted = scores[folds[row, 0], row].softmax(-1).numpy()
        assert np.allclose(found[row], wanted, atol=1e-5)
    counts = np.bincount(folds[:, 0], minlength=8)
    assert counts.min() >= len(folds) // 8 - 2 and counts.max() <= len(folds) // 8 + 3
    given = Tables("wine", validation=0.2)
    assert "folds" not in given.data().validation.columns


def test_a_member_learns_from_its_own_rows_alone() -> None:
    task = Tables("wine")
    space = task.space()
    architecture = space.architecture({**task.baseline(), **SMALL})
    network = Candidate(task, space, architecture, seed=1).network
    torch.nn.init.normal_(network.shapes.last.weight)
    batch = task.data().train.take(slice(0, 40))
    step = Step(0, 1, 0, task.recipe_for(architecture), architecture=architecture)
    (task.loss(network, batch, step) * 1000).backward()
    before = network.bias.grad.clone()
    network.zero_grad()
    left_out = batch["folds"][:, 0] == 2
    batch["y"] = torch.where(left_out, (batch["y"] + 1) % 3, batch["y"])
    (task.loss(network, batch, step) * 1000).backward()
    assert left_out.any() and torch.allclose(network.bias.grad[2], before[2], atol=1e-4)
    assert not torch.allclose(network.bias.grad[3], before[3], atol=1e-4)


@pytest.mark.parametrize("members", [2, 3, 8, 16, 32])
def test_every_row_is_left_out_by_a_share_of_the_members(members: int) -> None:
    folds = torch.from_numpy(np.random.default_rng(0).integers(0, 8, (300, 4)))
    out = left_out(members, folds)
    assert out.shape == (members, 300)
    assert (out.sum(0) == max(1, members // 8)).all()


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("prise", {}, "no column 'prise' .the target.; did you mean 'price'"),
        ("one", {}, "has one class, 'x'"),
        ("holes", {}, "missing in 90 of 120 rows: more than half"),
        ("town", {"purpose": "regression"}, "of categories"),
        ("sold", {}, "of dates"),
        ("price", {"ignore": "siz"}, "no column 'siz'"),
        ("price", {"split": "town"}, "unknown part 'aby'"),
        ("price", {"ignore": "size,rooms,town,sold,one,holes,id"}, "no feature is left"),
    ],
)
def test_targets_and_columns_that_cannot_be_used_are_refused(
    tmp_path: Path, target: str, options: dict[str, Any], message: str
) -> None:
    rows = [{**row, "one": "x", "holes": "" if i % 4 else "y"} for i, row in enumerate(rows_of())]
    with pytest.raises(DataError, match=message):
        Tables(write(tmp_path / "a.csv", rows), target=target, **options)


def test_a_target_must_be_named_and_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected --target.*id, size, rooms"):
        Tables(write(tmp_path / "a.csv", rows_of()))
    with pytest.raises(DataError, match="at least 20 rows"):
        Tables(write(tmp_path / "b.csv", rows_of(10)), target="price")
    with pytest.raises(DataError, match=r"no data at wein.*did you mean 'wine'"):
        Tables("wein")


def test_whole_numbers_are_classes_unless_told_otherwise_and_rare_categories_are_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{**row, "sold": "", "kind": f"k{row['id'] % 40}"} for row in rows_of(200)])
    task = Tables(path, target="rooms", levels=8)
    assert task.class_names == ("1", "2", "3", "4", "5") and noted(task, "5 different whole numbers")
    assert noted(task, "'kind' has") and len(next(f for f in task.form.features if f.name == "kind").levels) == 8
    assert Tables(path, target="rooms", purpose="regression").class_names == ()
