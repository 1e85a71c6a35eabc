"""``sartor train TASK``: the baseline, or one architecture, without a search."""

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
    kept = Group.create_ordered("Training")
    own = Group.create_ordered(f"Options of {spec.name}")

    def train(
        *,
        data: Annotated[str | None, Parameter(name=["--data", "-d"], group=kept)] = None,
        architecture: Annotated[str | None, Parameter(name=["--architecture", "-a"], group=kept)] = None,
        limit: Annotated[list[str] | None, Parameter(name=["--limit", "-l"], group=kept, negative=())] = None,
        epochs: Annotated[float | None, Parameter(group=kept)] = None,
        seed: Annotated[int, Parameter(group=kept)] = 0,
        device: Annotated[list[str] | None, Parameter(group=kept, negative=())] = None,
        train_on: Annotated[Literal["cpu", "cuda"], Parameter(group=kept)] = "cpu",
        out: Annotated[Path, Parameter(name=["--out", "-o"], group=kept)] = DEFAULT_OUT,
        resume: Annotated[bool, Parameter(negative=(), group=kept)] = False,
        options: Annotated[Any, Parameter(name="*", group=own)] = options_type(),  # noqa: B008
    ) -> None:
        """Train one network without a search, by default the hand-designed baseline; test, export and report it.

        Parameters
        ----------
        data
            The data, or the name of a known data set; a bundled one when left out.
        architecture
            Choices as JSON that differ from the baseline's, e.g. '{"network.pairs": 5}'.
        limit
            What must hold, e.g. latency=1ms; repeat for several.
        epochs
            Length of the training; by default chosen from the size of the data.
        seed
            Same seed, same result.
        device
            What the network is to run on: a device of sartor devices list, a file of sartor devices calibrate, a .toml
            file; repeat for several. By default this machine.
        train_on
            Where to train.
        out
            Folder of results.
        resume
            Go on with the interrupted training of this task in the folder of results.
        """
        from sartor._search import DEFAULT_DEVICES
        from sartor._search import train as run_train
        from sartor.cli._progress import Progress
        from sartor.space import Architecture

        task = spec.load()(data, **dataclasses.asdict(options))
        chosen = task.baseline()
        if architecture is not None:
            chosen = task.space().architecture({**chosen, **Architecture.from_json(architecture)})
        with resumable("the last checkpoint is kept") as command, Progress() as progress:
            front = run_train(
                task,
                architecture=chosen,
                limits=limit or (),
                epochs=epochs,
                seed=seed,
                device=train_on,
                devices=("counts", *device) if device else DEFAULT_DEVICES,
                out=out,
                resume=resume,
                task_name=spec.name.lower(),
                command=command,
                on_event=progress,
            )
        progress.finish(front)

    # The annotation with the task's own type is only known here.
    train.__annotations__["options"] = Annotated[options_type, Parameter(name="*", group=own)]
    return train


def run(tokens: Sequence[str]) -> None:
    """Runs ``sartor train`` with the tokens behind it."""
    task_app("train", tokens, lambda spec: _command(spec, task_options(spec)))


app = App(name="train", help="Train the hand-designed network of a task, without a search.")
