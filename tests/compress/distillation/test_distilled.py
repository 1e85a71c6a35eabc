from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.compress.distillation.attention import AttentionTransfer
from sartor.compress.distillation.hints import Hints
from sartor.compress.distillation.learner import Distilled, Stage
from sartor.compress.distillation.logits import Logits
from sartor.compress.distillation.mapping import map_layers
from sartor.compress.distillation.relational import Relational
from sartor.compress.distillation.teacher import OnnxTeacher, TorchTeacher, look
from sartor.compress.distillation.terms import Pair
from sartor.data import Rows
from sartor.errors import InputError
from sartor.export.onnx import export_onnx
from sartor.space import OneOf, Repeat, Space
from sartor.training import Learner, Recipe, Single, TrainingState, fit
from tests.compress.distillation.test_mapping import transformer
from tests.compress.made import RECIPE, accuracy, classifier, convolutional, images, learner, rows, trained


def pictures(num: int = 64) -> Rows:
    x = images(num)
    return Rows(x=x.numpy(), y=(x.mean((2, 3)).argmax(1)).numpy())


def copied(state: TrainingState) -> TrainingState:
    return TrainingState.from_dict(copy.deepcopy(state.to_dict()))


def test_a_student_comes_to_agree_with_its_teacher() -> None:
    teacher = trained(classifier(48), 400)
    apart = []
    for weight in (0.0, 1.0):
        student = classifier(16)
        learned = Distilled(learner(), TorchTeacher(teacher), [Logits(2.0, weight)], labels=1.0 - weight)
        fit(Single(student), learned, rows(), RECIPE, total=400, seed=0)
        seen = [look(network, (torch.from_numpy(rows().columns["x"]),), []) for network in (student, teacher)]
        apart.append(float(Logits(2.0)(*seen)))
    assert apart[1] < 0.7 * apart[0]
    assert accuracy(student) > 0.75


def test_the_loss_is_labels_and_terms_by_their_weights() -> None:
    student, teacher = classifier(8), classifier(48, seed=1)
    x = rows().batch(16, 0, 0)
    seen: dict[str, float] = {}

    def report(step: int, **values: float) -> None:
        seen.update(values)

    recipe = Recipe(optimizer="sgd", learning_rate=0.0, batch_size=16)
    learned = Distilled(learner(), TorchTeacher(teacher), [Logits(3.0, 0.7)], labels=0.4)
    fit(Single(student), learned, rows(), recipe, total=1, seed=0, report=report)
    logits, theirs = student(torch.from_numpy(x["x"])), teacher(torch.from_numpy(x["x"]))
    wanted = 0.4 * functional.cross_entropy(logits, torch.from_numpy(x["y"])) + 0.7 * 9 * functional.kl_div(
        (logits / 3).log_softmax(1), (theirs / 3).softmax(1), reduction="batchmean"
    )
    assert seen["loss.network"] == pytest.approx(wanted.item(), rel=1e-5)


def every_term(student: nn.Module, teacher: nn.Module) -> list[Any]:
    batch = (images(32),)
    pairs = [mapped.pair for mapped in map_layers(student, teacher, batch)]
    ours = look(student, batch, [pair.student for pair in pairs])
    theirs = look(teacher, batch, [pair.teacher for pair in pairs])
    return [Logits(), Hints(pairs, ours, theirs), AttentionTransfer(pairs), Relational(pairs[-1], weight=0.1)]


@pytest.mark.parametrize("kind", ["cnn-cnn", "transformer-cnn", "cnn-transformer"])
def test_all_terms_train_across_architectures_and_leave_the_teacher_alone(kind: str) -> None:
    pair = {"cnn-cnn": (16, 4), "transformer-cnn": (None, 4), "cnn-transformer": (16, None)}[kind]
    teacher, student = (transformer() if width is None else convolutional(width) for width in pair)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    terms = every_term(student, teacher)
    first = [parameter.clone() for term in terms for parameter in term.parameters()]
    losses: list[float] = []
    fit(
        Single(student), Distilled(learner(), TorchTeacher(teacher), terms), pictures(),
        Recipe(learning_rate=3e-3, batch_size=32), total=25, seed=0,
        report=lambda step, **values: losses.append(values["loss.network"]),
    )  # fmt: skip
    assert losses[-1] < losses[0]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    last = [parameter for term in terms for parameter in term.parameters()]
    assert first and all(not torch.equal(a, b) for a, b in zip(first, last, strict=True))


def test_stages_follow_one_another_and_a_killed_training_goes_on_bit_equal() -> None:
    teacher = convolutional(16)

    def staged(student: nn.Module) -> Distilled:
        _, hints, *_ = every_term(student, teacher)
        return Distilled(
            learner(), TorchTeacher(teacher), [Stage(0.4, (hints,), labels=0.0), Stage(1.0, (Logits(),), labels=0.5)]
        )

    recipe = Recipe(learning_rate=3e-3, batch_size=32)
    student, again = convolutional(4), convolutional(4)
    fit(Single(student), staged(student), pictures(), recipe, total=10, seed=0)
    early = fit(Single(again), staged(again), pictures(), recipe, total=10, seed=0, until=3)
    head = again[-1].weight.detach().clone()
    assert torch.equal(head, convolutional(4)[-1].weight)  # hints reach no logits
    assert not any("teacher" in name for name in early.learner)
    fresh = convolutional(4, seed=7)
    learned = staged(convolutional(4))
    fit(Single(fresh), learned, pictures(), recipe, total=10, seed=0, state=copied(early))
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), fresh.parameters(), strict=True))
    assert not torch.equal(head, fresh[-1].weight)


def test_a_subnet_learns_from_the_largest_of_its_supernet() -> None:
    def block(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 6))

    def network(blocks: list[nn.Module]) -> nn.Module:
        return nn.Sequential(*blocks, nn.Linear(6, 3))

    space = Space(partial(network, blocks=Repeat(partial(block, width=OneOf(4, 16)), times=OneOf(1, 2))))
    supernet = space.supernet(seed=0)
    ordered = sorted(space, key=lambda arch: sum(p.numel() for p in supernet.child(arch).parameters()))
    teacher, student = trained(supernet.child(ordered[-1])), supernet.child(ordered[0])
    learned = Distilled(learner(), TorchTeacher(teacher), [Logits()])
    fit(Single(student), learned, rows(), RECIPE, total=100, seed=0)
    assert accuracy(student) > 0.6


def test_an_onnx_file_teaches_as_the_module_does(tmp_path: Path) -> None:
    teacher = trained(classifier(48)).eval()
    path = tmp_path / "teacher.onnx"
    export_onnx(teacher, (torch.zeros(1, 6),), path, description={"classes": ["a", "b", "c"]})
    students = []
    for source in (TorchTeacher(teacher), OnnxTeacher(path)):
        student = classifier(8)
        learned = Distilled(learner(), source, [Logits()], classes=["a", "b", "c"])
        fit(Single(student), learned, rows(), RECIPE, total=20, seed=0)
        students.append(student)
    for a, b in zip(students[0].parameters(), students[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    teaching = OnnxTeacher(path)
    assert teaching.classes == ("a", "b", "c")
    with pytest.raises(InputError, match="class 1 is 'b' for the teacher and 'x' for the student"):
        Distilled(learner(), teaching, [Logits()], classes=["a", "x", "c"])
    with pytest.raises(InputError, match="shows its logits only, not layers"):
        teaching.ask((torch.zeros(2, 6),), ["0"])
    with pytest.raises(InputError, match="does not take these inputs"):
        teaching.ask((torch.zeros(2, 7),), [])


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        OnnxTeacher(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(InputError, match="cannot be run as an ONNX file"):
        OnnxTeacher(tmp_path / "text.onnx")


def training(teacher: Any, terms: Any = None, **options: Any) -> None:
    learned = Distilled(learner(), teacher, terms or [Logits()], **options)
    fit(Single(classifier(8)), learned, rows(), RECIPE, total=2, seed=0)


def test_teachers_of_other_classes_are_refused() -> None:
    other = nn.Sequential(nn.Linear(6, 10))
    with pytest.raises(InputError, match=r"the teacher gives logits of shape \(32, 10\), the student \(32, 3\)"):
        training(TorchTeacher(other))
    with pytest.raises(InputError, match="the teacher knows 2 classes, the student 3"):
        training(TorchTeacher(other, classes=["cat", "dog"]), classes=["a", "b", "c"])


def test_teachers_that_give_no_numbers_are_refused() -> None:
    broken = classifier(8)
    with torch.no_grad():
        broken[0].bias.fill_(torch.nan)
    with pytest.raises(InputError, match="logits that are not finite"):
        training(TorchTeacher(broken))


def test_layers_that_are_not_there_are_named() -> None:
    with pytest.raises(InputError, match="Sequential has no layer 'body'"):
        training(TorchTeacher(classifier(48)), [AttentionTransfer([Pair("body", "0")])])


def test_a_loss_that_does_not_call_the_network_is_refused() -> None:
    def loss(network: nn.Module, batch: Any, step: Any) -> Tensor:
        return functional.cross_entropy(network[0](batch["x"])[:, :3], batch["y"])  # type: ignore[index]

    with pytest.raises(InputError, match="must call the network itself"):
        fit(
            Single(classifier(8)), Distilled(Learner(loss), TorchTeacher(classifier()), [Logits()]), rows(), RECIPE,
            total=2, seed=0,
        )  # fmt: skip


@pytest.mark.parametrize(
    "stages", [[], [Stage(0.5, (Logits(),))], [Stage(0.5, (Logits(),)), Stage(0.5, (Logits(),)), Stage(1.0, ())]]
)
def test_stages_out_of_order_are_refused(stages: Any) -> None:
    with pytest.raises(InputError, match="stage"):
        Distilled(learner(), TorchTeacher(classifier()), stages)
    with pytest.raises(InputError, match="neither labels nor terms"):
        Distilled(learner(), TorchTeacher(classifier()), [Stage(1.0, (Logits(weight=0.0),), labels=0.0)])


def test_inputs_are_adapted_for_the_teacher() -> None:
    seen: list[np.ndarray] = []

    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.numpy())
            return x[:, :3]

    training(TorchTeacher(Doubling(), adapt=lambda x: 2 * x))
    np.testing.assert_allclose(seen[0], 2 * rows().batch(32, 0, 0)["x"])
