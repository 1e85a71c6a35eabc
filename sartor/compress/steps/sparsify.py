"""Zeros among the weights, as a step of compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from sartor.errors import InputError, near
from sartor.registry import CompressorSpec
from sartor.units import listed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sartor.compress._contract import Outcome, StepContext
    from sartor.training import Recipe

SPEC = CompressorSpec(
    "sparsify",
    "sartor.compress.steps.sparsify:sparsify",
    summary="zeros among the weights: smaller files, seldom faster; measured dense against sparse",
    citation="Zhu & Gupta 2017, arXiv:1710.01878; Lee et al. 2021, arXiv:2010.07611; Frankle & Carbin 2019,"
    " arXiv:1803.03635; Renda et al. 2020, arXiv:2003.02389; Frantar & Alistarh 2023, arXiv:2301.00774",
    options="sartor.compress.steps.sparsify:Options",
)

Method = Literal["gradual", "iterative", "sparsegpt", "obs"]
Criterion = Literal["lamp", "magnitude", "taylor", "obd"]
Scope = Literal["global", "local"]
REMOVED_BY = 0.4
"""Share of the training after which gradual pruning has all zeros: what is left is trained at the full rate still, then
as the rate falls."""


@dataclass(frozen=True)
class Options:
    """Options of sparsify.

    Attributes:
        sparsity: Share of the weights that becomes zero.
        method: Along a cubic schedule over the first 40% of the training; prune and train by turns; each layer at once
            from data (sparsegpt) or by second order (obs), both then trained under the zeros.
        criterion: Which weights go, of the gradual (lamp or magnitude) and the iterative method. Magnitudes take much
            the same share of each layer, lamp takes less of small ones.
        scope: Of all layers together, or of each the same share.
        rounds: Of the iterative method.
        two_of_four: Two of every four weights stay, as sparse tensor cores want it; only with sparsegpt.
        skip: Layers to leave alone, by name, with commas between; * stands for anything.
        batches: Of training data to calibrate on.
        teacher: Weight of what the network before compression says in the training, where networks score classes;
            labels have the rest. 0 for labels alone.
    """

    sparsity: float = 0.9
    method: Method = "gradual"
    criterion: Criterion = "lamp"
    scope: Scope = "global"
    rounds: int = 4
    two_of_four: bool = False
    skip: str = ""
    batches: int = 8
    teacher: float = 0.9

    def __post_init__(self) -> None:
        for name, kind in (("method", Method), ("criterion", Criterion), ("scope", Scope)):
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise InputError(f"{name}: there is no {value!r}{near(str(value), known)}")
        if not 0 < self.sparsity < 1:
            raise InputError(f"sparsity: expected a share above 0 and below 1, got {self.sparsity:g}")
        if self.rounds < 1 or self.batches < 1:
            raise InputError(f"expected at least 1 round and 1 batch, got {self.rounds} and {self.batches}")
        if self.two_of_four and self.method != "sparsegpt":
            raise InputError(f"two_of_four goes with the method sparsegpt, not with {self.method}")
        if self.method == "gradual" and self.criterion in ("taylor", "obd"):
            raise InputError(f"criterion: {self.criterion} goes with the method iterative, not with gradual")
        if not 0 <= self.teacher <= 1:
            raise InputError(f"teacher: expected a weight from 0 to 1, got {self.teacher:g}")


def sparsify(network: nn.Module, options: Options, context: StepContext) -> Outcome:
    """Returns the network with zeros, its weights also in a file of their smallest layouts."""
    from sartor.compress import Outcome
    from sartor.compress.sparsity.masks import nonzero_masks, sparsity_of
    from sartor.compress.sparsity.speed import measure_speed
    from sartor.compress.sparsity.storage import save_sparse, storage, total_bytes
    from sartor.compress.sparsity.weights import weights_of

    skip = list(listed(options.skip))
    dense_bytes = total_bytes(storage(network), "dense")
    run = {"iterative": _iterative, "gradual": _gradual}.get(options.method, _at_once)
    made = run(network, options, context, skip)
    masks = nonzero_masks(made, weights_of(made, skip=skip))
    stored = storage(made)
    latency = measure_speed(context.deploy(made), context.inputs)
    record: dict[str, Any] = {
        "zeros": sparsity_of(masks),
        "zeros_by_layer": {name: sparsity_of({name: mask}) for name, mask in masks.items()},
        "dense_bytes": dense_bytes,
        "bytes": {layout: total_bytes(stored, layout) for layout in ("bitmap", "csr", "coo")},
        "smallest_bytes": total_bytes(stored),
        "file_bytes": save_sparse(made, context.folder / "weights.sparse"),
        "latency_ms": {name: figure.value for name, figure in latency.items()},
    }
    context.say(
        f"{record['zeros']:.1%} zeros: {record['file_bytes']:,} bytes instead of {dense_bytes:,};"
        f" torch {latency['dense'].value:.3g} ms dense, {latency['csr'].value:.3g} ms on sparse kernels,"
        f" {latency['onnxruntime'].value:.3g} ms by ONNX Runtime, which does not use the zeros"
    )
    return Outcome(made, record)


def _iterative(network: nn.Module, options: Options, context: StepContext, skip: list[str]) -> nn.Module:
    from sartor.compress.distillation.before import taught
    from sartor.compress.sparsity.held import Held
    from sartor.compress.sparsity.iterative import sparsities
    from sartor.compress.sparsity.masks import global_masks, local_masks, pruned

    select = global_masks if options.scope == "global" else local_masks
    masks: dict[str, Tensor] | None = None
    for number, target in enumerate(sparsities(options.sparsity, options.rounds)):

        def choose(network: nn.Module = network, target: float = target, before: Any = masks) -> dict[str, Tensor]:
            return select(_scores(network, options, context, skip), target, before)

        masks = context.stage(f"masks-{number}", choose)
        network = pruned(network, masks)
        if context.epochs > 0:
            network = context.fine_tune(
                f"round-{number}", network, epochs=context.epochs / options.rounds,
                learner=Held(taught(context, network, options.teacher), masks), recipe=_recipe(context),
            )  # fmt: skip
    return network


def _recipe(context: StepContext) -> Recipe:
    """Returns the task's own: its full rate again, which Renda et al. find better than a low one under many zeros."""
    return context.task.recipe_for(context.architecture)


def _scores(network: nn.Module, options: Options, context: StepContext, skip: list[str]) -> dict[str, Tensor]:
    from sartor.compress.sparsity.lamp import lamp
    from sartor.compress.sparsity.magnitude import magnitude
    from sartor.compress.sparsity.obd import obd
    from sartor.compress.sparsity.taylor import taylor

    if options.criterion == "lamp":
        return lamp(network, skip=skip)
    if options.criterion == "magnitude":
        return magnitude(network, skip=skip)
    batches = context.batches(options.batches)
    if options.criterion == "taylor":
        return taylor(network, batches, context.loss, skip=skip)
    return obd(network, batches, context.loss, seed=context.seed, skip=skip)


def _gradual(network: nn.Module, options: Options, context: StepContext, skip: list[str]) -> nn.Module:
    import copy

    from sartor.compress.distillation.before import taught
    from sartor.compress.sparsity.gradual import Gradual

    if not context.epochs > 0:
        raise InputError("sparsify.method gradual prunes while it trains: give it epochs, or use another method")
    learner = Gradual(
        taught(context, network, options.teacher), network, sparsity=options.sparsity, end=REMOVED_BY,
        scope=options.scope, criterion="lamp" if options.criterion == "lamp" else "magnitude", skip=skip,
    )  # fmt: skip
    return context.fine_tune(
        "gradual", copy.deepcopy(network), epochs=context.epochs, learner=learner, recipe=_recipe(context)
    )


def _at_once(network: nn.Module, options: Options, context: StepContext, skip: list[str]) -> nn.Module:
    from sartor.compress.calibration import network_inputs
    from sartor.compress.distillation.before import taught
    from sartor.compress.sparsity.held import Held
    from sartor.compress.sparsity.n_of_m import TWO_OF_FOUR
    from sartor.compress.sparsity.obs import Surgery, obs
    from sartor.compress.sparsity.sparsegpt import sparsegpt

    def operate() -> Surgery:
        if options.method == "obs":
            batches = context.batches(16 * options.batches, 4)  # each gives one gradient
            return obs(network, batches, context.loss, options.sparsity, skip=skip)
        inputs = network_inputs(network, context.batches(options.batches), context.loss)
        pattern = TWO_OF_FOUR if options.two_of_four else None
        return sparsegpt(network, inputs, options.sparsity, pattern=pattern, skip=skip)

    found = context.stage("surgery", operate)
    if not context.epochs > 0:
        return found.module
    learner = Held(taught(context, found.module, options.teacher), found.masks)
    return context.fine_tune("trained", found.module, epochs=context.epochs, learner=learner)
