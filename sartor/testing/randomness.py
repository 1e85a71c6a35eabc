"""The global random states that nothing but a program's owner may move."""

from __future__ import annotations

import random

import numpy as np
import torch


def global_random_state() -> tuple[object, ...]:
    """Returns the states of ``random``, numpy's and torch's global generators, comparable with ``==``."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest, torch.get_rng_state().numpy().tobytes()
