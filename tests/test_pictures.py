import numpy as np

from sartor.pictures import Gallery, Lines, Matrix, Table, Wires, load, save


def test_pictures_survive_their_file(tmp_path):
    shown = [
        Gallery(np.zeros((2, 4, 4, 3), np.uint8), ("a", "<b>"), "mistakes"),
        Matrix(np.arange(4).reshape(2, 2), ("x", "y"), ("x", "y"), "true", "predicted", "confusion"),
        Lines(np.arange(3.0), np.ones((1, 3)), ("loss",), "step", "nats", "curve"),
        Table((("a", "1"), ("b", "2")), ("class", "n"), "classes"),
        Wires(np.arange(2), np.ones(2), np.zeros(1), np.ones(1), np.ones(1), ("a", "b"), ("x", "y"), ("l", "m"), "net"),
    ]
    path = tmp_path / "p.npz"
    save(shown, path)
    found = load(path)
    assert [type(p) for p in found] == [type(p) for p in shown]
    for before, after in zip(shown, found, strict=True):
        for name, value in vars(before).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(after, name))
            else:
                assert value == getattr(after, name)


def test_no_pictures_is_a_file_too(tmp_path):
    save([], tmp_path / "p.npz")
    assert load(tmp_path / "p.npz") == []
