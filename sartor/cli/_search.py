"""``sartor search TASK``: options common to all tasks, and the task's own, made from its ``Options``."""

# Annotations are read at run time: the task's own options are only known then.
import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from sartor.cli import DEFAULT_OUT
from sartor.errors import InputError
from sartor.registry import TaskSpec, find, resolve, specs


def _task_options(spec: TaskSpec) -> type[Any]:
    return resolve(spec.options) if spec.options else dataclasses.make_dataclass("Options", [], frozen=True)


def _command(spec: TaskSpec, options_type: type[Any]) -> Callable[..., None]:
    kept = Group.create_ordered("Search")
    own = Group.create_ordered(f"Options of {spec.name}")

    def search(
        *,
        data: Annotated[str | None, Parameter(name=["--data", "-d"], group=kept)] = None,
        limit: Annotated[list[str] | None, Parameter(name=["--limit", "-l"], group=kept, negative=())] = None,
        objective: Annotated[list[str] | None, Parameter(group=kept, negative=())] = None,
        budget: Annotated[str | None, Parameter(name=["--budget", "-b"], group=kept)] = None,
        trials: Annotated[int | None, Parameter(name=["--trials", "-n"], group=kept)] = None,
        strategy: Annotated[str | None, Parameter(name=["--strategy", "-s"], group=kept)] = None,
        transfer: Annotated[list[str] | None, Parameter(group=kept, negative=())] = None,
        promising: Annotated[int, Parameter(group=kept)] = 0,
        halving: Annotated[bool, Parameter(group=kept)] = True,
        epochs: Annotated[float | None, Parameter(group=kept)] = None,
        finalists: Annotated[int, Parameter(group=kept)] = 5,
        seed: Annotated[int, Parameter(group=kept)] = 0,
        workers: Annotated[int | None, Parameter(name=["--workers", "-j"], group=kept)] = None,
        slots: Annotated[int, Parameter(group=kept)] = 4,
        device: Annotated[Literal["cpu", "cuda"], Parameter(group=kept)] = "cpu",
        out: Annotated[Path, Parameter(name=["--out", "-o"], group=kept)] = DEFAULT_OUT,
        resume: Annotated[bool, Parameter(negative=(), group=kept)] = False,
        options: Annotated[Any, Parameter(name="*", group=own)] = options_type(),  # noqa: B008
    ) -> None:
        """Search architectures for a task within limits; train, test, export and report the best.

        Parameters
        ----------
        data
            The data, or the name of a known data set; a bundled one when left out.
        limit
            What must hold, e.g. latency=1ms, params=200k, peak_memory=2MiB; repeat for several.
        objective
            A cost to trade against the primary metric; by default the first limited one, else latency.
        budget
            Time to spend in all, e.g. 90s, 10m, 1h30m.
        trials
            Number of evaluations instead of, or beside, a time budget.
        strategy
            Search strategy: see sartor strategies. By default auto chooses one by budget and space, and says why.
        transfer
            An earlier search of the same space to begin with and to learn from, on other data or under other limits:
            its folder of results, or FOLDER:RUN; repeat for several.
        promising
            Score so many architectures without training any, within the limits that are counted, and begin with the
            best of them.
        halving
            Successive halving: most architectures get a ninth of the epochs, the best third of each rung three times
            as many.
        epochs
            Length of a full training; by default chosen from the size of the data.
        finalists
            How many of the front are retrained from scratch and tested.
        seed
            Same seed, same result.
        workers
            Processes; by default one a core. 0 runs everything in this process.
        slots
            Evaluations that the strategy may have outstanding: part of what makes a search repeatable.
        device
            Where networks are trained.
        out
            Folder of results.
        resume
            Go on with the interrupted search of this task in the folder of results.
        """
        from sartor._search import search as run_search
        from sartor.cli._progress import Progress

        task = spec.load()(data, **dataclasses.asdict(options))
        started_by = ["sartor", *(token for token in sys.argv[1:] if token != "--resume")]
        try:
            with Progress() as progress:
                front = run_search(
                    task,
                    task_name=spec.name.lower(),
                    limits=limit or (),
                    objectives=objective or (),
                    budget=budget,
                    trials=trials,
                    strategy=strategy,
                    transfer=transfer or (),
                    promising=promising,
                    halving=halving,
                    epochs=epochs,
                    finalists=finalists,
                    seed=seed,
                    workers=workers,
                    slots=slots,
                    device=device,
                    out=out,
                    resume=resume,
                    on_event=progress,
                    command=shlex.join(started_by),
                )
        except KeyboardInterrupt as interrupt:
            reason = str(interrupt) or "interrupted; all that was finished is recorded"
            raise KeyboardInterrupt(f"{reason}\ngo on with: {shlex.join([*started_by, '--resume'])}") from None
        progress.finish(front)

    # The annotation with the task's own type is only known here.
    search.__annotations__["options"] = Annotated[options_type, Parameter(name="*", group=own)]
    return search


def _app(spec: TaskSpec) -> App:
    app = App(
        name=f"sartor search {spec.name}",
        help_flags=["--help", "-h"],
        version_flags=[],
        suppress_keyboard_interrupt=False,
    )
    app.default(_command(spec, _task_options(spec)))
    return app


def _spec_of(tokens: list[str]) -> tuple[TaskSpec | None, list[str]]:
    """Returns the task that the tokens name, by ``images`` or ``--task module:Class``, and the other tokens."""
    for i, token in enumerate(tokens):
        if token == "--task" or token.startswith("--task="):
            width = 1 if "=" in token else 2
            target = token.split("=", 1)[1] if "=" in token else "".join(tokens[i + 1 : i + 2])
            sys.path.insert(0, "")
            try:
                kind = resolve(target)
            except (ImportError, AttributeError) as error:
                raise InputError(f"--task {target}: {error}; expected module:Class of an importable task") from error
            spec = TaskSpec(kind.__name__, target, options=f"{target}.Options")
            return spec, tokens[:i] + tokens[i + width :]
    if tokens and not tokens[0].startswith("-"):
        found = find("tasks", tokens[0])
        assert isinstance(found, TaskSpec), f"the SPEC of task {found.name} is no TaskSpec"
        return found, tokens[1:]
    return None, tokens


def run(tokens: Sequence[str]) -> None:
    """Runs ``sartor search`` with the tokens behind it."""
    spec, rest = _spec_of(list(tokens))
    if spec is None:
        names = ", ".join(specs("tasks"))
        if set(rest) & {"--help", "-h"} or not rest:
            print(
                "Usage: sartor search TASK [OPTIONS]\n       sartor search --task module:Class [OPTIONS]\n\n"
                f"Tasks: {names}\n"
                "Options: sartor search TASK --help"
            )
            return
        raise InputError(f"expected a task after 'search' ({names}) or --task module:Class, got {rest[0]!r}")
    _app(spec)(rest)


app = App(name="search", help="Search architectures for a task; train, test, export, report.")
