from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "nas"


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of the published tables."""
    if not SHARED.is_dir():
        pytest.skip("the published tables of ../shared are not here")
    return SHARED
