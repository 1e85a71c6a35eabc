"""``sartor supernet TASK`` and ``sartor trust RUN``: shared weights, and how far their ranking can be trusted."""

# Annotations are read at run time: the task's own options are only known then.
import dataclasses
import math
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.cli._tasks import resumable, task_app, task_options
from sartor.errors import InputError, near
from sartor.registry import TaskSpec, find, specs
from sartor.units import format_figure

_SHOWN = ("params", "latency_ms", "peak_memory_bytes")
"""Costs in the closing table."""
_NOT_OPTIONS = ("space", "inputs", "part", "seed")
"""What every method is made with."""


def _command(spec: TaskSpec, options_type: type[Any]) -> Callable[..., None]:
    kept = Group.create_ordered("Shared weights")
    own = Group.create_ordered(f"Options of {spec.name}")

    def supernet(
        *,
        method: Annotated[str, Parameter(name=["--method", "-m"], group=kept)] = "one-shot",
        data: Annotated[str | None, Parameter(name=["--data", "-d"], group=kept)] = None,
        set_: Annotated[list[str] | None, Parameter(name="--set", group=kept, negative=())] = None,
        epochs: Annotated[float | None, Parameter(group=kept)] = None,
        seed: Annotated[int, Parameter(group=kept)] = 0,
        ranks: Annotated[int, Parameter(group=kept)] = 1,
        train_on: Annotated[Literal["cpu", "cuda"], Parameter(group=kept)] = "cpu",
        out: Annotated[Path, Parameter(name=["--out", "-o"], group=kept)] = DEFAULT_OUT,
        resume: Annotated[bool, Parameter(negative=(), group=kept)] = False,
        options: Annotated[Any, Parameter(name="*", group=own)] = options_type(),  # noqa: B008
    ) -> None:
        """Train the weights of all architectures of a task's space at once.

        Parameters
        ----------
        method
            How weights are shared: see sartor supernets.
        data
            The data, or the name of a known data set; a bundled one when left out.
        set_
            An option of the method, NAME=VALUE; repeat for several.
        epochs
            Length of the training; by default four times a full training of one network.
        seed
            Same seed, same weights.
        ranks
            Processes that share each step (data-parallel, gloo): a step has so many times more examples.
        train_on
            Where to train.
        out
            Folder of results.
        resume
            Go on with the interrupted training of this task in the folder of results.
        """
        from sartor._supernet import train_supernet
        from sartor.cli._progress import Progress

        task = spec.load()(data, **dataclasses.asdict(options))
        with resumable("the last checkpoint is kept") as command, Progress() as progress:
            trained = train_supernet(
                task,
                method=method,
                method_options=_options(method, set_ or ()),
                epochs=epochs,
                seed=seed,
                ranks=ranks,
                device=train_on,
                out=out,
                resume=resume,
                task_name=spec.name.lower(),
                command=command,
                on_event=progress,
            )
        _print_trained(trained)

    # The annotation with the task's own type is only known here.
    supernet.__annotations__["options"] = Annotated[options_type, Parameter(name="*", group=own)]
    return supernet


def _options(method: str, given: Sequence[str]) -> dict[str, Any]:
    """Returns options of a method: numbers and true or false as such, lists by commas, otherwise text.

    An option whose default is a list takes one, of one value too.

    Raises:
        InputError: Not NAME=VALUE, or no option of the method.
    """
    parameters = signature(find("supernets", method).load()).parameters
    known = {name: each.default for name, each in parameters.items() if name not in _NOT_OPTIONS}
    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise InputError(f"--set takes NAME=VALUE, got {each!r}")
        if name not in known:
            raise InputError(f"--set {each}: {method} has no option {name!r}{near(name, known)}")
        values = [_value(part) for part in text.split(",") if part]
        found[name] = values if len(values) != 1 or isinstance(known[name], tuple) else values[0]
    return found


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _print_trained(trained: Any) -> None:
    console = Console()
    shown = ", ".join(f"{name} {value:.4f}" for name, value in trained.metrics.items())
    console.print(f"{trained.run.id}: {trained.cpu_s:.0f} s of processor time; {shown}", highlight=False)
    if trained.derived is not None:
        console.print(f"derived: {trained.derived.to_json()}", highlight=False, soft_wrap=True)
        console.print(f"train it alone: sartor search ... --shared-weights {trained.place}", highlight=False)
        return
    console.print(f"search with them: sartor search ... --shared-weights {trained.place}", highlight=False)
    console.print(f"take networks out: sartor subnet {trained.place} --limit ...", highlight=False)
    console.print(f"how far to trust them: sartor trust {trained.place}", highlight=False)


def run(tokens: Sequence[str]) -> None:
    """Runs ``sartor supernet`` with the tokens behind it."""
    task_app("supernet", tokens, lambda spec: _command(spec, task_options(spec)))


def methods() -> None:
    """List the ways of sharing weights."""
    table = Table("name", "what it does", "when", "source", box=None, header_style="bold", pad_edge=False)
    for spec in specs("supernets").values():
        table.add_row(spec.name, spec.summary, spec.when, spec.citation)
    Console().print(table)


def trust(
    place: str,
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--networks"])] = 20,
    epochs: float | None = None,
    seed: int = 0,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train some architectures alone and compare: does the order by shared weights hold?

    Parameters
    ----------
    place
        Folder of results, or FOLDER:RUN, of shared weights or of a search by them.
    k
        Architectures, drawn uniformly.
    epochs
        Of each training alone; by default a full training of the task.
    seed
        Of the draw and of the trainings.
    workers
        Processes; by default one a core.
    resume
        Go on with the interrupted comparison.
    """
    from sartor._supernet import trust as compare
    from sartor.cli._progress import Progress

    with Progress() as progress:
        found = compare(place, k=k, epochs=epochs, seed=seed, workers=workers, resume=resume, on_event=progress)
    console = Console()
    table = Table("by shared weights", "trained alone", "architecture", box=None, header_style="bold", pad_edge=False)
    rows = sorted(zip(found.alone, found.inherited, found.architectures, strict=True), key=lambda row: -row[0])
    for alone, inherited, architecture in rows:
        table.add_row(f"{inherited:.4f}", f"{alone:.4f}", architecture.to_json())
    console.print(table)
    low, high = found.interval
    tau = f"Kendall's tau {found.tau:.3f} (95% from {low:.3f} to {high:.3f}) over " if math.isfinite(found.tau) else ""
    console.print(f"{found.metric}: {tau}{len(rows)} networks. {found.words}", highlight=False)


def subnet(
    place: str,
    /,
    *,
    limit: Annotated[list[str], Parameter(name=["--limit", "-l"], negative=())],
    evaluations: int = 100,
    seed: int = 0,
    export: bool = True,
) -> None:
    """Take networks out of shared weights without training: the best found under each limit.

    Parameters
    ----------
    place
        Folder of results, or FOLDER:RUN, of shared weights.
    limit
        What must hold, one network for each: latency=1ms; with commas several that hold together,
        latency=1ms,params=50k. Repeat for several networks.
    evaluations
        Networks scored, over all limits.
    seed
        Of the evolution.
    export
        Write each network as ONNX.
    """
    from sartor._supernet import subnets
    from sartor.cli._progress import Progress

    with Progress() as progress:
        found = subnets(place, limit, evaluations=evaluations, seed=seed, export=export, on_event=progress)
    console = Console()
    table = Table("limit", "validation", "test", "costs", box=None, header_style="bold", pad_edge=False)
    table.add_column("file", overflow="fold")
    for text, each in zip(limit, found, strict=True):
        if each.served.architecture is None:
            table.add_row(text, "none found", "", "", "")
            continue
        metric = next(iter(each.served.metrics))
        costs = {name: each.served.costs[name] for name in _SHOWN if name in each.served.costs}
        table.add_row(
            text,
            f"{metric} {each.served.metrics[metric]:.4f}",
            f"{each.test[metric]:.4f}" if metric in each.test else "",
            ", ".join(f"{name} {format_figure(name, figure.value)}" for name, figure in costs.items()),
            str(each.file or ""),
        )
    console.print(table)


app = App(name="supernet", help="Train the weights of all architectures at once.")
