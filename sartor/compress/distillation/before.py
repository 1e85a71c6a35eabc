"""Training within a step that learns from the network before compression as well (Hinton et al. 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sartor._modes import evaluating
from sartor.compress.distillation.learner import Distilled
from sartor.compress.distillation.logits import Logits
from sartor.compress.distillation.teacher import TorchTeacher
from sartor.estimators.training import seeded_learner
from sartor.training import Learner

if TYPE_CHECKING:
    from sartor.compress._contract import StepContext


def taught(context: StepContext, network: nn.Module, weight: float) -> Learner:
    """Returns the task's learner; where the network scores classes, one that learns from the network before as well.

    Where it does not, that is said.

    Args:
        context: Of the step.
        network: To be trained.
        weight: Of what the teacher says, 0..1; labels have the rest. With 0 they have all.
    """
    learner = seeded_learner(context.task, context.architecture, context.seed)
    classes = context.task.describe().get("classes")
    if not weight:
        return learner
    if not classes or not _scores_classes(context, network, len(classes)):
        context.say("trains on labels alone: the network before compression gives the loss no scores of classes")
        return learner
    teacher = TorchTeacher(context.teacher, classes=classes)
    return Distilled(learner, teacher, [Logits(weight=weight)], labels=1.0 - weight, classes=classes)


@torch.no_grad()
def _scores_classes(context: StepContext, network: nn.Module, num_classes: int) -> bool:
    """Returns whether the task's loss calls the network and gets a row of so many scores for each example."""
    given: list[Any] = []
    hook = network.register_forward_hook(lambda module, inputs, output: given.append(output))
    try:
        with evaluating(network):
            context.loss(network, context.batches(1)[0])
    finally:
        hook.remove()
    return bool(given) and isinstance(given[0], Tensor) and given[0].shape[1:] == (num_classes,)
