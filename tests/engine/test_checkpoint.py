"""Checkpoints come back as they were, with torch or without, and hold nothing that runs code."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sartor.engine._checkpoint import load, save


def state() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "step": 3, "big": 2**70, "at": rng.normal(size=(2, 3)), "single": rng.normal(size=4).astype(np.float32),
        "ids": np.arange(5), "mask": np.array([True, False]), "scalar": np.float64(0.1), "count": np.int64(7),
        "names": ["a", "b"], "pair": (1, None), "rng": rng.bit_generator.state, "empty": np.zeros((0, 2)),
        "text": np.array(["x", "yz"]),
    }


def check(found: Any) -> None:
    for name, value in state().items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype and np.array_equal(found[name], value)
        else:
            assert found[name] == value and type(found[name]) is type(value)


def test_plain_values_and_arrays_come_back_where_torch_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "0.checkpoint.pt"
    save(path, {**state(), "weight": torch.arange(3.0)})
    found = load(path)
    assert found is not None and torch.equal(found["weight"], torch.arange(3.0))
    check(found)


def test_they_come_back_from_a_process_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "0.checkpoint.pt"
    code = (
        "import sys, numpy as np; from pathlib import Path; from sartor.engine._checkpoint import load, save; "
        "p = Path(sys.argv[1]); save(p, {'at': np.arange(3.0), 'step': 2}); "
        "assert load(p)['at'].tolist() == [0, 1, 2] and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    found = load(path)
    assert found is not None and found["step"] == 2 and found["at"].tolist() == [0.0, 1.0, 2.0]


def test_plain_pickles_give_back_all_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "0.checkpoint.pt"
    path.write_bytes(pickle.dumps(state(), protocol=5))
    check(load(path))


def test_what_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.checkpoint.pt"
    path.write_bytes(pickle.dumps({"x": Fraction(1, 2)}))
    with pytest.raises(pickle.UnpicklingError, match="plain values, arrays and tensors"):
        load(path)
    save(path, {"x": Fraction(1, 2)})
    with pytest.raises(pickle.UnpicklingError):
        load(path)


def test_a_damaged_one_is_said_to_be_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "0.checkpoint.pt"
    assert load(path) is None
    for content in (pickle.dumps(state()), None):
        if content is None:
            save(path, state())
            content = path.read_bytes()
        for size in (1, 20, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(pickle.UnpicklingError):
                load(path)


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "0.checkpoint.pt"
    save(path, {"step": 1})

    def fail(first: Any, second: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        save(path, {"step": 2})
    assert load(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
