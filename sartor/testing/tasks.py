"""What every task must hold: ``check_task`` raises ``AssertionError`` with what was expected and what came.

Example:
    >>> def test_my_task_conforms():
    ...     check_task(MyTask("data/"))
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor import pictures
from sartor.contracts import Candidate
from sartor.data import Sealed, Splits
from sartor.estimators.training import evaluate
from sartor.registry import Kind, Spec, resolve
from sartor.space import Architecture, Space
from sartor.task import Metric, Predictions, Task
from sartor.testing.randomness import global_random_state
from sartor.training import Recipe, Single, fit


def check_task(task: Task, *, spec: Spec | None = None, num_architectures: int = 3, num_steps: int = 3) -> None:
    """Checks a task's promises on its own data, the baseline and sampled architectures. The test part stays sealed.

    Args:
        task: Any task; one whose networks train a few steps in seconds.
        spec: The task's entry in the registry, if it has one.
        num_architectures: Sampled besides the baseline.
        num_steps: Trained for each of them.

    Raises:
        AssertionError: a promise is broken.
    """
    before = global_random_state()
    check_reference(task)
    splits = check_data(task)
    space = task.space()
    baseline = task.baseline()
    assert baseline in space, f"the baseline {baseline!r} is not an architecture of the task's space"
    _check_plain_parts(task)
    rng = np.random.default_rng(0)
    architectures = [baseline, *(space.sample(rng) for _ in range(num_architectures))]
    for architecture in dict.fromkeys(architectures):
        check_network(task, space, architecture)
        network = check_training(task, space, splits, architecture, num_steps)
        predictions = check_predictions(task, network, splits, architecture)
        if architecture == baseline:
            check_pictures(task.show(predictions))
            with torch.no_grad():
                check_pictures(task.inspect(task.deploy(network, architecture).eval()))
    assert splits.test is None or splits.test.opened == 0, "the test part was opened"
    if spec is not None:
        assert spec.load() is type(task), f"{spec.name}: the spec loads {spec.load()}, not {type(task)}"
    assert global_random_state() == before, (
        "the task changed a global random state (random, numpy or torch): use a generator of its own, or step.numpy"
    )


def check_reference(task: Task) -> None:
    """Checks that the options are a frozen dataclass and that the reference rebuilds an equal task."""
    options = type(task).Options
    frozen = dataclasses.is_dataclass(options) and options.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert frozen, f"{type(task).__name__}.Options must be a frozen dataclass"
    reference = json.loads(json.dumps(task.reference()))
    assert reference == task.reference(), f"the reference changes when it goes through JSON: {task.reference()}"
    other = resolve(reference["class"])(reference["source"], **reference["options"])
    assert type(other) is type(task), f"the reference rebuilds {type(other)}, not {type(task)}"
    assert other.reference() == reference, f"the rebuilt task has reference {other.reference()}, not {reference}"
    assert other.space().fingerprint == task.space().fingerprint, "the rebuilt task has another space"
    assert other.baseline() == task.baseline(), "the rebuilt task has another baseline"


def check_data(task: Task) -> Splits:
    """Checks that parts do not leak, the test part is sealed, and that the data are the same twice; returns them."""
    splits = task.data().check()
    assert splits.train is not None and splits.validation is not None, "train and validation parts are needed"
    assert splits.test is None or isinstance(splits.test, Sealed), f"the test part is not sealed: {type(splits.test)}"
    assert splits.fingerprint, "the splits need a fingerprint of their content, for the record"
    assert splits.ids, "the splits need ids, or nothing can tell whether parts overlap"
    again = resolve(task.reference()["class"])(task.source, **dataclasses.asdict(task.options)).data()
    assert again.fingerprint == splits.fingerprint, "the data are not the same when made twice"
    for name, ids in splits.ids.items():
        assert np.array_equal(ids, again.ids[name]), f"part {name} holds other ids when made twice"
    return splits


def _check_plain_parts(task: Task) -> None:
    assert task.metrics, "a task needs at least one metric"
    for name, metric in task.metrics.items():
        assert isinstance(metric, Metric), f"metric {name!r} is a {type(metric).__name__}, expected a Metric"
        assert metric.direction in ("max", "min"), f"metric {name!r} has direction {metric.direction!r}"
    assert isinstance(task.recipe_for(task.baseline()), Recipe), "recipe_for must return a Recipe"
    describe = task.describe()
    assert json.loads(json.dumps(describe)) == describe, f"describe() must be plain JSON, got {describe}"


def check_network(task: Task, space: Space, architecture: Architecture) -> None:
    """Checks that the deployed network takes the example inputs, alone and as a batch, and answers the same twice."""
    deployed = Candidate(task, space, architecture).deployed.eval()
    for batch_size in (1, 2):
        inputs = task.example_inputs(architecture, batch_size)
        assert isinstance(inputs, tuple), f"example_inputs must return a tuple, got {type(inputs).__name__}"
        with torch.no_grad():
            first, second = _tensors(deployed(*inputs)), _tensors(deployed(*inputs))
        assert first, f"the deployed network of {architecture!r} returns no tensor"
        for a, b in zip(first, second, strict=True):
            assert bool(torch.isfinite(a).all()), f"the untrained network of {architecture!r} gives no finite output"
            assert torch.equal(a, b), f"the deployed network of {architecture!r} answers differently in eval mode"


def _tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [tensor for item in output for tensor in _tensors(item)]
    return []


def check_training(
    task: Task, space: Space, splits: Splits, architecture: Architecture, num_steps: int = 3
) -> nn.Module:
    """Checks that a few steps have finite losses, move every player, and repeat bit-equal; returns the network."""
    first, second = (_train(task, space, splits, architecture, num_steps) for _ in range(2))
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), f"{name} differs between two trainings of {architecture!r} with one seed"
    return first


def _train(task: Task, space: Space, splits: Splits, architecture: Architecture, num_steps: int) -> nn.Module:
    network = Candidate(task, space, architecture, seed=1).network
    recipe = dataclasses.replace(task.recipe_for(architecture), warmup=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        learner = task.learner(architecture)
    players = {name: [p for p in ps if p.requires_grad] for name, ps in learner.players(network).items()}
    start = {name: [p.detach().clone() for p in ps] for name, ps in players.items()}
    losses: dict[str, list[float]] = {}

    def report(step: int, **values: float) -> None:
        for name, value in values.items():
            losses.setdefault(name, []).append(value)

    steps = max(num_steps, *learner.every.values()) if learner.every else num_steps
    fit(Single(network, architecture), learner, splits.train, recipe, total=steps, seed=1, report=report)
    for name, parameters in players.items():
        if parameters:
            seen = losses.get(f"loss.{name}", [])
            assert seen and all(map(math.isfinite, seen)), f"player {name!r} has losses {seen}"
            moved = any(not torch.equal(p, q) for p, q in zip(parameters, start[name], strict=True))
            assert moved, f"{steps} steps moved no parameter of player {name!r}"
    return network


def check_predictions(
    task: Task, network: nn.Module, splits: Splits, architecture: Architecture
) -> Predictions:
    """Checks that predictions are arrays, the same twice, and that metrics are finite functions of them alone."""
    values, predictions = evaluate(task, network, architecture, splits.validation)
    assert isinstance(predictions, Mapping) and predictions, f"predict must return a mapping, got {type(predictions)}"
    for name, array in predictions.items():
        assert isinstance(array, np.ndarray), f"prediction {name!r} is a {type(array).__name__}, expected a numpy array"
        assert array.dtype != object, f"prediction {name!r} is an array of objects, which the record cannot keep"
    kept = {name: copy.deepcopy(array) for name, array in predictions.items()}
    again, repeated = evaluate(task, network, architecture, splits.validation)
    assert again == values, f"metrics differ when evaluated twice: {values} and {again}"
    for name, array in kept.items():
        assert _same(array, repeated[name]), f"prediction {name!r} differs when made twice"
    for name, metric in task.metrics.items():
        value = float(metric.function(kept))
        assert value == values[name], f"metric {name!r} is no function of predictions: {values[name]}, then {value}"
    for name, array in predictions.items():
        assert _same(array, kept[name]), f"a metric changed the prediction {name!r}"
    return predictions


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether arrays are equal; what is missing in both (NaN) is."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def check_pictures(shown: Sequence[pictures.Picture]) -> None:
    """Checks that pictures, of predictions or of a network, are kept in a file as they are."""
    for picture in shown:
        assert isinstance(picture, pictures.Picture), f"show returned a {type(picture).__name__}, which no report draws"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.npz"
        pictures.save(shown, path)
        loaded = pictures.load(path)
    assert len(loaded) == len(shown), f"{len(shown)} pictures were saved, {len(loaded)} loaded"
    for before, after in zip(shown, loaded, strict=True):
        for field in dataclasses.fields(before):
            a, b = getattr(before, field.name), getattr(after, field.name)
            same = _same(a, b) if isinstance(a, np.ndarray) else a == b
            assert same, f"{type(before).__name__}.{field.name} is {b!r} when loaded, was {a!r}"


def check_listing(kind: Kind) -> None:
    """Checks, in a process of its own, that listing the parts of a kind loads no torch."""
    code = (
        "import sys\n"
        "from sartor.registry import specs\n"
        f"specs({kind!r})\n"
        "sys.exit('torch' if 'torch' in sys.modules else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"listing {kind} loads torch, or fails: {done.stderr.strip()}"
