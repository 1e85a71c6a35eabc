"""Learning from the network before compression, or from another, as a step of compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError, UnsupportedNetworkError, near
from sartor.registry import CompressorSpec
from sartor.units import listed

if TYPE_CHECKING:
    from torch import nn

    from sartor.compress._contract import Outcome, StepContext
    from sartor.compress.distillation.teacher import Adapt, Teacher
    from sartor.compress.distillation.terms import Term

SPEC = CompressorSpec(
    "distil",
    "sartor.compress.steps.distil:distil",
    summary="learn from the network before compression, or from an ONNX file",
    citation="Hinton et al. 2015, arXiv:1503.02531; Romero et al. 2015, arXiv:1412.6550; Zagoruyko & Komodakis 2017,"
    " arXiv:1612.03928; Park et al. 2019, arXiv:1904.05068",
    options="sartor.compress.steps.distil:Options",
)

TERMS = ("logits", "hints", "attention", "relational")


@dataclass(frozen=True)
class Options:
    """Options of distil.

    Attributes:
        terms: What is learned from the teacher, with commas between: logits, hints, attention, relational.
        temperature: That softens class probabilities.
        weight: Of the logits' divergence; the other terms have the weights of their papers.
        labels: Weight of the task's own loss.
        hint_stage: Share of the training that is spent on hints, attention and relations alone before logits (FitNets);
            0 for all terms at once.
        teacher_file: An ONNX file to learn from (its logits only), instead of the network before compression.
        hold_zeros: Zeros stay zeros while training.
    """

    terms: str = "logits"
    temperature: float = 4.0
    weight: float = 0.9
    labels: float = 0.1
    hint_stage: float = 0.0
    teacher_file: str | None = None
    hold_zeros: bool = True

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError(f"terms: expected some of {', '.join(TERMS)}, got none")
        for name in self.names:
            if name not in TERMS:
                raise InputError(f"terms: there is no {name!r}{near(name, TERMS)}")
        if not 0 <= self.hint_stage < 1:
            raise InputError(f"hint_stage: expected a share from 0 to below 1, got {self.hint_stage:g}")
        if self.hint_stage and set(self.names) <= {"logits"}:
            raise InputError("hint_stage needs hints, attention or relational among the terms")

    @property
    def names(self) -> list[str]:
        return list(listed(self.terms))


def distil(network: nn.Module, options: Options, context: StepContext) -> Outcome:
    """Returns the network trained on with terms that draw it to the teacher."""
    import copy

    from sartor.compress import Outcome
    from sartor.compress.distillation.learner import Distilled, Stage
    from sartor.compress.distillation.teacher import OnnxTeacher, TorchTeacher
    from sartor.compress.sparsity.held import Held
    from sartor.compress.sparsity.masks import nonzero_masks, sparsity_of
    from sartor.compress.sparsity.weights import weights_of
    from sartor.estimators.training import seeded_learner
    from sartor.training import Learner

    if not context.epochs > 0:
        raise InputError("distil trains the network: give it epochs")
    classes = context.task.describe().get("classes")
    teacher: Teacher
    if options.teacher_file is None:
        teacher = TorchTeacher(context.teacher, classes=classes)
        _warn_of_worse(network, context)
    else:
        teacher = OnnxTeacher(options.teacher_file, adapt=_undeploy(network, context))
    terms, pairs = _terms(network, options, context)
    first = tuple(term for name, term in terms if name != "logits")
    stages = [Stage(1.0, tuple(term for _, term in terms), options.labels)]
    if options.hint_stage:
        rest = tuple(term for name, term in terms if name == "logits")
        stages = [Stage(options.hint_stage, first, 0.0), Stage(1.0, rest, options.labels if rest else 1.0)]
    learned = seeded_learner(context.task, context.architecture, context.seed)
    learner: Learner = Distilled(learned, teacher, stages, classes=classes)
    try:
        masks = nonzero_masks(network, weights_of(network))
    except UnsupportedNetworkError:
        masks = {}  # of layers that no zeros are made in
    held = options.hold_zeros and bool(masks) and sparsity_of(masks) > 0
    if held:
        learner = Held(learner, masks)
    made = context.fine_tune("student", copy.deepcopy(network), epochs=context.epochs, learner=learner)
    source = options.teacher_file or "the network before compression"
    return Outcome(made, {"teacher": source, "terms": options.names, "pairs": pairs, "zeros_held": held})


def _warn_of_worse(network: nn.Module, context: StepContext) -> None:
    """Says when the teacher is worse than the network it is to teach."""
    primary = context.task.primary
    ours, theirs = (context.evaluate(each)[primary] for each in (network, context.teacher))
    better = max if context.task.metrics[primary].direction == "max" else min
    if ours != theirs and better(ours, theirs) == ours:
        context.say(
            f"distil: the teacher's {primary} is {theirs:.4f}, the network's own {ours:.4f}: it is drawn to a worse one"
        )


def _terms(
    network: nn.Module, options: Options, context: StepContext
) -> tuple[list[tuple[str, Term]], list[dict[str, Any]]]:
    """Returns the terms by name, and the pairs of layers that they look at, for the record."""
    from sartor.compress.calibration import network_inputs
    from sartor.compress.distillation.attention import AttentionTransfer
    from sartor.compress.distillation.hints import Hints
    from sartor.compress.distillation.logits import Logits
    from sartor.compress.distillation.mapping import map_layers
    from sartor.compress.distillation.relational import Relational
    from sartor.compress.distillation.teacher import look

    terms: list[tuple[str, Term]] = []
    record: list[dict[str, Any]] = []
    layers = {"hints", "attention"} & set(options.names)
    if layers:
        if options.teacher_file is not None:
            raise InputError(f"an ONNX teacher shows its logits only: leave out {', '.join(sorted(layers))}")
        inputs = network_inputs(network, context.batches(1), context.loss)[0]
        mapped = map_layers(network, context.teacher, inputs)
        pairs = [entry.pair for entry in mapped]
        record = [{**entry.pair._asdict(), "similarity": round(entry.similarity, 4)} for entry in mapped]
        ours = look(network, inputs, [pair.student for pair in pairs])
        theirs = look(context.teacher, inputs, [pair.teacher for pair in pairs])
    for name in options.names:
        match name:
            case "logits":
                terms.append((name, Logits(options.temperature, options.weight)))
            case "hints":
                terms.append((name, Hints(pairs, ours, theirs, seed=context.seed)))
            case "attention":
                terms.append((name, AttentionTransfer(pairs)))
            case _:
                terms.append((name, Relational()))
    return terms, record


def _undeploy(network: nn.Module, context: StepContext) -> Adapt | None:
    """Returns what turns the network's inputs back into those of the deployed network, which an exported file takes.

    Raises:
        InputError: that is not known for this task.
    """
    from sartor.nets import Standardise

    deployed = context.deploy(network)
    if deployed is network:
        return None
    standards = [part for part in deployed.modules() if isinstance(part, Standardise)]
    inside = sum(isinstance(part, Standardise) for part in network.modules())
    if len(standards) != inside + 1 or getattr(deployed, "resolution", None) is not None:
        raise InputError(
            "teacher_file: it is not known how to turn what this task gives its network back into what an exported file"
            " takes: leave it out, so that the network before compression teaches"
        )
    mean, scale = standards[0].mean, standards[0].scale
    return lambda x: x / scale.to(x.device) + mean.to(x.device)
