"""What the two spaces of TransNAS-Bench-101 share: tasks, metrics and scores.

Duan et al. 2021, "TransNAS-Bench-101: Improving Transferability and Generalizability of Cross-Task Neural Architecture
Search", arXiv:2105.11871: seven tasks of Taskonomy. The figure of each is the final validation metric, by which a
search is shown and judged: top-1 accuracy (class_object, class_scene, jigsaw) and pixel accuracy (segmentsemantic) as
percentages, structural similarity (autoencoder, normal), minus the L2 loss (room_layout). There is no noisy protocol
and no cost.

Scores are NAS-Bench-Suite-Zero's (Krishnakumar et al. 2022, arXiv:2210.03230), as far as published for the task.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from sartor.errors import InputError, near
from sartor.estimators.tables._files import read
from sartor.estimators.tables._table import Protocol, Table, cleaned
from sartor.space import Space
from sartor.trials import Fidelity

Dataset = Literal["class_object", "class_scene", "jigsaw", "autoencoder", "normal", "room_layout", "segmentsemantic"]
TASKS = {
    "class_object": ("accuracy", "%"),
    "class_scene": ("accuracy", "%"),
    "jigsaw": ("accuracy", "%"),
    "autoencoder": ("structural_similarity", ""),
    "normal": ("structural_similarity", ""),
    "room_layout": ("negative_l2_loss", ""),
    "segmentsemantic": ("pixel_accuracy", "%"),
}
"""Task -> metric and its unit; more is better of each."""
_SCORES = {
    "class_object": ("zen", "epe_nas", "synflow", "fisher"),
    "class_scene": ("zen", "epe_nas", "synflow"),
    "jigsaw": ("zen", "epe_nas", "synflow", "fisher"),
    "autoencoder": ("zen",),
    "normal": ("zen",),
    "room_layout": ("zen", "epe_nas", "synflow"),
    "segmentsemantic": ("zen",),
}


def table(
    folder: str | Path,
    name: str,
    dataset: str,
    num_rows: int,
    space: Space,
    coded: Callable[[list[str]], npt.NDArray[Any]],
) -> Table:
    """Returns the table of a task.

    Args:
        folder: Where ``name``.parquet is.
        name: Of the benchmark.
        dataset: The task.
        num_rows: Of the file.
        space: Of its architectures.
        coded: The benchmark's texts to codes of ``space``.

    Raises:
        InputError: An unknown task; a file that is missing or not as expected.
    """
    if dataset not in TASKS:
        raise InputError(f"unknown task {dataset!r} of {name}{near(dataset, TASKS)}")
    metric, unit = TASKS[dataset]
    scores = [f"{dataset}_{score}" for score in _SCORES[dataset]]
    columns = read(folder, f"{name}.parquet", ["arch", f"{dataset}_val", *scores], num_rows=num_rows, unbounded=scores)
    return Table(
        name=f"{name}/{dataset}",
        space=space,
        codes=coded(columns["arch"].tolist()),
        columns={"val": columns[f"{dataset}_val"]},
        protocols={"clean": Protocol("val", "val")},
        fidelities={Fidelity(1, "trainings"): "val"},
        metric=metric,
        unit=unit,
        scores={score: cleaned(columns[f"{dataset}_{score}"]) for score in _SCORES[dataset]},
    )
