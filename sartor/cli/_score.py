"""Scores of a space without training."""

# Annotations are read at run time: a task's own options are only known then.
import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table as Printed

from sartor.cli._tasks import task_app, task_options
from sartor.errors import InputError, MissingExtraError, UnsupportedNetworkError, near
from sartor.estimators.proxies import DEAD, load
from sartor.estimators.proxies.aggregate import AGGREGATE, INGREDIENTS
from sartor.estimators.proxies.calibration import CALIBRATED, LEAST, calibrated, spread
from sartor.estimators.proxies.survey import SHORT_TRAINING, Subject, supporting, survey, trained, write
from sartor.registry import TaskSpec, specs
from sartor.space import Architecture

_NUM_SHOWN = 10


@dataclass(frozen=True)
class Scoring:
    """How architectures are scored.

    Attributes:
        proxy: Name of a training-free score; may be given several times. By default what Sartor's aggregate is made of.
        n: How many architectures, drawn uniformly, or all.
        batch_size: Samples in a pass.
        seed: Of the sample, the weights and the inputs.
        seeds: How many times each is scored, with weights and inputs of its own; the mean counts.
        fold: Score architectures once that compute the same: the one of the fewest parameters stands for all.
        short_training: Steps of a training of each on the task's data and labels; its validation metric ranks.
        calibrate: How many are trained to correct the ranking (20 help): on the task's data, or as the table has them.
        epochs: Of each of these trainings on a task's data.
        workers: Processes, one thread each.
        out: Parquet file.
    """

    proxy: Annotated[list[str] | None, Parameter(negative=())] = None
    n: str = "1000"
    batch_size: int = 32
    seed: int = 0
    seeds: int = 1
    fold: Annotated[bool, Parameter(negative=())] = False
    short_training: int | None = None
    calibrate: int | None = None
    epochs: float = 3.0
    workers: int = 1
    out: Path = Path("scores.parquet")

    @property
    def num(self) -> int | None:
        """How many; None for all."""
        if self.n == "all":
            return None
        if not self.n.isdecimal() or int(self.n) < 1:
            raise InputError(f"--n is a number of architectures or all, got {self.n!r}")
        return int(self.n)


_DEFAULTS = Scoring()
_HOW = Group.create_ordered("Scoring")


def run(tokens: Sequence[str]) -> None:
    """Runs ``sartor score`` with the tokens behind it: of a task with its options, or of a ready-made space."""
    if tokens and (tokens[0] in specs("tasks") or any(token.split("=")[0] == "--task" for token in tokens)):
        task_app("score", tokens, lambda spec: _of_task(spec, task_options(spec)))
        return
    from sartor.cli import app as everything

    everything(["score", *tokens])


def _of_task(spec: TaskSpec, options_type: type[Any]) -> Callable[..., None]:
    own = Group.create_ordered(f"Options of {spec.name}")

    def score(
        *,
        data: Annotated[str | None, Parameter(name=["--data", "-d"], group=_HOW)] = None,
        scoring: Annotated[Scoring, Parameter(name="*", group=_HOW)] = _DEFAULTS,
        options: Annotated[Any, Parameter(name="*", group=own)] = options_type(),  # noqa: B008
    ) -> None:
        """Score the architectures of a task's space without training any, on its training data; the best first.

        All are in a Parquet file. Stopped and started again with the same arguments it goes on where it was.

        Parameters
        ----------
        data
            The data, or the name of a known data set; a bundled one when left out.
        """
        name = spec.name if spec.name in specs("tasks") else spec.target
        _score(Subject("task", name, dataclasses.asdict(options), source=data), scoring)

    # The annotation with the task's own type is only known here.
    score.__annotations__["options"] = Annotated[options_type, Parameter(name="*", group=own)]
    return score


def of_space(
    name: Annotated[str | None, Parameter(show=True)] = None,
    /,
    *,
    scoring: Annotated[Scoring, Parameter(name="*", group=_HOW)] = _DEFAULTS,
    channels: int = 3,
    classes: int = 10,
    size: int = 32,
    table: Path | None = None,
    dataset: str | None = None,
) -> None:
    """Score the architectures of a ready-made space; the best first.

    Parameters
    ----------
    name
        A ready-made space, whose networks are fed noise like photographs. Without it the proxies are listed.
    channels
        Of the images.
    classes
        Of the images.
    size
        Side of the images in pixels.
    table
        Folder of published trainings of this space: also print Kendall's tau with them and draw rank against rank.
    dataset
        Of the table; its first by default.
    """
    if name is None:
        _list(Console())
        return
    if name not in specs("spaces"):
        raise InputError(f"{name!r} is neither a space nor a task{near(name, [*specs('spaces'), *specs('tasks')])}")
    if dataset is not None and table is None:
        raise InputError("--dataset is of a table: give --table DIR too")
    truth = None if table is None else _truth(name, table, dataset)
    if scoring.calibrate is not None and truth is None:
        raise InputError("--calibrate trains on the data of a task, or looks up in a table: give a task or --table DIR")
    _score(Subject("space", name, {"channels": channels, "classes": classes}, size), scoring, truth)


app = App(
    name="score",
    usage="Usage: sartor score [SPACE] [OPTIONS]\n       sartor score TASK [OPTIONS]\n"
    "       sartor score --task module:Class [OPTIONS]\n\nOptions of a task: sartor score TASK --help",
)
app.default(of_space)


def _score(subject: Subject, how: Scoring, truth: Any = None) -> None:
    """Scores, prints the best, writes all, and compares them with the truth where there is one."""
    console = Console()
    names = list(how.proxy or (() if how.short_training else INGREDIENTS))
    if how.calibrate is not None and not LEAST <= how.calibrate <= (how.num or how.calibrate):
        raise InputError(f"--calibrate: expected at least {LEAST} trainings and no more than --n, got {how.calibrate}")
    load(*names)
    try:
        columns, shown = _ranked(subject, names, how, truth)
    except UnsupportedNetworkError as error:
        if how.proxy:
            raise
        others = ", ".join(supporting(subject, batch_size=how.batch_size, seed=how.seed)) or "none"
        raise UnsupportedNetworkError(
            f"{error}: the aggregate needs it; name other scores by --proxy; three networks drawn have: {others}"
        ) from error
    if not (how.short_training or any(value > DEAD for value in columns[shown])):
        raise UnsupportedNetworkError(
            f"{shown} finds all {len(columns[shown]):,} networks dead: before they are trained their outputs do not"
            " depend on their inputs (a last layer that begins with zeros?), so nothing can be ranked without training"
        )
    _print(console, columns, shown)
    console.print(f"{len(columns[shown]):,} architectures in {how.out}", highlight=False)
    if truth is not None:
        _compare(console, columns, truth, how.out.with_suffix(".png"), shown)


def _ranked(subject: Subject, names: list[str], how: Scoring, truth: Any) -> tuple[dict[str, list[Any]], str]:
    """Returns the columns, also written to the file, and the name of the one that ranks."""
    bar = Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(file=sys.stderr))
    task = bar.add_task("scoring", total=None)
    with ExitStack() as until_now:

        def show(done: int, total: int) -> None:
            # What is wrong with the arguments or the data is said before anything is drawn.
            if not bar.live.is_started:
                until_now.enter_context(bar)
            bar.update(task, completed=done, total=total)

        columns = survey(
            subject,
            names,
            num=how.num,
            out=how.out,
            batch_size=how.batch_size,
            seed=how.seed,
            num_seeds=how.seeds,
            fold=how.fold,
            steps=how.short_training,
            workers=how.workers,
            progress=show,
        )
        shown = next(name for name in (SHORT_TRAINING[0], AGGREGATE, *names) if name in columns)
        if how.calibrate is not None:
            bar.update(task, description="training", completed=0, total=how.calibrate)
            columns[CALIBRATED] = _calibrated(columns, shown, subject, truth, how, show)
            shown = CALIBRATED
    return columns, shown


def _calibrated(
    columns: dict[str, list[Any]],
    by: str,
    subject: Subject,
    truth: Any,
    how: Scoring,
    progress: Callable[[int, int], None],
) -> list[float]:
    """Returns the ranking ``by`` as corrected by some trainings, and writes it beside the others."""
    prior = np.asarray(columns[by], np.float64)
    assert how.calibrate is not None
    rows = spread(prior, how.calibrate, how.seed)
    architectures = [Architecture.from_json(text) for text in columns["architecture"]]
    if truth is not None:
        sign = 1 if truth.direction == "max" else -1
        values = sign * truth.observed()[truth.indices([architectures[row] for row in rows])]
    else:
        texts = [columns["architecture"][row] for row in rows]
        kept = Path(f"{how.out}.trained")
        values = trained(subject, texts, how.epochs, kept=kept, seed=how.seed, progress=progress)
    found = calibrated(subject.open()[0], architectures, prior, rows, values).tolist()
    write({**columns, CALIBRATED: found}, how.out)
    corrected: list[float] = found
    return corrected


def _list(console: Console) -> None:
    printed = Printed("name", "what it is", "source", box=None, header_style="bold", pad_edge=False)
    for spec in specs("proxies").values():
        printed.add_row(spec.name, spec.summary, spec.citation)
    console.print(printed)


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
