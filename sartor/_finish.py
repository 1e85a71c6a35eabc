"""What happens to a finalist after its training: tested once, exported, pictured. Idempotent: done parts are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import pictures
from sartor.contracts import Candidate
from sartor.data import Splits
from sartor.errors import ExportError, InputError, MissingExtraError, RecordError
from sartor.runs import Record, RunInfo
from sartor.space import Architecture, Space
from sartor.task import Task
from sartor.trials import Trial

if TYPE_CHECKING:
    from torch import nn


def trained_network(record: Record, run: RunInfo, trial: Trial, task: Task, space: Space) -> nn.Module:
    """Returns the network of a final trial with its kept weights, in eval mode."""
    import torch

    files = {file.name: file for file in record.files(run.id, trial.number)}
    if "network" not in files:
        raise RecordError(f"trial {trial.number} of {run.id} has no kept weights: only retrained finalists have")
    candidate = Candidate(task, space, trial.architecture, trial.seed)
    state = torch.load(record.path(run.id) / files["network"].path, weights_only=True)
    candidate.network.load_state_dict(state)
    return candidate.network.eval()


def description(task: Task, run: RunInfo, trial: Trial) -> dict[str, Any]:
    """Returns what an exported file carries: class names, preprocessing, where it came from, how good it is."""
    return {
        **task.describe(),
        "task": run.config["task_name"],
        "run": run.id,
        "trial": trial.number,
        "architecture": json.loads(trial.architecture.to_json()),
        "metrics": dict(trial.metrics),
    }


def finish_trial(record: Record, run: RunInfo, trial: Trial, task: Task, space: Space, splits: Splits) -> list[str]:
    """Tests, pictures, traces and exports one finalist; returns notes for the person.

    The test part is opened here alone, once a trial; a resumed search finds the test metrics recorded and does not
    open it again.
    """
    import torch

    from sartor.devices.graph import trace
    from sartor.estimators.training import evaluate

    notes: list[str] = []
    folder = record.path(run.id)
    done = {file.name for file in record.files(run.id, trial.number)}
    network = trained_network(record, run, trial, task, space)
    tested = any(name.startswith("test.") for name in trial.metrics)
    if splits.test is not None and not (tested and "pictures" in done):
        metrics, predictions = evaluate(task, network, trial.architecture, splits.test.open())
        path = folder / f"{trial.number}.pictures.npz"
        with torch.no_grad():
            inspected = task.inspect(task.deploy(network, trial.architecture).eval())
        pictures.save([*task.show(predictions), *inspected], path)
        record.add_file(run.id, trial.number, "pictures", path)
        record.add_metrics(run.id, trial.number, {f"test.{name}": value for name, value in metrics.items()})
        record.log(run.id, "test", f"the test part was opened for trial {trial.number}")
        trial.metrics.update({f"test.{name}": value for name, value in metrics.items()})
    deployed = task.deploy(network, trial.architecture).eval()
    inputs = task.example_inputs(trial.architecture)
    if "graph" not in done:
        path = folder / f"{trial.number}.graph.json"
        path.write_text(json.dumps(trace(deployed, inputs).to_json()))
        record.add_file(run.id, trial.number, "graph", path)
    if "onnx" not in done:
        try:
            _export(record, run, trial, deployed, inputs, description(task, run, trial))
        except (ExportError, MissingExtraError) as error:
            # The network is trained and tested all the same; the person is told what it cannot be exported for.
            notes.append(f"network {trial.number} was not exported: {error}")
    return notes


def _export(
    record: Record, run: RunInfo, trial: Trial, deployed: nn.Module, inputs: tuple[Any, ...], about: Mapping[str, Any]
) -> Path:
    from sartor.export.onnx import export_onnx

    path = record.path(run.id) / f"{trial.number}.onnx"
    export_onnx(deployed, inputs, path, description=dict(about))
    record.add_file(run.id, trial.number, "onnx", path)
    return path


def open_finalist(record: Record, run_id: str, which: str) -> tuple[RunInfo, Trial, Task, nn.Module]:
    """Returns a retrained network of a search: the finalists' run, its trial, the task, the deployed network.

    Args:
        record: Where the run is.
        run_id: The search.
        which: ``chosen``, a number of the finalists' run, or an architecture as JSON.

    Raises:
        InputError: no such finalist (the message lists those there are), or the data have changed since.
    """
    from sartor.engine import open_task

    search = record.run(run_id)
    finals = [child for child in record.children(search.id) if child.kind == "final"]
    trials = [t for t in record.trials(finals[-1].id) if t.state == "complete"] if finals else []
    if not trials:
        raise InputError(f"{search.id} has no retrained network yet: go on with it by --resume")
    run = finals[-1]
    if which == "chosen":
        number = (search.result or {}).get("chosen", trials[0].number)
    elif which.lstrip().startswith("{"):
        wanted = Architecture.from_json(which)
        number = next((t.number for t in trials if t.architecture == wanted), -1)
    else:
        number = int(which) if which.isdigit() else -1
    trial = next((t for t in trials if t.number == number), None)
    if trial is None:
        raise InputError(
            f"{which!r} is no retrained network of {search.id};"
            f" there are {', '.join(str(t.number) for t in trials)} and 'chosen'"
        )
    task = open_task(run.config["task"])
    space = task.space()
    # What surrounds a network (its scaling, its encoding) is made from the data.
    if task.data().fingerprint != run.config["data"] or space.fingerprint != run.config["space"]:
        raise InputError(
            f"the data of {search.id} ({task.source or 'the bundled ones'}) are not those that its networks were"
            " trained on: put them back as they were, or use an exported file, which needs none"
        )
    network = trained_network(record, run, trial, task, space)
    deployed = task.deploy(network, trial.architecture).eval()
    return run, trial, task, deployed


def export_trial(record: Record, run_id: str, which: str, file: Path | None) -> Path:
    """Exports a retrained trial of a search's finalists to ONNX; returns the path of the file.

    Args:
        record: Where the run is.
        run_id: The search.
        which: ``chosen``, a number of the finalists' run, or an architecture as JSON.
        file: Where to write; None is the folder of the run.

    Raises:
        InputError: no such finalist; the message lists those there are.
        ExportError: the exported network does not agree with torch.
    """
    from sartor.export.onnx import export_onnx

    run, trial, task, deployed = open_finalist(record, run_id, which)
    path = file or record.path(run.id) / f"{trial.number}.onnx"
    export_onnx(deployed, task.example_inputs(trial.architecture), path, description=description(task, run, trial))
    return path
