from pathlib import Path

import numpy as np
import pytest

from sartor.columns import column_named, read_columns
from sartor.errors import DataError, InputError


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_categories_and_dates_are_told_apart(tmp_path: Path) -> None:
    text = "n,c,d,t\n1,b,1970-01-02,1970-01-01T12:00\nNA,a,,\n-2.5e1,,1969-12-31,1970-01-02T00:00+00:00\n"
    path = write(tmp_path, text)
    columns = read_columns(path)
    assert [c.kind for c in columns.values()] == ["number", "category", "date", "date"]
    assert np.array_equal(columns["n"].values, [1, np.nan, -25], equal_nan=True)
    assert columns["c"].labels == ("a", "b") and columns["c"].values.tolist() == [1, 0, -1]
    assert np.array_equal(columns["d"].values, [1, np.nan, -1], equal_nan=True)
    assert np.array_equal(columns["t"].values, [0.5, np.nan, 1], equal_nan=True)
    assert columns["d"].missing.tolist() == [False, True, False]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.csv", ",")])
def test_separators_are_found(tmp_path: Path, name: str, separator: str) -> None:
    path = write(tmp_path, f"\ufeffa{separator}b\n1{separator}x\n2{separator}y\n", name)
    assert read_columns(path)["a"].values.tolist() == [1, 2]


def test_parquet_reads_as_the_same_csv_does(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from datetime import date

    import pyarrow.parquet

    table = pa.table(
        {
            "n": [1.0, None, 3.0],
            "c": pa.array(["x", None, "y"]).dictionary_encode(),
            "d": [date(2020, 1, 1), None, date(2021, 5, 4)],
            "b": [True, False, None],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    text = "n,c,d,b\n1,x,2020-01-01,True\n,,,False\n3,y,2021-05-04,\n"
    ours, theirs = read_columns(tmp_path / "a.parquet"), read_columns(write(tmp_path, text))
    for name, column in ours.items():
        assert column.kind == theirs[name].kind and column.labels == theirs[name].labels
        assert np.array_equal(column.values, theirs[name].values, equal_nan=column.kind != "category")


def test_kinds_that_are_given_hold(tmp_path: Path) -> None:
    path = write(tmp_path, "zip,other\n10,1\n9,2\n10,x\n")
    columns = read_columns(path, kinds={"zip": "category"}, only=["zip"])
    assert list(columns) == ["zip"] and columns["zip"].labels == ("9", "10")
    with pytest.raises(DataError, match=r"'other' is of numbers, but holds 'x' in row 3"):
        read_columns(path, kinds={"other": "number"})
    with pytest.raises(InputError, match="no column 'zp'; did you mean 'zip'"):
        read_columns(path, kinds={"zp": "number"})


def test_a_column_of_mixed_values_is_refused_and_says_how_to_settle_it(tmp_path: Path) -> None:
    path = write(tmp_path, "age\n" + "\n".join(map(str, range(50))) + "\nold\n")
    with pytest.raises(DataError, match=r"'age' mixes numbers with 'old' in row 51: .*categories"):
        read_columns(path)
    assert read_columns(path, missing=("old",))["age"].kind == "number"
    assert read_columns(path, kinds={"age": "category"})["age"].kind == "category"
    few = write(tmp_path, "rooms\n1\n2\n3+\n2\n")
    assert read_columns(few)["rooms"].labels == ("1", "2", "3+")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "holds no rows"),
        ("a,b\n1,2\n3\n", "line 3: 1 values, but 2 columns"),
        ("a,a\n1,2\n", "twice, e.g. 'a'"),
        ("a,\n1,2\n", "column 2 has no name"),
        ("a\n1\ninf\n", "1 infinite numbers, the first in row 2"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_columns(write(tmp_path, text))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "houses.csv")
    with pytest.raises(DataError, match=r"hoses\.csv is not there.*did you mean 'houses\.csv'"):
        read_columns(tmp_path / "hoses.csv")
    (tmp_path / "b.csv").write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_columns(tmp_path / "b.csv")
    (tmp_path / "b.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="as Parquet"):
        read_columns(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="got .xlsx"):
        read_columns(write(tmp_path, "a\n1\n", "b.xlsx"))


def test_a_column_that_is_not_there_has_a_near_name(tmp_path: Path) -> None:
    columns = read_columns(write(tmp_path, "price,size\n1,2\n"))
    with pytest.raises(DataError, match=r"no column 'prise' \(the target\); did you mean 'price'\? The columns are "):
        column_named(columns, "prise", "the target")
