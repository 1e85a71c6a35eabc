"""What a task's reader gives to ``sartor.export.predict``: no torch and no runtime here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Examples:
    """What a file holds, as an exported network takes it.

    Attributes:
        path: The file.
        inputs: One array for each input of the network, first dimension the examples.
        notes: Counted warnings for the person.
        rows: The file holds an example a row, to be named by its number from 1; else it is one example.
    """

    path: Path
    inputs: tuple[np.ndarray, ...]
    notes: tuple[str, ...] = ()
    rows: bool = False
