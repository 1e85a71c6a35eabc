"""Structured pruning as a step of compression: channels, heads, units or whole layers go, in rounds with training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from sartor.errors import BudgetError, InputError, UnsupportedNetworkError, near
from sartor.registry import CompressorSpec
from sartor.units import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from sartor.compress._contract import Outcome, StepContext
    from sartor.compress.pruning.choice import Choice
    from sartor.compress.pruning.structure import Scores, Structure

SPEC = CompressorSpec(
    "prune",
    "sartor.compress.steps.prune:prune",
    summary="remove channels, heads, units or whole layers, to a share of the MACs or to the limits",
    citation="Molchanov et al. 2019, arXiv:1906.10771; Liu et al. 2021, arXiv:2108.00708; Hinton et al. 2015,"
    " arXiv:1503.02531",
    options="sartor.compress.steps.prune:Options",
)

Criterion = Literal["taylor", "fisher", "l1", "l2", "bn-scale", "geometric-median"]
What = Literal["channels", "layers"]
NEAR = 0.9
"""Share of the target below which finer multiples are tried."""
LATENCY_PROBES = 7
"""Networks measured for each multiple of channels when a latency is headed for."""
MULTIPLES = (8, 16, 4, 1)
"""Of channels, that are tried when a latency is headed for."""


@dataclass(frozen=True)
class Options:
    """Options of prune.

    Attributes:
        criterion: What scores channels: taylor, fisher, l1, l2, bn-scale, geometric-median.
        what: channels (with heads and units of feed-forward layers) or whole layers.
        keep: Share of the MACs that is left, where no limit says otherwise.
        rounds: Prunings, with training after each.
        round_to: Channels that are left are a multiple of it, where a layer has twice as many; 0 for what the runtime's
            kernels take at a time on this processor, or a half of it, and so on, where that falls far below the target.
        candidates: Ways to reach the target that are judged by their loss before training, beside the plain one.
        least: Share of each layer that stays.
        batches: Of training data that score channels.
        batch_size: Their rows.
        skip: Layers whose outputs stay, with commas between; * stands for anything.
        teacher: Weight of what the network before compression says in the training after each round, where networks
            score classes; labels have the rest. 0 for labels alone, as nothing was gained where it was measured.
    """

    criterion: str = "taylor"
    what: str = "channels"
    keep: float = 0.5
    rounds: int = 1
    round_to: int = 0
    candidates: int = 32
    least: float = 0.1
    batches: int = 32
    batch_size: int = 32
    skip: str = ""
    teacher: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("criterion", get_args(Criterion)), ("what", get_args(What))):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name}: there is no {value!r}{near(value, known)}")
        if not 0 < self.keep <= 1:
            raise InputError(f"keep: expected a share above 0 and at most 1, got {self.keep:g}")
        if min(self.rounds, self.batches, self.batch_size) < 1:
            raise InputError("rounds, batches and batch_size: expected at least 1")
        if self.round_to < 0 or self.candidates < 0:
            raise InputError(f"round_to and candidates: expected at least 0, got {self.round_to}, {self.candidates}")
        if not 0 <= self.least < 1:
            raise InputError(f"least: expected a share from 0 to below 1, got {self.least:g}")
        if not 0 <= self.teacher <= 1:
            raise InputError(f"teacher: expected a weight from 0 to 1, got {self.teacher:g}")

    @property
    def multiples(self) -> tuple[int, ...]:
        """Of channels, to try one after the other while those before fall far below the target."""
        from sartor.compress.pruning.choice import runtime_multiple

        if self.round_to:
            return (self.round_to,)
        widest = runtime_multiple()
        return tuple(widest >> halvings for halvings in range(widest.bit_length()))

    @property
    def skipped(self) -> tuple[str, ...]:
        return listed(self.skip)


def prune(network: nn.Module, options: Options, context: StepContext) -> Outcome:
    """Returns a smaller network that meets the limits on macs, params and latency, or has the share of MACs asked for.

    Raises:
        BudgetError: a limit is out of reach; the message says what is closest.
        UnsupportedNetworkError: nothing can be pruned; layers are named.
    """
    from sartor.compress import Outcome
    from sartor.compress.distillation.before import taught

    if options.what == "layers":
        return _without_layers(network, options, context)
    record: dict[str, Any] = {"criterion": options.criterion, "rounds": []}
    limits = {limit.name: limit.bound for limit in context.limits}
    start = context.stage("start", lambda: {name: f.value for name, f in context.measure(network, "macs").items()})
    for number in range(options.rounds):
        last = number == options.rounds - 1
        share = options.keep ** ((number + 1) / options.rounds)
        done = (number + 1) / options.rounds

        def cut(network: nn.Module = network, share: float = share, done: float = done, last: bool = last) -> Any:
            return _round(network, options, context, limits, start["macs"], share, done, last)

        found = context.stage(f"cut-{number}", cut)
        record["rounds"].append(found["record"])
        if number == 0:
            record["stays"] = found["stays"]
        network = context.fine_tune(
            f"tuned-{number}", found["network"], epochs=context.epochs * _share_of_training(number, options.rounds),
            learner=taught(context, found["network"], options.teacher),
        )  # fmt: skip
    return Outcome(network, record)


def _share_of_training(number: int, rounds: int) -> float:
    """Returns the share of all training that follows a round: half the last, the others share the rest."""
    if rounds == 1:
        return 1.0
    return 0.5 if number == rounds - 1 else 0.5 / (rounds - 1)


def inputs_of(network: nn.Module, context: StepContext) -> tuple[Any, ...]:
    """Returns what the network gets when the deployed network gets the example inputs.

    Raises:
        UnsupportedNetworkError: the deployed network does not call it with tensors by place.
    """
    from sartor.compress.calibration import example_inputs

    found = example_inputs(network, context)
    if not found:
        raise UnsupportedNetworkError(
            f"what {type(context.task).__name__} deploys never calls {type(network).__name__} with tensors by place (it"
            " may call a method of it), so that prune cannot follow what flows through it; distil and quantise need not"
        )
    return found


def _round(
    network: nn.Module,
    options: Options,
    context: StepContext,
    limits: dict[str, float],
    whole_macs: float,
    share: float,
    done: float,
    last: bool,
) -> dict[str, Any]:
    """Returns the network of a round, what was done and why layers stay."""
    from sartor.compress.pruning.structure import analyse

    structure = analyse(network, inputs_of(network, context), skip=options.skipped)
    scores = _scores(structure, options, context)
    wanted = _wanted(structure, options, context, limits, whole_macs, share, done)
    choice = wanted(scores, _priced(options, structure))
    text = None
    if "latency_ms" in limits and last:
        choice, smaller, text = _for_latency(structure, scores, options, context, limits["latency_ms"], choice)
    else:
        choice, smaller = _judged(
            structure, scores, choice, lambda emphasised: wanted(emphasised, None), options, context
        )[0]
    left = {group.name: [len(group.units), int((~choice.gone[group.units]).sum())] for group in structure.groups}
    if text:
        context.say(text)
    record = {
        "macs_share": structure.macs(choice.gone) / whole_macs,
        "scores_kept": choice.kept,
        "layers": {name: counts for name, counts in left.items() if counts[0] != counts[1]},
    }
    return {"network": smaller, "record": record, "stays": structure.refused}


def _scores(structure: Structure, options: Options, context: StepContext) -> Scores:
    from sartor.compress.pruning.batch_norm_scale import batch_norm_scale
    from sartor.compress.pruning.fisher import fisher
    from sartor.compress.pruning.geometric_median import geometric_median
    from sartor.compress.pruning.magnitude import l1, l2
    from sartor.compress.pruning.taylor import taylor

    if options.criterion == "taylor":
        return taylor(structure, context.batches(options.batches, options.batch_size), context.loss)
    if options.criterion == "fisher":
        return fisher(structure, context.batches(options.batches * options.batch_size, 1), context.loss)
    return {"l1": l1, "l2": l2, "bn-scale": batch_norm_scale, "geometric-median": geometric_median}[options.criterion](
        structure
    )


def _priced(options: Options, structure: Structure) -> Scores | None:
    """Scores that estimate a change of the loss are weighed against what a unit costs; others compare as they are."""
    return structure.saved_macs() if options.criterion in ("taylor", "fisher") else None


def _wanted(
    structure: Structure,
    options: Options,
    context: StepContext,
    limits: dict[str, float],
    whole_macs: float,
    share: float,
    done: float,
) -> Callable[[Scores, Scores | None], Choice]:
    """Returns what chooses units by scores and prices, for the limits on counts or else a share of the MACs."""
    from sartor.compress.pruning.choice import choose, smallest

    counted = {name: limits[name] for name in ("macs", "params") if name in limits}
    # What the deployed network costs beside this network stays.
    beside = {name: context.measure(structure.network, name)[name].value for name in counted}
    beside = {
        name: value - (structure.macs() if name == "macs" else structure.params()) for name, value in beside.items()
    }

    def excess(gone: Any) -> float:
        over = []
        for name, bound in counted.items():
            now = (structure.macs(gone) if name == "macs" else structure.params(gone)) + beside[name]
            first = (structure.macs() if name == "macs" else structure.params()) + beside[name]
            goal = bound if done == 1 else max(bound, first * (bound / first) ** 0.5)
            over.append(now / goal)
        return max(over)

    def of_shares(gone: Any) -> float:
        return structure.macs(gone) / whole_macs

    if counted:
        cost, target = excess, 1.0
    elif "latency_ms" in limits:
        cost, target = of_shares, 1.0  # as it is: the last round measures
    else:
        cost, target = of_shares, share

    def chosen(scores: Scores, prices: Scores | None) -> Choice:
        short: BudgetError | None = None
        found: Choice | None = None
        for multiple in options.multiples:
            try:
                found = choose(
                    structure, scores, cost, target, prices=prices, round_to=multiple, least=options.least
                )
            except BudgetError as error:
                short = error
                continue
            if found.cost >= NEAR * target:
                break
        if found is not None:
            return found
        assert short is not None
        if not counted:
            raise short
        gone = smallest(structure, scores, options.multiples[-1], options.least)
        now = {
            name: (structure.macs(gone) if name == "macs" else structure.params(gone)) + beside[name]
            for name in counted
        }
        wanted = ", ".join(f"{name} <= {bound:.0f}" for name, bound in counted.items())
        closest = ", ".join(f"{name} {value:.0f}" for name, value in now.items())
        raise BudgetError(
            f"pruning cannot reach {wanted}: with {options.least:.0%} of each layer left, closest is {closest};"
            " loosen the limit, set prune.least lower, or begin with a smaller network"
        ) from short

    return chosen


def _judged(
    structure: Structure,
    scores: Scores,
    plain: Choice,
    choose: Callable[[Scores], Choice],
    options: Options,
    context: StepContext,
) -> list[tuple[Choice, nn.Module]]:
    """Returns candidates with their networks, the least loss on training data before training first."""
    import torch

    from sartor.compress.pruning.eagle_eye import eagle_eye

    if not options.candidates:
        return [(plain, structure.without(plain.gone))]
    batches = context.batches(options.batches, options.batch_size)

    def judge(network: nn.Module) -> float:
        with torch.no_grad():
            return sum(float(context.loss(network, batch)) for batch in batches) / len(batches)

    found = eagle_eye(
        structure, scores, plain, choose, judge, candidates=options.candidates, seed=context.seed
    )
    return [(each.choice, each.network) for each in found]


def _for_latency(
    structure: Structure,
    scores: Scores,
    options: Options,
    context: StepContext,
    limit_ms: float,
    before: Choice,
) -> tuple[Choice, nn.Module, str]:
    """Returns the least pruning whose network was measured within the limit, over several multiples of channels."""
    from sartor.compress.pruning.choice import Choice, choose, kept_share, smallest
    from sartor.units import format_figure

    def measured(gone: Any) -> tuple[float, nn.Module]:
        network = structure.without(gone)
        return context.measure(network, "latency_ms")["latency_ms"].value, network

    best: tuple[Choice, nn.Module, int, float] | None = None
    closest = float("inf")
    whole = structure.macs()
    multiples = (options.round_to,) if options.round_to else MULTIPLES
    now, network = measured(before.gone)
    if now <= limit_ms:
        return before, network, f"already within the limit: {format_figure('latency_ms', now)}"
    for multiple in multiples:
        end = smallest(structure, scores, multiple, options.least)
        floor = structure.macs(end) / whole
        now, network = measured(end)
        closest = min(closest, now)
        if now > limit_ms:
            continue
        low, high = floor, 1.0
        found = (Choice(end, structure.macs(end), kept_share(scores, end)), network, multiple, now)
        for _ in range(LATENCY_PROBES):
            middle = (low * high) ** 0.5
            choice = choose(
                structure,
                scores,
                structure.macs,
                middle * whole,
                prices=_priced(options, structure),
                round_to=multiple,
                least=options.least,
            )
            now, network = measured(choice.gone)
            if now <= limit_ms:
                low, found = middle, (choice, network, multiple, now)
            else:
                high = middle
        if best is None or found[0].kept > best[0].kept:
            best = found
    if best is None:
        raise BudgetError(
            f"pruning cannot reach latency <= {format_figure('latency_ms', limit_ms)}: closest is"
            f" {format_figure('latency_ms', closest)}, with {options.least:.0%} of each layer left; loosen the limit,"
            " set prune.least lower, or begin with a smaller network"
        )
    choice, network, multiple, now = best

    def as_small(emphasised: Scores) -> Choice:
        return choose(
            structure, emphasised, structure.macs, choice.cost, round_to=multiple, least=options.least
        )

    for candidate, smaller in _judged(structure, scores, choice, as_small, options, context):
        latency = context.measure(smaller, "latency_ms")["latency_ms"].value
        if latency <= limit_ms:
            choice, network, now = candidate, smaller, latency
            break
    words = f"multiples of {multiple} channels keep most within the limit: {format_figure('latency_ms', now)}"
    return choice, network, f"{words} before training"


def _without_layers(network: nn.Module, options: Options, context: StepContext) -> Outcome:
    """Returns the network without the layers that change least what passes them."""
    from sartor.compress import Outcome
    from sartor.compress.distillation.before import taught
    from sartor.compress.pruning.layers import without_layers

    limits = {limit.name: limit.bound for limit in context.limits}

    def cut() -> Any:
        macs = context.measure(network, "macs")["macs"].value
        target = limits.get("macs", options.keep * macs)

        def cost(candidate: nn.Module) -> float:
            return context.measure(candidate, "macs")["macs"].value

        batches = context.batches(min(options.batches, 8), options.batch_size)

        def run(candidate: nn.Module) -> None:
            for batch in batches:
                context.loss(candidate, batch)

        return without_layers(network, run, cost, target, skip=options.skipped)

    smaller, gone = context.stage("cut-layers", cut)
    learner = taught(context, smaller, options.teacher)
    network = context.fine_tune("tuned-layers", smaller, epochs=context.epochs, learner=learner)
    return Outcome(network, {"layers gone": gone})
