"""What is wrong with a file is said with its name and the column's. The files are made up here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from sartor.errors import InputError
from sartor.estimators.tables._files import digits, read
from sartor.estimators.tables.lookup import load
from sartor.registry import specs
from sartor.testing.tasks import check_listing
from tests.estimators.tables.made import macro_columns, write

pytest.importorskip("pyarrow")
FILE = "nasbench_macro.parquet"


def test_tables_are_listed_without_torch() -> None:
    check_listing("tables")
    assert set(specs("tables")) >= {
        "nasbench101", "nasbench201", "nasbench_macro", "nasbench_graph", "transnasbench101_micro",
        "transnasbench101_macro", "fbnet", "ofa",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(specs("tables")))
def test_a_missing_file_is_named_with_the_option_that_says_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"expected the table {name.split('_')[0]}\w*\.parquet in .*--table DIR"):
        load(tmp_path, name)


@pytest.mark.parametrize("name", sorted(specs("tables")))
def test_an_unknown_data_set_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"'nothing' of {name}"):
        load(tmp_path, name, "nothing")


def test_a_table_of_the_right_form_loads(tmp_path: Path) -> None:
    write(tmp_path, FILE, macro_columns())
    table = load(tmp_path, "nasbench_macro")
    assert len(table) == 6561 and table.best() == 16.0 and table.costs["params"].values.max() == 1016


def _changed(column: str, row: int, value: Any) -> dict[str, list[Any]]:
    columns = macro_columns()
    columns[column] = list(columns[column])
    columns[column][row] = value
    return columns


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (_changed("mean_acc", 7, math.nan), "column 'mean_acc' is nan in row 7; not finite in all: 1"),
        (_changed("acc_run0", 7, math.inf), "column 'acc_run0' is inf in row 7"),
        (_changed("mean_acc", 7, None), "column 'mean_acc' is empty in 1 of 6,561 rows"),
        (_changed("params", 7, None), "column 'params' is empty in 1 of"),
        (_changed("arch", 7, "0000000"), "column 'arch' is '0000000' in row 7, expected 8 digits below 3"),
        (_changed("arch", 7, "00000003"), "column 'arch' is '00000003'"),
        (_changed("arch", 7, "00000000"), "rows 0 and 7 are one architecture"),
        ({k: v for k, v in macro_columns().items() if k != "mean_acc"}, "no column 'mean_acc'"),
        ({k: v[:-1] for k, v in macro_columns().items()}, "has 6,560 rows, expected 6,561"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_expected_is_refused(columns: dict[str, list[Any]], said: str, tmp_path: Path) -> None:
    write(tmp_path, FILE, columns)
    with pytest.raises(InputError, match=said):
        load(tmp_path, "nasbench_macro")


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("arch,mean_acc\n")
    with pytest.raises(InputError, match=f"{FILE} cannot be read as parquet"):
        load(tmp_path, "nasbench_macro")


@pytest.mark.parametrize("part", [slice(200, 4_000), slice(-600, -500)])
def test_a_damaged_file_is_refused(part: slice, tmp_path: Path) -> None:
    write(tmp_path, FILE, macro_columns())
    damaged = bytearray((tmp_path / FILE).read_bytes())
    damaged[part] = b"U" * len(damaged[part])
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(InputError, match=f"{FILE} cannot be read as parquet"):
        load(tmp_path, "nasbench_macro")


def test_columns_that_may_have_gaps_get_nan(tmp_path: Path) -> None:
    write(tmp_path, "x.parquet", {"score": [1.0, None, math.inf], "count": [1, None, 3]})
    found = read(tmp_path, "x.parquet", ["score", "count"], unbounded=["score", "count"])
    assert math.isnan(found["score"][1]) and math.isinf(found["score"][2]) and math.isnan(found["count"][1])
    assert digits(["012", "210"], 3, 3, "x").tolist() == [[0, 1, 2], [2, 1, 0]]
