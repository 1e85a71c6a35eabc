"""Which operation of a larger network does what an operation of a smaller one does, and what the others must do.

Goals run backwards through both traces from the outputs: that a tensor of the larger network equals one of the smaller
(on the places that this has), that it is zero, that it is one half. An operation meets a goal by its like in the
smaller network, or by being made nothing: an identity (convolution, linear layer, batch normalisation), a ReLU of what
is not negative, a sum with zero. Of all ways the one is taken that makes the fewest operations nothing and moves the
fewest to another place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from sartor.compress.morphism._trace import Op, Trace, Value
from sartor.errors import UnsupportedNetworkError

Role = Literal["pair", "identity", "zero", "half"]
NOT_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "hardsigmoid", "softmax", "exp", "abs", "square", "softplus"})
POOLING = frozenset(
    {"max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"}
    | {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "_max_pool2d"}
)
"""Pooling over places, channel by channel."""
RESAMPLING = frozenset({"interpolate", "upsample"})
"""The same, but what is not negative may become so."""
NORMS = frozenset({"layer_norm", "rms_norm"})
"""Normalisations over all features of a place."""
ZERO_KEEPING = POOLING | RESAMPLING | {
    "gelu", "silu", "tanh", "hardswish", "mish", "elu", "leaky_relu", "selu", "celu", "softsign", "sin", "neg", "mul",
    "div", "pass", "reshape", "permute", "mean", "sum", "getitem", "pad", "roll", "expand",
}  # fmt: skip
"""Operations of one tensor that give zero for zero, with a gradient. ReLU is not among them: its gradient at 0 is 0, so
that a branch silenced before it would never learn."""
_WEIGHTED = frozenset({"conv", "linear"})
_MISPLACED = 1
_MADE = 1
_NUM_TRIES = 24
"""Alignments looked at, when the cheapest ones ask two things of one operation."""
_FREE_FORM = _WEIGHTED | NORMS | {"batch_norm", "group_norm", "reshape", "getitem", "expand"}
"""Kinds whose plain arguments may differ: what must not is checked of each."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What an operation of the larger network does.

    Attributes:
        role: As its like in the smaller network (``pair``), nothing (``identity``), or its output is 0.
        large: The operation.
        small: Its like.
        factor: By which a pair's weight is multiplied, because a new gate before it halves what it reads.
    """

    role: Role
    large: Op
    small: Op | None = None
    factor: float = 1.0


@dataclass(frozen=True, eq=False)
class _Plan:
    """One way to meet a goal: its cost, what it decides, and the plans that it needs."""

    cost: int
    decision: Decision | None = None
    equal: tuple[Value, Value] | None = None
    parts: tuple[_Plan, ...] = ()


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a larger network holds a smaller one.

    Attributes:
        decisions: Of each operation of the larger network that matters, in the order of its trace.
        equal: Value of the larger network -> value of the smaller one that it equals on the places that this has.
        outputs: Of the larger network.
        silent: Parameters of the larger network that are zeroed as they are (a branch's learned positions).
    """

    decisions: tuple[Decision, ...]
    equal: dict[Value, Value]
    outputs: tuple[Value, ...]
    silent: tuple[Value, ...] = ()


def is_scaled_by_zero(op: Op | None) -> bool:
    return op is not None and op.kind == "mul" and len(op.inputs) == 1 and op.fixed in ("([Ellipsis, 0.0], {})",)


def kernel_places(large: Op, small: Op) -> tuple[tuple[int, ...], ...] | None:
    """Returns where in the larger kernel each place of the smaller lies, by dimension; None where it cannot."""
    found = []
    sizes = zip(large.inputs[1].shape[2:], small.inputs[1].shape[2:], strict=True)
    for axis, (k_large, k_small) in enumerate(sizes):
        (p_large, d_large), (p_small, d_small) = (
            (op.options["padding"][axis], op.options["dilation"][axis]) for op in (large, small)
        )
        offsets = [p_large - p_small + i * d_small for i in range(k_small)]
        if any(offset % d_large or not 0 <= offset // d_large < k_large for offset in offsets):
            return None
        found.append(tuple(offset // d_large for offset in offsets))
    return tuple(found)


class Aligner:
    """Finds the cheapest alignment of two traces."""

    def __init__(self, large: Trace, small: Trace) -> None:
        self.large, self.small = large, small
        self._barred: set[tuple[Value, Value]] = set()
        self._same: dict[tuple[Value, Value], _Plan | None] = {}
        self._zero: dict[Value, _Plan | None] = {}
        self._signs: dict[Value, bool] = {}
        self._reasons: list[tuple[int, str]] = []

    def align(self) -> Alignment:
        """Returns the alignment.

        Raises:
            UnsupportedNetworkError: there is none; the place where the two differ is named.
        """
        if len(self.large.outputs) != len(self.small.outputs) or len(self.large.inputs) != len(self.small.inputs):
            raise UnsupportedNetworkError(
                f"the networks differ in what they give: {len(self.small.outputs)} tensors, {len(self.large.outputs)}"
            )
        barred: list[frozenset[tuple[Value, Value]]] = [frozenset()]
        for _ in range(_NUM_TRIES):
            if not barred:
                break
            self._barred = set(barred.pop(0))
            self._same.clear()
            self._zero.clear()
            plans = self._plans()
            if plans is None:
                continue
            found = self._collected(plans)
            if isinstance(found, Alignment):
                return found
            barred += [frozenset(self._barred | {pair}) for pair in found]
        why = max(self._reasons, key=lambda reason: reason[0], default=(0, "nothing in common"))[1]
        raise UnsupportedNetworkError(f"the larger network cannot be given the function of the smaller one: {why}")

    def _plans(self) -> list[_Plan] | None:
        with _deep_recursion(50 * (len(self.large.ops) + len(self.small.ops))):
            plans = [self.same(a, b) for a, b in zip(self.large.outputs, self.small.outputs, strict=True)]
        plans += [_Plan(0, equal=pair) for pair in zip(self.large.inputs, self.small.inputs, strict=True)]
        found = [plan for plan in plans if plan is not None]
        return found if len(found) == len(plans) else None

    def _collected(self, plans: Sequence[_Plan]) -> Alignment | tuple[tuple[Value, Value], ...]:
        """Returns the alignment, or pairs of which one must not be equal because together they contradict."""
        decisions: dict[Op, Decision] = {}
        equal: dict[Value, Value] = {}
        silent: dict[Value, None] = {}
        seen: set[int] = set()
        waiting = list(reversed(plans))
        while waiting:
            plan = waiting.pop()
            if id(plan) in seen:
                continue
            seen.add(id(plan))
            if plan.equal is not None:
                large, small = plan.equal
                if large is small:
                    silent[large] = None
                elif equal.setdefault(large, small) is not small:
                    return (large, equal[large]), (large, small)
            if plan.decision is not None:
                known, new = decisions.setdefault(plan.decision.large, plan.decision), plan.decision
                if (known.role, known.small, known.factor) != (new.role, new.small, new.factor):
                    out = new.large.outputs[0]
                    self._note(3, f"{known.large} would have to do two things at once")
                    return ((out, equal[out]),) if out in equal else ()
            waiting.extend(reversed(plan.parts))
        order = {op: i for i, op in enumerate(self.large.ops)}
        ordered = tuple(sorted(decisions.values(), key=lambda decision: order[decision.large]))
        return Alignment(ordered, equal, tuple(self.large.outputs), tuple(silent))

    # ---- goals

    def same(self, a: Value, b: Value) -> _Plan | None:
        """Returns how ``a`` of the larger network equals ``b`` of the smaller one."""
        if (a, b) in self._barred:
            return None
        if (a, b) not in self._same:
            # A goal that is asked for while it is being looked into is not met that way.
            self._same[a, b] = None
            self._same[a, b] = self._found(a, b)
        return self._same[a, b]

    def _found(self, a: Value, b: Value) -> _Plan | None:
        if a.op is None or b.op is None:
            if a.op is None and b.op is None:
                return self._leaf(a, b)
        elif a.op.kind == b.op.kind and a.op.place == b.op.place:
            paired = self._pair(a, b)
            if paired is not None:
                return paired
        ways = [*self._through(a, b)]
        if a.op is not None and b.op is not None and a.op.kind == b.op.kind and a.op.place != b.op.place:
            ways.append(self._pair(a, b))
        found = [way for way in ways if way is not None]
        if not found:
            self._note(0, f"{_named(b)} of the smaller has no like, where the larger has {_named(a)}")
            return None
        return min(found, key=lambda plan: plan.cost)

    def _leaf(self, a: Value, b: Value) -> _Plan | None:
        is_input = [value.name.startswith("input ") for value in (a, b)]
        if any(is_input):
            return _Plan(0, equal=(a, b)) if a.name == b.name else None
        if len(a.shape) != len(b.shape) or bool(a.name) != bool(b.name) or (not a.name and a.shape != b.shape):
            return None
        return _Plan(0 if a.name == b.name else _MISPLACED, equal=(a, b))

    def _pair(self, a: Value, b: Value) -> _Plan | None:
        large, small = a.op, b.op
        assert large is not None and small is not None
        if len(large.outputs) != len(small.outputs) or large.outputs.index(a) != small.outputs.index(b):
            return None
        if len(a.shape) != len(b.shape) or not self._comparable(large, small):
            return None
        factor = 1.0
        parts: list[_Plan] = []
        if large.kind in _WEIGHTED:
            read = self.same(large.inputs[0], small.inputs[0])
            if read is None:
                read, factor = self._gated(large.inputs[0], small.inputs[0]), 2.0
            weights = [_Plan(0, equal=pair) for pair in zip(large.inputs[1:], small.inputs[1:], strict=False)]
            if read is None:
                return None
            parts = [read, *weights]
        else:
            if len(large.inputs) != len(small.inputs):
                return None
            orders = [list(small.inputs)]
            if large.kind in ("add", "mul") and len(small.inputs) == 2:
                orders.append(orders[0][::-1])
            for order in orders:
                plans = [self.same(x, y) for x, y in zip(large.inputs, order, strict=True)]
                if all(plan is not None for plan in plans):
                    parts = [plan for plan in plans if plan is not None]
                    break
            else:
                return None
        cost = sum(part.cost for part in parts) + (_MISPLACED if large.place != small.place else 0)
        others = tuple(
            _Plan(0, equal=pair) for pair in zip(large.outputs, small.outputs, strict=True) if pair != (a, b)
        )
        return _Plan(cost, Decision("pair", large, small, factor), (a, b), (*parts, *others))

    def _comparable(self, large: Op, small: Op) -> bool:
        """Whether an operation can do what its like does, whatever their weights."""
        if large.kind not in _FREE_FORM and large.fixed != small.fixed:
            self._note(2, f"{large} is called with {large.fixed}, {small} of the smaller with {small.fixed}")
            return False
        if large.kind == "conv":
            if large.options["stride"] != small.options["stride"]:
                self._note(2, f"{large} has stride {large.options['stride']}, the smaller {small.options['stride']}")
                return False
            padded = all(isinstance(op.options["padding"], tuple) for op in (large, small))
            if not padded or len(large.inputs[1].shape) != len(small.inputs[1].shape):
                return False
            if kernel_places(large, small) is None:
                self._note(
                    2,
                    f"the kernel of {large}, {large.inputs[1].shape[2:]} padded by {large.options['padding']}, does"
                    f" not hold that of the smaller, {small.inputs[1].shape[2:]} padded by {small.options['padding']}",
                )
                return False
        if large.kind in _WEIGHTED and len(large.inputs) < len(small.inputs):
            self._note(2, f"{large} has no bias, but its like in the smaller network has")
            return False
        if large.kind in _WEIGHTED and any(
            mine < theirs for mine, theirs in zip(large.inputs[1].shape[:2], small.inputs[1].shape[:2], strict=True)
        ):
            self._note(
                2,
                f"the weight of {large}, {large.inputs[1].shape}, is smaller than {small.inputs[1].shape} of its like:"
                " a morphism grows",
            )
            return False
        for key in ("eps", "num"):
            if large.options.get(key) != small.options.get(key):
                self._note(2, f"{large} has {key} {large.options.get(key)}, the smaller {small.options.get(key)}")
                return False
        return not (large.kind == "getitem" and large.options["by_tensor"] != small.options["by_tensor"])

    def _gated(self, a: Value, b: Value) -> _Plan | None:
        """Returns how ``a`` is half of ``b``: a new gate starts at one half; the reader's weight makes up for it."""
        op = a.op
        if op is None or op.kind != "mul" or len(op.inputs) != 2:
            return None
        for kept, gate in (op.inputs, op.inputs[::-1]):
            same, half = self.same(kept, b), self._half(gate)
            if same is not None and half is not None:
                return _Plan(same.cost + half.cost + _MADE, Decision("identity", op), (a, b), (same, half))
        return None

    def _half(self, a: Value) -> _Plan | None:
        if a.op is None or a.op.kind not in ("sigmoid", "hardsigmoid"):
            return None
        zero = self.zero(a.op.inputs[0])
        return None if zero is None else _Plan(zero.cost + _MADE, Decision("half", a.op), None, (zero,))

    def _through(self, a: Value, b: Value) -> Iterator[_Plan | None]:
        """Yields the ways in which ``a`` equals ``b`` because what gave ``a`` is made nothing."""
        if self._is_zero(b):
            zero = self.zero(a)
            if zero is not None:
                yield _Plan(zero.cost, None, (a, b), (zero,))
        if b.op is not None and b.op.kind == "pass":
            same = self.same(a, b.op.inputs[0])
            if same is not None:
                yield _Plan(same.cost, None, None, (same,))
        op = a.op
        if op is None:
            return
        if op.kind in ("add", "sub") and len(op.inputs) == 2:
            first, second = op.inputs
            sides = ((first, second), (second, first)) if op.kind == "add" else ((first, second),)
            for kept, silenced in sides:
                if kept.shape == a.shape:
                    yield self._joined(op, a, b, self.same(kept, b), self.zero(silenced))
        elif op.kind == "relu":
            if self._is_not_negative(b):
                yield self._joined(op, a, b, self.same(op.inputs[0], b))
            else:
                self._note(1, f"{op} would have to pass negative numbers on")
        elif op.kind == "pass":
            same = self.same(op.inputs[0], b)
            yield None if same is None else _Plan(same.cost, Decision("identity", op), (a, b), (same,))
        elif op.kind == "batch_norm" and len(op.inputs) == 5 or op.kind in _WEIGHTED and self._may_be_identity(op):
            yield self._joined(op, a, b, self.same(op.inputs[0], b))

    def _joined(self, op: Op, a: Value, b: Value, *needed: _Plan | None) -> _Plan | None:
        if any(plan is None for plan in needed):
            return None
        parts = tuple(plan for plan in needed if plan is not None)
        return _Plan(_MADE + sum(part.cost for part in parts), Decision("identity", op), (a, b), parts)

    def _may_be_identity(self, op: Op) -> bool:
        if op.kind == "linear":
            return True
        options = op.options
        centred = isinstance(options["padding"], tuple) and all(
            2 * p == d * (k - 1)
            for p, d, k in zip(options["padding"], options["dilation"], op.inputs[1].shape[2:], strict=True)
        )
        return centred and set(options["stride"]) == {1}

    def zero(self, a: Value) -> _Plan | None:
        """Returns how ``a`` is zero whatever the input, such that it can still learn to be something else."""
        if a not in self._zero:
            self._zero[a] = None
            self._zero[a] = self._silenced(a)
        return self._zero[a]

    def _silenced(self, a: Value) -> _Plan | None:
        op = a.op
        if op is None:
            is_input = a.name.startswith("input ") or not a.name
            return None if is_input else _Plan(_MADE, equal=(a, a))
        if is_scaled_by_zero(op):
            return _Plan(0)
        if op.kind in _WEIGHTED or (op.kind == "batch_norm" and len(op.inputs) == 5):
            return _Plan(_MADE, Decision("zero", op))
        if op.kind in NORMS and len(op.inputs) == (3 if op.kind == "layer_norm" else 2):
            return _Plan(_MADE, Decision("zero", op))
        if op.kind in ("add", "sub", "cat"):
            plans = [self.zero(x) for x in op.inputs]
            if all(plan is not None for plan in plans):
                parts = tuple(plan for plan in plans if plan is not None)
                return _Plan(sum(part.cost for part in parts), None, None, parts)
            return None
        if op.kind == "mul" and len(op.inputs) == 2:
            found = [plan for plan in map(self.zero, op.inputs) if plan is not None]
            return min(found, key=lambda plan: plan.cost, default=None)
        if op.kind in ZERO_KEEPING and len(op.inputs) == 1:
            return self.zero(op.inputs[0])
        if op.kind == "relu":
            self._note(1, f"{op} ends a branch that would have to be silent, and a silent ReLU has no gradient")
        else:
            self._note(0, f"{op} of the larger network cannot be silenced")
        return None

    # ---- what is known of the smaller network

    def _is_zero(self, b: Value) -> bool:
        op = b.op
        if op is None:
            return False
        if is_scaled_by_zero(op):
            return True
        if op.kind in ("add", "sub"):
            return all(self._is_zero(x) for x in op.inputs)
        return (op.kind in ZERO_KEEPING or op.kind == "relu") and len(op.inputs) == 1 and self._is_zero(op.inputs[0])

    def _is_not_negative(self, b: Value) -> bool:
        if b not in self._signs:
            op = b.op
            if op is None:
                self._signs[b] = False
            elif op.kind in NOT_NEGATIVE:
                self._signs[b] = True
            elif op.kind in ("add", "cat") or (op.kind == "mul" and len(op.inputs) == 2):
                self._signs[b] = all(map(self._is_not_negative, op.inputs))
            elif op.kind in POOLING | {"pass", "mean", "sum", "reshape", "permute", "getitem"}:
                self._signs[b] = self._is_not_negative(op.inputs[0])
            else:
                self._signs[b] = is_scaled_by_zero(op)
        return self._signs[b]

    def _note(self, weight: int, reason: str) -> None:
        self._reasons.append((weight, reason))


def _named(value: Value) -> str:
    return str(value.op) if value.op is not None else value.name or "a constant"


@contextmanager
def _deep_recursion(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, limit))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
