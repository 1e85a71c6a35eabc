"""What every encoding must do: run it on your own with `check_encoding`.

    from functools import partial
    from sartor.spaces.nasbench201 import nasbench201
    from sartor.testing.encodings import check_encoding

    def test_my_encoding_conforms():
        check_encoding(partial(MyEncoding, width=64), nasbench201(3, 10))

A fresh process makes the encoding too: ``make`` and the space are pickled, so both are of importable parts.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from sartor.contracts import Encoding
from sartor.space import Architecture, Space
from sartor.testing.randomness import global_random_state

__all__ = ["check_encoding"]

Make = Callable[..., Encoding]
"""Called as ``make(space, seed=...)``."""

_CHILD = """
import pickle, sys
import numpy as np
sys.path[:0] = pickle.loads(bytes.fromhex(sys.argv[2]))
from pathlib import Path
folder = Path(sys.argv[1])
make, space, architectures = pickle.loads((folder / "asked").read_bytes())
np.save(folder / "made.npy", make(space, seed=3)(architectures))
"""


def check_encoding(make: Make, space: Space, *, num: int = 40, in_subprocess: bool = True) -> None:
    """Checks shape, finiteness, determinism, independence of what else is encoded, and equality of equals.

    Args:
        make: The encoding's class, or a partial of it, called as ``make(space, seed=...)``.
        space: Whose architectures are encoded.
        num: How many.
        in_subprocess: Also compare with a process of another hash seed.

    Raises:
        AssertionError: saying what does not hold.
    """
    rng = np.random.default_rng(5)
    architectures = [*space.sample(rng, num - num // 2), *space.sample_choices(rng, num // 2)]
    encoding = make(space, seed=3)
    assert isinstance(encoding, Encoding), f"{type(encoding).__name__} cannot be called"
    state = global_random_state()
    vectors = encoding(architectures)
    assert state == global_random_state(), "moves a global random state"
    assert isinstance(vectors, np.ndarray), f"gives {type(vectors).__name__}, not an array"
    assert vectors.dtype == np.float64, f"gives {vectors.dtype}, not float64"
    assert vectors.ndim == 2 and len(vectors) == num, f"gives shape {vectors.shape} for {num} architectures"
    assert np.isfinite(vectors).all(), "gives values that are not finite"
    if len(set(architectures)) > 1:
        assert len(np.unique(vectors, axis=0)) > 1, "gives all architectures one vector"
    _check_same(encoding(architectures), vectors, "the second time")
    assert encoding([]).shape == (0, vectors.shape[1]), f"gives shape {encoding([]).shape} for no architectures"
    for i in (0, num // 2, num - 1):
        _check_same(encoding([architectures[i]]), vectors[i : i + 1], "alone")
    _check_same(encoding(architectures[::-1]), vectors[::-1], "in another order")
    copies = [Architecture.from_json(each.to_json()) for each in architectures]
    _check_same(encoding(copies), vectors, "read from JSON")
    _check_same(encoding([architectures[0]] * 3), vectors[[0, 0, 0]], "three times")
    other = make(space, seed=3)
    other(space.sample(rng, 7))
    _check_same(other(architectures), vectors, "by another instance that encoded something else before")
    if in_subprocess:
        _check_same(_made_elsewhere(make, space, architectures), vectors, "in another process")


def _check_same(made: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], when: str) -> None:
    assert made.shape == expected.shape, f"gives shape {made.shape} {when}, {expected.shape} before"
    different = np.flatnonzero((made != expected).any(1))
    assert not len(different), f"gives another vector {when} for {len(different)} of {len(made)} architectures"


def _made_elsewhere(make: Make, space: Space, architectures: list[Architecture]) -> npt.NDArray[np.float64]:
    with TemporaryDirectory() as folder:
        (Path(folder) / "asked").write_bytes(pickle.dumps((make, space, architectures)))
        environment = os.environ | {"PYTHONHASHSEED": "77"}
        command = [sys.executable, "-c", _CHILD, folder, pickle.dumps(sys.path).hex()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"fails in another process:\n{done.stderr[-2000:]}"
        made: npt.NDArray[np.float64] = np.load(Path(folder) / "made.npy", allow_pickle=False)
    return made
