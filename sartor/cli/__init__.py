"""The command line: a thin shell over the public functions. Commands are imported when they are run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App

import sartor
from sartor.errors import SartorError

DEFAULT_OUT = Path("sartor-out")
"""Folder of results of all commands."""

app = App(
    name="sartor",
    version=sartor.__version__,
    help="Finds the right neural network for your data and your device.",
    suppress_keyboard_interrupt=False,
)
app.command(
    "sartor.cli._search:app", name="search", help="Search architectures for a task; train, test, export, report."
)
app.command("sartor.cli._train:app", name="train", help="Train the hand-designed network of a task, without a search.")
app.command("sartor.cli._supernet:app", name="supernet", help="Train the weights of all architectures at once.")
app.command("sartor.cli._supernet:subnet", name="subnet", help="Take networks out of shared weights, one a limit.")
app.command("sartor.cli._supernet:trust", name="trust", help="Say how far a ranking by shared weights can be trusted.")
app.command("sartor.cli._compress:app", name="compress", help="Make a trained network smaller for its limits.")
app.command("sartor.cli._runs:runs", name="runs", help="List, show and compare recorded runs.")
app.command("sartor.cli._runs:front", name="front", help="Print the Pareto front of a run; pick by limit.")
app.command("sartor.cli._runs:report", name="report", help="Write the HTML report of a run.")
app.command("sartor.cli._explain:explain", name="explain", help="Say which choices mattered in a run.")
app.command("sartor.cli._steer:steer", name="steer", help="Steer a search: like, dislike, narrow.")
app.command("sartor.cli._export:export", name="export", help="Export a trained network of a run.")
app.command("sartor.cli._export:predict", name="predict", help="Predict for images or tables with an exported network.")
app.command("sartor.cli._export:bench", name="bench", help="Run a trained network in every runtime and precision.")
app.command("sartor.cli._check:app", name="check", help="Check a network against what a target allows.")
app.command("sartor.cli._simulate:run", name="simulate", help="Run a strategy on a published table; print its regret.")
app.command("sartor.cli._score:app", name="score", help="Score architectures without training any.")
app.command("sartor.cli._lists:tasks", name="tasks", help="List the tasks.")
app.command("sartor.cli._lists:strategies", name="strategies", help="List the search strategies.")
app.command("sartor.cli._supernet:methods", name="supernets", help="List the ways of sharing weights.")
app.command("sartor.cli._lists:compressors", name="compressors", help="List the steps of compression.")
app.command("sartor.cli._lists:spaces", name="spaces", help="List the ready-made search spaces.")
app.command("sartor.cli._devices:app", name="devices", help="List devices; show their numbers; measure, calibrate.")
app.command("sartor.cli._measure:app", name="measure", help="Measure for other machines: serve, pack, run, unpack.")


def main(tokens: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 2 the person can do something about it, 130 interrupted."""
    arguments = list(sys.argv[1:] if tokens is None else tokens)
    try:
        if arguments[:1] == ["search"]:
            from sartor.cli._search import run

            run(arguments[1:])
        elif arguments[:1] == ["train"]:
            from sartor.cli._train import run as run_train

            run_train(arguments[1:])
        elif arguments[:1] == ["supernet"]:
            from sartor.cli._supernet import run as run_supernet

            run_supernet(arguments[1:])
        elif arguments[:1] == ["score"]:
            from sartor.cli._score import run as run_score

            run_score(arguments[1:])
        elif arguments[:1] == ["compress"]:
            from sartor.cli._compress import run as run_compress

            run_compress(arguments[1:])
        else:
            app(arguments)
    except SartorError as error:
        print(f"sartor: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt as interrupt:
        print(f"sartor: {interrupt}" if interrupt.args else "sartor: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away: not an error of ours.
        sys.stderr.close()
        raise SystemExit(0) from None
