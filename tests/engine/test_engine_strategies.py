"""Every built-in strategy, resumed in other processes, proposes what it would have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.halves import NAMES, search

TRIALS = 50


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Searches made in two processes whose hashes, and so the orders of their sets, differ."""
    out = tmp_path_factory.mktemp("halves")
    for trials, seed in ((25, "1"), (TRIALS - 2, "2")):
        subprocess.run(
            [sys.executable, "-m", "tests.engine.halves", str(out), str(trials)], cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=240,
        )
    return out


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_resumed_elsewhere_searches_the_same(halves: Path, tmp_path: Path, name: str) -> None:
    assert search(halves, name, TRIALS) == search(tmp_path, name, TRIALS)
