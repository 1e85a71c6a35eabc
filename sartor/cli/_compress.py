"""``sartor compress RUN`` for networks of recorded searches, ``sartor compress TASK --model`` for anybody's own."""

# Annotations are read at run time: the task's own options are only known then.
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.cli._tasks import resumable, task_app, task_options
from sartor.errors import BudgetError, InputError
from sartor.registry import TaskSpec, specs
from sartor.units import listed

_COSTS = {
    "latency_ms": "latency", "macs": "MACs", "params": "parameters", "model_bytes": "size", "energy_mj": "energy"
}


def _options(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Returns step -> option -> text of ``step.option=value``."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        step, dot, name = place.partition(".")
        if not (equals and dot and step and name):
            raise InputError(f"--option {text}: expected step.option=value, such as prune.criterion=l2")
        found.setdefault(step.strip(), {})[name.strip()] = value.strip()
    return found


def _run(make: Callable[[], Any], steps: str, option: Sequence[str], **arguments: Any) -> None:
    from sartor.cli._progress import Progress
    from sartor.compress.pipeline import compress

    with resumable("all that was finished is kept") as command, Progress() as progress:
        found = compress(
            make(), listed(steps), options=_options(option), on_event=progress, command=command, **arguments
        )
    _print(found)
    if found.broken:
        raise BudgetError(
            f"{found.run} is done, but {' and '.join(map(str, found.broken))} does not hold: see above for the closest"
        )


def _print(found: Any) -> None:
    """Prints figures down, steps across, each cost beside its share of the first."""
    from sartor.units import format_figure

    console = Console()
    table = Table("", box=None, header_style="bold", pad_edge=False)
    for stage in found.stages:
        table.add_column(f"{stage.step}{' *' if stage.is_on_front else ''}", justify="right", no_wrap=True)
    for name, label in ((found.primary, f"validation {found.primary}"), (f"test.{found.primary}", "test")):
        if any(name in stage.metrics for stage in found.stages):
            cells = [f"{stage.metrics[name]:.4f}" if name in stage.metrics else "" for stage in found.stages]
            table.add_row(label, *cells)
    first = found.stages[0].costs
    for name, label in _COSTS.items():
        if name in first:
            cells = []
            for stage in found.stages:
                value = stage.costs[name].value if name in stage.costs else None
                share = "" if value is None or stage.number == 0 else f" ×{value / first[name].value:.2f}"
                cells.append("" if value is None else f"{format_figure(name, value)}{share}")
            table.add_row(label, *cells)
    console.print(table)
    console.print("* no other is better in one of score and first cost, and not worse in the other", style="dim")
    if found.stages[-1].file is not None:
        console.print(f"network: {found.stages[-1].file}", highlight=False, soft_wrap=True)
    if found.report is not None:
        console.print(f"report: {found.report}", highlight=False, soft_wrap=True)


def _command(spec: TaskSpec, options_type: type[Any]) -> Callable[..., None]:
    kept = Group.create_ordered("Compression")
    own = Group.create_ordered(f"Options of {spec.name}")

    def compress(
        *,
        model: Annotated[str, Parameter(group=kept)],
        weights: Annotated[Path, Parameter(group=kept)],
        steps: Annotated[str, Parameter(group=kept)] = "prune",
        data: Annotated[str | None, Parameter(name=["--data", "-d"], group=kept)] = None,
        limit: Annotated[list[str] | None, Parameter(name=["--limit", "-l"], group=kept, negative=())] = None,
        option: Annotated[list[str] | None, Parameter(group=kept, negative=())] = None,
        epochs: Annotated[float | None, Parameter(group=kept)] = None,
        seed: Annotated[int, Parameter(group=kept)] = 0,
        out: Annotated[Path, Parameter(name=["--out", "-o"], group=kept)] = DEFAULT_OUT,
        resume: Annotated[bool, Parameter(negative=(), group=kept)] = False,
        options: Annotated[Any, Parameter(name="*", group=own)] = options_type(),  # noqa: B008
    ) -> None:
        """Compress a trained network of your own: measured after each step, exported, reported.

        Parameters
        ----------
        model
            What makes the network, called without arguments: module:function or file.py:function.
        weights
            File that torch.save(network.state_dict(), file) wrote; it is read and left as it is.
        steps
            What to do, in order, with commas between: see sartor compressors.
        data
            The data, or the name of a known data set; a bundled one when left out.
        limit
            What must hold in the end, e.g. latency=0.5ms, macs=2M, params=100k; repeat for several.
        option
            Of a step, e.g. prune.criterion=l2 or prune.skip=stem*; repeat for several.
        epochs
            Training of each step; half of a full training when left out, 0 for none.
        seed
            Same seed, same result.
        out
            Folder of results.
        resume
            Go on with the interrupted compression of this network in the folder of results.
        """
        from sartor.compress.pipeline import of_model

        _run(
            lambda: of_model(model, weights, spec.load()(data, **dataclasses.asdict(options))),
            steps, option or (), limits=limit or (), epochs=epochs, seed=seed, out=out, resume=resume,
        )

    compress.__annotations__["options"] = Annotated[options_type, Parameter(name="*", group=own)]
    return compress


def _of_run(
    run: str = "latest",
    /,
    *,
    steps: str = "prune",
    limit: Annotated[list[str] | None, Parameter(name=["--limit", "-l"], negative=())] = None,
    option: Annotated[list[str] | None, Parameter(negative=())] = None,
    which: str = "chosen",
    epochs: float | None = None,
    seed: int = 0,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = DEFAULT_OUT,
    resume: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Compress a network of a recorded search: measured after each step, exported, reported.

    For a network of your own: sartor compress TASK --model module:function --weights FILE.

    Parameters
    ----------
    run
        A search, or an earlier compression to go on from; "latest" is the last finished one.
    steps
        What to do, in order, with commas between: see sartor compressors.
    limit
        What must hold in the end, e.g. latency=0.5ms, macs=2M, params=100k; repeat for several.
    option
        Of a step, e.g. prune.criterion=l2 or prune.skip=stem*; repeat for several.
    which
        Finalist of the search: "chosen" or its number.
    epochs
        Training of each step; half of a full training when left out, 0 for none.
    seed
        Same seed, same result.
    out
        Folder of results.
    resume
        Go on with the interrupted compression of this network in the folder of results.
    """
    from sartor.compress.pipeline import of_run

    _run(
        lambda: of_run(out, run, which), steps, option or (), limits=limit or (), epochs=epochs, seed=seed, out=out,
        resume=resume,
    )


def run(tokens: Sequence[str]) -> None:
    """Runs ``sartor compress`` with the tokens behind it."""
    named = tokens and not tokens[0].startswith("-") and tokens[0] in specs("tasks")
    if named or any(token == "--task" or token.startswith("--task=") for token in tokens):
        task_app("compress", tokens, lambda spec: _command(spec, task_options(spec)))
        return
    own = App(name="sartor compress", help_flags=["--help", "-h"], version_flags=[], suppress_keyboard_interrupt=False)
    own.default(_of_run)
    own(list(tokens))


app = App(name="compress", help="Make a trained network smaller for its limits.")
