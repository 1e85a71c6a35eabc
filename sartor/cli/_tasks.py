"""Commands about a task, whose options are made from the task's own ``Options``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cyclopts import App

from sartor.errors import InputError
from sartor.registry import TaskSpec, find, located, resolve, specs


def task_options(spec: TaskSpec) -> type[Any]:
    """Returns the dataclass of a task's options."""
    return resolve(spec.options) if spec.options else dataclasses.make_dataclass("Options", [], frozen=True)


@contextmanager
def resumable(kept: str) -> Iterator[str]:
    """Gives the command line without ``--resume``; an interruption ends with how to go on.

    Args:
        kept: What is said of an interruption that says nothing itself.
    """
    started_by = ["sartor", *(token for token in sys.argv[1:] if token != "--resume")]
    try:
        yield shlex.join(started_by)
    except KeyboardInterrupt as interrupt:
        reason = str(interrupt) or f"interrupted; {kept}"
        raise KeyboardInterrupt(f"{reason}\ngo on with: {shlex.join([*started_by, '--resume'])}") from None


def _spec_of(tokens: list[str]) -> tuple[TaskSpec | None, list[str]]:
    """Returns the task that the tokens name, by ``images`` or ``--task module:Class``, and the other tokens."""
    for i, token in enumerate(tokens):
        if token == "--task" or token.startswith("--task="):
            width = 1 if "=" in token else 2
            target = token.split("=", 1)[1] if "=" in token else "".join(tokens[i + 1 : i + 2])
            kind = located(target, "--task", "module:Class of an importable task")
            spec = TaskSpec(kind.__name__, target, options=f"{target}.Options")
            return spec, tokens[:i] + tokens[i + width :]
    if tokens and not tokens[0].startswith("-"):
        found = find("tasks", tokens[0])
        assert isinstance(found, TaskSpec), f"the SPEC of task {found.name} is no TaskSpec"
        return found, tokens[1:]
    return None, tokens


def task_app(name: str, tokens: Sequence[str], command: Callable[[TaskSpec], Callable[..., None]]) -> None:
    """Runs ``sartor NAME TASK`` with the tokens behind ``NAME``."""
    spec, rest = _spec_of(list(tokens))
    if spec is None:
        names = ", ".join(specs("tasks"))
        if set(rest) & {"--help", "-h"} or not rest:
            print(
                f"Usage: sartor {name} TASK [OPTIONS]\n       sartor {name} --task module:Class [OPTIONS]\n\n"
                f"Tasks: {names}\n"
                f"Options: sartor {name} TASK --help"
            )
            return
        raise InputError(f"expected a task after '{name}' ({names}) or --task module:Class, got {rest[0]!r}")
    app = App(
        name=f"sartor {name} {spec.name}",
        help_flags=["--help", "-h"],
        version_flags=[],
        suppress_keyboard_interrupt=False,
    )
    app.default(command(spec))
    app(rest)
