"""Any space, choice by choice, by Optuna's define-by-run."""

from __future__ import annotations

from typing import Any

import numpy as np

from sartor.space import Architecture, Space


def suggest(trial: Any, space: Space, *, ordered: bool) -> Architecture:
    """Returns the architecture that an Optuna trial suggests.

    Args:
        trial: Asked for a parameter a choice, only for choices that are active.
        space: Of the architecture.
        ordered: Suggest evenly spaced numbers as such, so that samplers can use their order; else all are categories.

    Raises:
        SpaceError: What was suggested breaks a constraint.
    """
    compiled = space._compiled
    codes: list[int] = []
    values: dict[str, Any] = {}
    for index, slot in enumerate(compiled.slots):
        codes.append(-1)
        if not compiled.is_active(index, codes):
            continue
        codes[index] = 0
        if slot.kind == "number":
            values[slot.key] = trial.suggest_float(slot.id, slot.node.low, slot.node.high, log=slot.node.log)
        elif slot.kind != "use":
            codes[index] = _suggest_code(trial, slot, ordered)
            values[slot.key] = slot.domain[codes[index]]
    return space.representative(values)


def _suggest_code(trial: Any, slot: Any, ordered: bool) -> int:
    labels = list(slot.domain)
    if ordered and all(type(label) is int for label in labels) and len(labels) > 2 and len(set(np.diff(labels))) == 1:
        return labels.index(trial.suggest_int(slot.id, labels[0], labels[-1], step=labels[1] - labels[0]))
    return int(trial.suggest_categorical(slot.id, list(range(len(labels)))))
