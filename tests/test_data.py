import numpy as np
import pytest

from sartor.data import Rows, Sealed, Splits
from sartor.errors import DataError


def test_an_epoch_visits_every_row_once_and_epochs_differ():
    rows = Rows(x=np.arange(12))
    epochs = [np.concatenate([rows.batch(4, 7, 3 * e + k)["x"] for k in range(3)]) for e in range(2)]
    assert all(sorted(e) == list(range(12)) for e in epochs)
    assert not np.array_equal(*epochs)


def test_a_batch_is_a_function_of_seed_and_draw():
    first, second = Rows(x=np.arange(20)), Rows(x=np.arange(20))
    for draw in (5, 0, 3):
        np.testing.assert_array_equal(first.batch(6, 1, draw)["x"], second.batch(6, 1, draw)["x"])


def test_a_batch_larger_than_the_data_is_the_data():
    assert sorted(Rows(x=np.arange(3)).batch(64, 0, 9)["x"]) == [0, 1, 2]


def test_rows_of_tensors_and_arrays_are_taken_alike():
    torch = pytest.importorskip("torch")
    numbers = np.arange(10) * 10
    rows = Rows(array=numbers, tensor=torch.from_numpy(numbers))
    for index in (np.array([3, -1, 3]), np.array([], np.int64), np.array([1], np.int32), slice(2, 5)):
        taken = rows.take(index)
        np.testing.assert_array_equal(taken["array"], numbers[index])
        np.testing.assert_array_equal(taken["tensor"].numpy(), numbers[index])


def test_columns_of_two_lengths_are_refused():
    with pytest.raises(DataError, match="one length"):
        Rows(x=np.arange(3), y=np.arange(4))


def test_an_id_in_two_parts_is_a_leak():
    splits = Splits(None, None, ids={"train": np.arange(5), "validation": np.arange(4, 8)})
    with pytest.raises(DataError, match="both train and validation, e.g. \\[4\\]"):
        splits.check()


def test_a_sealed_part_counts_its_openings():
    made = []
    part = Sealed(lambda: made.append(1) or "rows")
    assert part.opened == 0 and not made
    assert part.open() == "rows" and part.opened == 1
