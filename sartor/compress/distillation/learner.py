"""A task's learner, with terms that draw the student to its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.around import Around
from sartor.compress.distillation.teacher import Teacher, first_tensor, watch
from sartor.compress.distillation.terms import Seen, Term
from sartor.errors import InputError
from sartor.training import Learner, Step


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own loss.

    Attributes:
        until: Share of the training at which it ends, above 0 and at most 1.
        terms: What draws the student to its teacher.
        labels: Weight of the task's own loss; 0 for none.
    """

    until: float
    terms: tuple[Term, ...]
    labels: float = 1.0


class Distilled(Around):
    """A learner under which a network learns from a teacher too.

    The task's loss runs as it is; what it gives the network, and what the network gives, is looked at meanwhile, so
    that teacher and student see the same rows, changed in the same way. Parameters of terms are trained with the first
    player's. The teacher is not part of the state: give the same one to go on.

    Args:
        inner: The task's learner.
        teacher: What is learned from.
        stages: Stages in order, the last until 1; or terms, for a single stage. FitNets' two stages are hints without
            labels, then logits with them.
        labels: Weight of the task's own loss, where terms are given.
        classes: Names of the student's classes, compared with the teacher's where it knows them.

    Raises:
        InputError: no terms, stages out of order, or a teacher with other classes.
    """

    def __init__(
        self,
        inner: Learner,
        teacher: Teacher,
        stages: Sequence[Stage] | Sequence[Term],
        *,
        labels: float = 1.0,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(inner)
        made = [stage for stage in stages if isinstance(stage, Stage)]
        terms = tuple(term for term in stages if isinstance(term, Term))
        if bool(made) == bool(terms):
            raise InputError("expected stages, or terms for a single stage: at least one, and not both")
        self.stages = tuple(made) or (Stage(1.0, terms, labels),)
        ends = [stage.until for stage in self.stages]
        if sorted(set(ends)) != ends or not ends[0] > 0 or ends[-1] != 1:
            raise InputError(f"expected stages that end one after the other, the last at 1, got {ends}")
        for stage in self.stages:
            if not stage.labels and not any(term.weight for term in stage.terms):
                raise InputError(f"the stage until {stage.until:g} has neither labels nor terms with a weight")
        check_classes(classes, teacher.classes)
        # The same term may serve in several stages.
        self.terms = nn.ModuleList(dict.fromkeys(term for stage in self.stages for term in stage.terms))
        self.teacher = teacher
        self._player: str | None = None

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        players = dict(super().players(module))
        self._player = next(iter(players), None)
        if self._player is not None:
            players[self._player] = [*players[self._player], *self.terms.parameters()]
        return players

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        """Returns the loss of the stage at hand.

        Raises:
            InputError: the task's loss did not call the network, or the teacher's logits are of other classes or not
                finite.
        """
        if step.player != self._player:
            return super().loss(network, batch, step)
        stage = next(stage for stage in self.stages if step.fraction < stage.until or stage.until == 1)
        pairs = [pair for term in stage.terms for pair in term.pairs]
        calls: list[tuple[tuple[Any, ...], Seen]] = []
        features: dict[str, Tensor] = {}

        def record(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls.append((inputs, Seen(first_tensor(output, "the student"), dict(features))))

        hooks = watch(network, [pair.student for pair in pairs], features)
        hooks.append(network.register_forward_hook(record))
        try:
            loss = super().loss(network, batch, step)
        finally:
            for hook in hooks:
                hook.remove()
        if not calls:
            raise InputError("the task's loss must call the network itself, network(...), to learn from a teacher")
        # Without labels the loss is left out, not multiplied by 0: what no term reaches is then left as it is.
        total = stage.labels * loss if stage.labels else torch.zeros_like(loss)
        for inputs, student in calls:
            teacher = self.teacher.ask(inputs, [pair.teacher for pair in pairs])
            _check_logits(student.logits, teacher.logits)
            for term in stage.terms:
                if term.weight:
                    total = total + term.weight / len(calls) * term(student, teacher)
        return total


def check_classes(student: Sequence[str] | None, teacher: Sequence[str] | None) -> None:
    """Raises where both are known and differ.

    Raises:
        InputError: the message names the first difference.
    """
    if student is None or teacher is None or tuple(student) == tuple(teacher):
        return
    if len(student) != len(teacher):
        raise InputError(
            f"the teacher knows {len(teacher)} classes, the student {len(student)}: a teacher of the same classes in"
            " the same order is needed"
        )
    at = next(i for i, (a, b) in enumerate(zip(student, teacher, strict=True)) if a != b)
    raise InputError(
        f"class {at} is {teacher[at]!r} for the teacher and {student[at]!r} for the student: a teacher of the same"
        " classes in the same order is needed"
    )


def _check_logits(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise InputError(
            f"the teacher gives logits of shape {tuple(teacher.shape)}, the student {tuple(student.shape)}: a teacher"
            " of the same classes is needed"
        )
    if not bool(torch.isfinite(teacher).all()):
        raise InputError("the teacher gives logits that are not finite for a batch of training rows")
