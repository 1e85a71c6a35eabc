"""How a benchmark ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sartor.errors import SartorError


def exit_with(main: Callable[[], int]) -> None:
    """Runs a benchmark and leaves with its status; what Sartor refuses is said in a line, with status 2."""
    try:
        sys.exit(main())
    except SartorError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
