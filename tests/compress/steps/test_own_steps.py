"""Sparsify, distil and quantise as steps, in a context that keeps its stages in memory."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sartor.compress.distillation.before import taught
from sartor.compress.distillation.learner import Distilled
from sartor.compress.distillation.teacher import TorchTeacher
from sartor.compress.sparsity.masks import nonzero_masks, sparsity_of
from sartor.compress.sparsity.storage import load_sparse
from sartor.compress.sparsity.weights import weights_of
from sartor.compress.steps import distil, prune, quantise, sparsify
from sartor.errors import InputError
from sartor.estimators.training import evaluate
from sartor.export.onnx import export_onnx
from sartor.registry import CompressorSpec, find
from sartor.tasks.images.task import Images
from sartor.training import Learner, Recipe, Single, fit
from sartor.trials import Figure


class Context:
    """Stages in memory, pickled as the pipeline does."""

    def __init__(self, task: Images, teacher: nn.Module, folder: Path, epochs: float = 1.0) -> None:
        splits = task.data()
        self.task, self.architecture = task, task.baseline()
        self.train, self.validation = splits.train, splits.validation
        self.inputs = task.example_inputs(self.architecture)
        self.limits = ()
        self.recipe = Recipe(learning_rate=2e-3, batch_size=64)
        self.epochs, self.seed, self.teacher, self.folder = epochs, 0, teacher, folder
        self.made: dict[str, bytes] = {}
        self.said: list[str] = []

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.made:
            self.made[name] = pickle.dumps(make())
        return pickle.loads(self.made[name])

    def fine_tune(
        self, name: str, network: nn.Module, *, epochs: float, learner: Learner | None = None,
        recipe: Recipe | None = None,
    ) -> nn.Module:  # fmt: skip
        def train() -> nn.Module:
            steps = max(1, round(epochs * len(self.train) / self.recipe.batch_size))
            used = learner or self.task.learner(self.architecture)
            fit(Single(network), used, self.train, recipe or self.recipe, total=steps, seed=self.seed)
            return network

        made: nn.Module = self.stage(name, train)
        return made

    def batches(self, count: int, size: int | None = None) -> list[Any]:
        return [self.train.batch(size or 64, 7, draw) for draw in range(count)]

    def loss(self, network: nn.Module, batch: Any) -> torch.Tensor:
        logits = self.task.deploy(network, self.architecture)(batch["x"].float() / 255)
        return nn.functional.cross_entropy(logits, batch["y"])

    def deployed_inputs(self, count: int) -> list[tuple[torch.Tensor, ...]]:
        return [(self.train.columns["x"][i : i + 1].float() / 255,) for i in range(count)]

    def deploy(self, network: nn.Module) -> nn.Module:
        return self.task.deploy(network, self.architecture).eval()

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        return evaluate(self.task, network, self.architecture, self.validation)[0]

    def measure(self, network: nn.Module, *names: str) -> dict[str, Figure]:
        raise NotImplementedError

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def trained() -> tuple[Images, nn.Module]:
    task = Images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip
    fit(Single(network), task.learner(task.baseline()), task.data().train, task.recipe, total=200, seed=0)
    return task, network.eval()


def context(trained: tuple[Images, nn.Module], folder: Path, epochs: float = 1.0) -> Context:
    return Context(*trained, folder, epochs)


def test_the_steps_are_found_by_name() -> None:
    for name in ("sparsify", "distil", "quantise"):
        spec = find("compressors", name)
        assert isinstance(spec, CompressorSpec) and spec.options.endswith(":Options")


@pytest.mark.parametrize("method", ["iterative", "gradual", "sparsegpt", "obs"])
def test_sparsify_keeps_accuracy_and_says_what_zeros_save(
    method: Any, trained: tuple[Images, nn.Module], tmp_path: Path
) -> None:
    given = context(trained, tmp_path, 2.0)
    before = copy.deepcopy(trained[1].state_dict())
    sparsity = 0.4 if method == "sparsegpt" else 0.6  # of each layer, however small
    options = sparsify.Options(sparsity=sparsity, method=method, rounds=2)
    outcome = sparsify.sparsify(trained[1], options, given)
    assert outcome.record["zeros"] == pytest.approx(sparsity, abs=0.02)
    assert given.evaluate(outcome.network)["accuracy"] > given.evaluate(trained[1])["accuracy"] - 0.06
    assert outcome.record["file_bytes"] < outcome.record["dense_bytes"]
    assert "which does not use the zeros" in given.said[0]
    fresh = load_sparse(copy.deepcopy(trained[1]), tmp_path / "weights.sparse")
    for a, b in zip(fresh.parameters(), outcome.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(before[name], value) for name, value in trained[1].state_dict().items())
    pickle.dumps(outcome.network)


def test_the_criteria_of_the_iterative_method_choose_differently(
    trained: tuple[Images, nn.Module], tmp_path: Path
) -> None:
    found = []
    for criterion in ("magnitude", "taylor", "obd", "lamp"):
        options = sparsify.Options(0.5, "iterative", criterion, rounds=1, skip="8")  # type: ignore[arg-type]
        made = sparsify.sparsify(trained[1], options, context(trained, tmp_path, 0)).network
        assert bool((made.get_parameter("8.weight") != 0).all())
        found.append(nonzero_masks(made, weights_of(made, skip=["8"]))["3.weight"])
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(found, 2))


def test_distil_learns_and_holds_zeros(trained: tuple[Images, nn.Module], tmp_path: Path) -> None:
    sparse = sparsify.sparsify(
        trained[1], sparsify.Options(sparsity=0.8, method="iterative", rounds=1), context(trained, tmp_path, 0)
    ).network
    given = context(trained, tmp_path, 2.0)
    options = distil.Options(terms="logits,hints,attention,relational", hint_stage=0.3)
    outcome = distil.distil(sparse, options, given)
    assert given.evaluate(outcome.network)["accuracy"] > given.evaluate(sparse)["accuracy"]
    assert sparsity_of(nonzero_masks(outcome.network, weights_of(outcome.network))) == pytest.approx(0.8, abs=0.01)
    assert [entry["student"] for entry in outcome.record["pairs"]] == ["2", "5"]
    assert outcome.record["zeros_held"]


def test_distil_learns_from_an_exported_file(trained: tuple[Images, nn.Module], tmp_path: Path) -> None:
    task, network = trained
    given = context(trained, tmp_path, 1.0)
    path = tmp_path / "teacher.onnx"
    export_onnx(given.deploy(network), given.inputs, path, description=task.describe())
    made = [
        distil.distil(network, distil.Options(teacher_file=file), context(trained, tmp_path)).network
        for file in (None, str(path))
    ]
    for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)
    with pytest.raises(InputError, match="an ONNX teacher shows its logits only: leave out hints"):
        distil.distil(network, distil.Options(terms="hints", teacher_file=str(path)), given)


class Numbers(Images):
    """Without classes."""

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "classes": []}


class Inside(Images):
    """Whose loss goes by the network's parts."""

    def loss(self, network: nn.Module, batch: Any, step: Any) -> torch.Tensor:
        x = batch["x"].float() / 255
        for part in network.children():
            x = part(x)
        return nn.functional.cross_entropy(x, batch["y"])


def test_steps_that_train_learn_from_the_network_before_where_classes_are_scored(
    trained: tuple[Images, nn.Module], tmp_path: Path
) -> None:
    network = copy.deepcopy(trained[1])
    given = context(trained, tmp_path)
    learner = taught(given, network, 0.8)
    assert isinstance(learner, Distilled) and isinstance(learner.teacher, TorchTeacher)
    assert learner.stages[0].labels == pytest.approx(0.2) and learner.stages[0].terms[0].weight == 0.8
    assert torch.equal(learner.teacher.module[0].weight, given.teacher[0].weight)  # type: ignore[index]
    assert not isinstance(taught(given, network, 0.0), Distilled) and not given.said
    for task in (Numbers(), Inside()):
        other = Context(task, trained[1], tmp_path)
        other.loss = lambda network, batch, task=task: task.loss(network, batch, None)  # type: ignore[assignment]
        assert not isinstance(taught(other, network, 0.8), Distilled)
        assert other.said[0].startswith("trains on labels alone")


@pytest.mark.parametrize("method", ["static", "aware"])
def test_quantise_writes_a_file_that_scores(method: Any, trained: tuple[Images, nn.Module], tmp_path: Path) -> None:
    given = context(trained, tmp_path)
    outcome = quantise.quantise(trained[1], quantise.Options(method, rows=64), given)
    assert outcome.file == tmp_path / "int8.onnx" and outcome.runs is not None
    assert outcome.record["layers_quantised"] == 3
    logits = pickle.loads(pickle.dumps(outcome.runs))(*given.deployed_inputs(1)[0])
    assert logits.shape == (1, 10)
    predictions = given.task.predict(outcome.runs, given.validation)
    right = (predictions["probabilities"].argmax(1) == predictions["label"]).mean()
    assert right > given.evaluate(trained[1])["accuracy"] - 0.03
    pickle.dumps(outcome.network)


def test_mixed_bits_take_no_more_than_the_mean(trained: tuple[Images, nn.Module], tmp_path: Path) -> None:
    given = context(trained, tmp_path)
    same = quantise.quantise(trained[1], quantise.Options("weight-only", bits=4), given)
    mixed = quantise.quantise(trained[1], quantise.Options("mixed", bits=4), given)
    assert mixed.record["bytes"] <= same.record["bytes"] + len(mixed.record["bits"])
    batch = given.batches(4, 256)[3]
    with torch.no_grad():
        assert given.loss(mixed.network, batch) < given.loss(same.network, batch) + 0.05


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: sparsify.Options(sparsity=1.0), "sparsity"),
        (lambda: sparsify.Options(method="magnitude"), "method: there is no 'magnitude'"),  # type: ignore[arg-type]
        (lambda: sparsify.Options(two_of_four=True), "goes with the method sparsegpt"),
        (lambda: sparsify.Options(criterion="obd"), "obd goes with the method iterative"),
        (lambda: sparsify.Options(teacher=2.0), "teacher: expected a weight from 0 to 1, got 2"),
        (lambda: prune.Options(teacher=-0.1), "teacher: expected a weight from 0 to 1, got -0.1"),
        (lambda: distil.Options(terms="logit"), "did you mean 'logits'"),
        (lambda: distil.Options(hint_stage=0.5), "hint_stage needs hints"),
        (lambda: quantise.Options(bits=4), "static has 8 bits in all layers"),
        (lambda: quantise.Options("mixed", bits=1), "expected 2 to 8, got 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()


def test_steps_that_train_need_epochs(trained: tuple[Images, nn.Module], tmp_path: Path) -> None:
    given = context(trained, tmp_path, 0.0)
    for run in (
        lambda: sparsify.sparsify(trained[1], sparsify.Options(), given),
        lambda: distil.distil(trained[1], distil.Options(), given),
        lambda: quantise.quantise(trained[1], quantise.Options("aware"), given),
    ):
        with pytest.raises(InputError, match="give it epochs"):
            run()
