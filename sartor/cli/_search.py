"""``sartor search TASK``: options common to all tasks, and the task's own, made from its ``Options``."""

# Annotations are read at run time: the task's own options are only known then.
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from sartor.cli import DEFAULT_OUT
from sartor.cli._tasks import resumable, task_app, task_options
from sartor.registry import TaskSpec


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
        shared_weights: Annotated[str | None, Parameter(group=kept)] = None,
        halving: Annotated[bool, Parameter(group=kept)] = True,
        epochs: Annotated[float | None, Parameter(group=kept)] = None,
        finalists: Annotated[int, Parameter(group=kept)] = 5,
        seed: Annotated[int, Parameter(group=kept)] = 0,
        workers: Annotated[int | None, Parameter(name=["--workers", "-j"], group=kept)] = None,
        slots: Annotated[int, Parameter(group=kept)] = 4,
        device: Annotated[list[str] | None, Parameter(group=kept, negative=())] = None,
        train_on: Annotated[Literal["cpu", "cuda"], Parameter(group=kept)] = "cpu",
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
        shared_weights
            Score architectures by the weights that sartor supernet trained instead of training each: the folder of
            results, or FOLDER:RUN. The finalists are trained from scratch all the same.
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
            What networks are to run on: a device of sartor devices list, a file of sartor devices calibrate, a .toml
            of your own, http://HOST:PORT of sartor measure serve; by default this machine's processor, measured.
            Repeat for several, each with its own front; say latency@NAME in limits and objectives.
        train_on
            Where networks are trained.
        out
            Folder of results.
        resume
            Go on with the interrupted search of this task in the folder of results.
        """
        from sartor._search import DEFAULT_DEVICES
        from sartor._search import search as run_search
        from sartor.cli._progress import Progress

        task = spec.load()(data, **dataclasses.asdict(options))
        with resumable("all that was finished is recorded") as command, Progress() as progress:
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
                shared_weights=shared_weights,
                halving=halving,
                epochs=epochs,
                finalists=finalists,
                seed=seed,
                workers=workers,
                slots=slots,
                device=train_on,
                devices=("counts", *device) if device else DEFAULT_DEVICES,
                out=out,
                resume=resume,
                on_event=progress,
                command=command,
            )
        progress.finish(front)

    # The annotation with the task's own type is only known here.
    search.__annotations__["options"] = Annotated[options_type, Parameter(name="*", group=own)]
    return search


def run(tokens: Sequence[str]) -> None:
    """Runs ``sartor search`` with the tokens behind it."""
    task_app("search", tokens, lambda spec: _command(spec, task_options(spec)))


app = App(name="search", help="Search architectures for a task; train, test, export, report.")
