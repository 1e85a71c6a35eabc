"""Scores of a space without training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table as Printed

from sartor.errors import InputError, MissingExtraError, near
from sartor.estimators.proxies import load
from sartor.estimators.proxies.aggregate import AGGREGATE, INGREDIENTS
from sartor.estimators.proxies.calibration import CALIBRATED, LEAST, calibrated, spread
from sartor.estimators.proxies.survey import Subject, survey, trained, write
from sartor.registry import specs
from sartor.space import Architecture

_NUM_SHOWN = 10


def run(
    name: Annotated[str | None, Parameter(show=True)] = None,
    /,
    *,
    proxy: list[str] | None = None,
    n: str = "1000",
    data: str | None = None,
    channels: int | None = None,
    classes: int | None = None,
    size: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    seeds: int = 1,
    fold: bool = False,
    calibrate: int | None = None,
    epochs: float = 3.0,
    workers: int = 1,
    out: Path = Path("scores.parquet"),
    table: Path | None = None,
    dataset: str | None = None,
) -> None:
    """Score the architectures of a space without training any; the best first, all in a Parquet file.

    Stopped and started again with the same arguments it goes on where it was.

    Parameters
    ----------
    name
        A ready-made space, whose networks are fed noise like photographs, or a task, whose own space is fed its
        training data. Without it the proxies are listed.
    proxy
        Name of a training-free score; may be given several times. By default what Sartor's aggregate is made of.
    n
        How many architectures, drawn uniformly, or all.
    data
        Data of a task.
    channels
        Of the images of a ready-made space; 3 by default.
    classes
        Of a ready-made space; 10 by default.
    size
        Side of the images of a ready-made space, in pixels; 32 by default.
    batch_size
        Samples in a pass.
    seed
        Of the sample, the weights and the inputs.
    seeds
        How many times each is scored, with weights and inputs of its own; the mean counts.
    fold
        Score architectures once that compute the same: the one of the fewest parameters stands for all.
    calibrate
        How many are trained to correct the ranking (20 help): on the task's data, or as the table has them.
    epochs
        Of each of these trainings on a task's data.
    workers
        Processes, one thread each.
    out
        Parquet file.
    table
        Folder of published trainings of this space: also print Kendall's tau with them and draw rank against rank.
    dataset
        Of the table; its first by default.
    """
    console = Console()
    if name is None:
        _list(console)
        return
    number = _number(n)
    subject = _subject(name, data, channels, classes, size)
    if dataset is not None and table is None:
        raise InputError("--dataset is of a table: give --table DIR too")
    names = list(proxy or INGREDIENTS)
    truth = None if table is None else _truth(name, table, dataset)
    if calibrate is not None and truth is None and subject.kind == "space":
        raise InputError("--calibrate trains on the data of a task, or looks up in a table: give a task or --table DIR")
    if calibrate is not None and not LEAST <= calibrate <= (number or calibrate):
        raise InputError(f"--calibrate: expected at least {LEAST} trainings and no more than --n, got {calibrate}")
    load(*names)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("scoring", total=None)
        columns = survey(
            subject,
            names,
            num=number,
            out=out,
            batch_size=batch_size,
            seed=seed,
            num_seeds=seeds,
            fold=fold,
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        shown = AGGREGATE if AGGREGATE in columns else names[0]
        if calibrate is not None:
            bar.update(task, description="training", completed=0, total=calibrate)
            columns[CALIBRATED] = _calibrated(
                columns,
                shown,
                subject,
                truth,
                calibrate,
                epochs,
                seed,
                out,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
            shown = CALIBRATED
    _print(console, columns, shown)
    console.print(f"{len(columns[shown]):,} architectures in {out}", highlight=False)
    if truth is not None:
        _compare(console, columns, truth, out.with_suffix(".png"), shown)


def _calibrated(
    columns: dict[str, list[Any]],
    by: str,
    subject: Subject,
    truth: Any,
    num: int,
    epochs: float,
    seed: int,
    out: Path,
    progress: Callable[[int, int], None],
) -> list[float]:
    """Returns the ranking ``by`` as corrected by ``num`` trainings, and writes it to ``out`` beside the others."""
    prior = np.asarray(columns[by], np.float64)
    rows = spread(prior, num, seed)
    architectures = [Architecture.from_json(text) for text in columns["architecture"]]
    if truth is not None:
        sign = 1 if truth.direction == "max" else -1
        values = sign * truth.observed()[truth.indices([architectures[row] for row in rows])]
    else:
        texts = [columns["architecture"][row] for row in rows]
        kept = Path(f"{out}.trained")
        values = trained(subject, texts, epochs, kept=kept, seed=seed, progress=progress)
    found = calibrated(subject.open()[0], architectures, prior, rows, values).tolist()
    write({**columns, CALIBRATED: found}, out)
    corrected: list[float] = found
    return corrected


def _list(console: Console) -> None:
    printed = Printed("name", "what it is", "source", box=None, header_style="bold", pad_edge=False)
    for spec in specs("proxies").values():
        printed.add_row(spec.name, spec.summary, spec.citation)
    console.print(printed)


def _number(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--n is a number of architectures or all, got {text!r}")
    return int(text)


def _subject(name: str, data: str | None, channels: int | None, classes: int | None, size: int | None) -> Subject:
    if name in specs("tasks"):
        if (channels, classes, size) != (None, None, None):
            raise InputError(f"--channels, --classes and --size are of a ready-made space; {name} is a task")
        return Subject("task", name, source=data)
    if name not in specs("spaces"):
        raise InputError(f"{name!r} is neither a space nor a task{near(name, [*specs('spaces'), *specs('tasks')])}")
    if data is not None:
        raise InputError(f"--data is of a task, and {name} is a space: give its --channels, --classes and --size")
    size = 32 if size is None else size
    return Subject("space", name, {"channels": channels or 3, "classes": classes or 10}, size)


def _truth(name: str, folder: Path, dataset: str | None) -> Any:
    if name not in specs("tables"):
        raise InputError(f"no table of {name} has been published here{near(name, specs('tables'))}")
    from sartor.estimators.tables import lookup

    return lookup.load(folder, name, dataset)


def _print(console: Console, columns: dict[str, list[Any]], by: str) -> None:
    scores = [key for key in columns if key != "architecture"]
    printed = Printed("rank", *scores, "architecture", box=None, header_style="bold", pad_edge=False)
    order = np.argsort(-np.asarray(columns[by], np.float64), kind="stable")
    for place, row in enumerate(order[:_NUM_SHOWN].tolist(), 1):
        architecture = Architecture.from_json(columns["architecture"][row])
        values = [f"{columns[key][row]:.5g}" for key in scores]
        printed.add_row(str(place), *values, ", ".join(map(str, architecture.values())))
    console.print(printed)


def _compare(console: Console, columns: dict[str, list[Any]], truth: Any, picture: Path, shown: str) -> None:
    from scipy.stats import kendalltau, rankdata

    rows = truth.indices([Architecture.from_json(text) for text in columns["architecture"]])
    values = truth.observed()[rows] * (1 if truth.direction == "max" else -1)
    printed = Printed("score", "Kendall's tau", box=None, header_style="bold", pad_edge=False)
    taus = {}
    for key, column in columns.items():
        if key != "architecture":
            # Ties of the dead are ties.
            taus[key] = float(kendalltau(rankdata(column), values).statistic)
            printed.add_row(key, f"{taus[key]:.3f}")
    console.print(printed)
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise MissingExtraError("the picture of ranks", error.name or "matplotlib", "plots") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5), constrained_layout=True)
    axes.scatter(rankdata(columns[shown]), rankdata(values), s=6, alpha=0.5, linewidths=0)
    axes.set(
        title=f"{truth.name}: Kendall's tau {taus[shown]:.3f}",
        xlabel=f"rank by {shown}, without training",
        ylabel=f"rank by {truth.metric}",
    )
    figure.savefig(picture, dpi=130)
    plt.close(figure)
    console.print(f"picture {picture}", highlight=False)
