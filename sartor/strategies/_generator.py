"""An autoregressive generator of architectures under conditions. See `sartor.strategies.conditional_generator`."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError, near
from sartor.goals import Objective
from sartor.space import Architecture, Space
from sartor.space._walk import Prefixes, Tokens, Walk
from sartor.strategies._fresh import check_at_least

Array = npt.NDArray[np.float64]

_NUM_LEVELS = 8
"""Level k is a value within the best half to the power k; level 0 is no condition."""
_LEAST_IN_LEVEL = 8
"""Architectures that a level's threshold must let through to be learned from."""
_NO_CONDITION = 0.3
"""Share of the examples in which one quantity is free."""
_BATCH_SIZE = 64
_LEARNING_RATE = 6e-3
_VALIDITY = 10.0
"""Weight of the logarithm of the probability that a token is allowed."""
_MAX_ROUNDS = 20
"""Rounds of sampling before predicates on whole architectures are held to reject all."""


class Generator:
    """Writes architectures of a space whose quantities are at least, or at most, what is asked.

    A causal Transformer over the tokens of a `Walk`, with an embedding of each quantity's level added to every input.
    Level k means "within the best 2^-k of the architectures it was fitted to", so that a condition is a bound: examples
    of a level are drawn evenly from all that meet it. The first quantity's levels are among those that meet the other
    conditions: high accuracy at a low latency is what is high at that latency.

    Args:
        space: Whose architectures.
        quantities: What can be asked, each with the direction that is better; accuracy first.
        seed: Same seed and data, same architectures.
        hidden: Width of the network, a multiple of 4.

    Raises:
        InputError: No quantity, one named twice, or a width that makes no sense.

    Attributes:
        num_generated: Architectures written without masks, to see what the network has learned of the space.
        num_invalid: How many of them were none of the space.
        num_rejected: Architectures written with masks that predicates on whole architectures rejected.

    Example:
        generator = Generator(space, [Objective("accuracy"), Objective("latency_ms", "min")])
        generator.fit(architectures, {"accuracy": accuracies, "latency_ms": latencies})
        made = generator.generate(100, conditions={"latency_ms": 5.0})
    """

    def __init__(self, space: Space, quantities: Sequence[Objective], *, seed: int = 0, hidden: int = 64) -> None:
        names = [quantity.name for quantity in quantities]
        if not names or len(set(names)) < len(names):
            raise InputError(f"expected one or more different quantities, got {names}")
        check_at_least("hidden", hidden, 4)
        if hidden % 4:
            raise InputError(f"hidden must be a multiple of 4, got {hidden}")
        from sartor.strategies._controller import Controller, Learner

        self.space, self.quantities = space, tuple(quantities)
        self._walk = Walk(space)
        self._rng = np.random.default_rng([seed, 11])
        weights_seed = int(self._rng.integers(2**31))
        self.network = Controller(self._walk, "transformer", weights_seed, hidden, [_NUM_LEVELS] * len(names))
        self._learner = Learner(self.network, _LEARNING_RATE)
        self._fitted: Array = np.zeros((len(names), 0))
        """Losses that it was fitted to, ``[num_quantities, n]``."""
        self.num_generated = self.num_invalid = self.num_rejected = 0

    @property
    def is_fitted(self) -> bool:
        return self._fitted.size > 0

    @property
    def invalid_share(self) -> float | None:
        """Share of the architectures written without masks that were none of the space, or None before any."""
        return self.num_invalid / self.num_generated if self.num_generated else None

    # --- learning

    def fit(
        self, architectures: Sequence[Architecture], values: Mapping[str, npt.ArrayLike], *, num_steps: int = 300
    ) -> None:
        """Learns which architectures have which values, going on from what it learned before.

        Args:
            architectures: Of the space, with repetitions if some are to count more.
            values: Of each quantity, ``[n]``, finite, in its own unit.
            num_steps: Steps of Adam on 64 examples each, the rate falling to zero by a cosine.

        Raises:
            InputError: A quantity without values, values of another length, or one that is not finite.
        """
        check_at_least("num_steps", num_steps, 1)
        # As they are saved, so that a restored one reads the same levels.
        self._fitted = self._losses(len(architectures), values).astype(np.float32).astype(np.float64)
        if not self._walk.num_tokens:
            return
        from sartor._threads import one_thread

        tokens = self._walk.tokens(architectures)
        with one_thread():
            self._train(tokens, num_steps)

    def _losses(self, n: int, values: Mapping[str, npt.ArrayLike]) -> Array:
        rows = []
        for quantity in self.quantities:
            if quantity.name not in values:
                raise InputError(f"no values of {quantity.name!r}; there are some of {sorted(values)}")
            row = np.asarray(values[quantity.name], np.float64)
            if n < 1 or row.shape != (n,) or not np.isfinite(row).all():
                raise InputError(
                    f"expected {n} finite values of {quantity.name}, one or more, got {row[:8]} of shape {row.shape}"
                )
            rows.append(-row if quantity.direction == "max" else row)
        return np.array(rows)

    def _train(self, tokens: Tokens, num_steps: int) -> None:
        import torch

        allowed, _ = self._walk.allowed(tokens)
        examples = _Examples(self._fitted, self._rng)
        self._learner.restart()
        for step in range(num_steps):
            rows, levels = examples.draw()
            target = torch.from_numpy(tokens[rows])
            logits = self.network(target, torch.from_numpy(levels))
            logs = logits.log_softmax(-1)
            chosen = logs.gather(-1, target[..., None]).mean()
            # Masks are left out, so that the network learns what the space allows; the second term says it outright.
            within = logs.masked_fill(~torch.from_numpy(allowed[rows]), -torch.inf).logsumexp(-1).mean()
            loss = -chosen - _VALIDITY * within
            self._learner.step(loss, share=0.5 * (1 + math.cos(math.pi * step / num_steps)))

    # --- generating

    def levels(self, conditions: Mapping[str, float]) -> list[int]:
        """Returns the level of each quantity that stands for ``conditions``.

        Raises:
            InputError: It was not fitted; an unknown quantity; a bound that is no number.
        """
        if not self.is_fitted:
            raise InputError("the generator has learned nothing yet: call fit(architectures, values) first")
        names = [quantity.name for quantity in self.quantities]
        for name, value in conditions.items():
            if name not in names:
                raise InputError(f"no quantity is called {name!r}{near(name, names)}")
            if not np.isfinite(value):
                raise InputError(f"the condition on {name} must be a finite number, got {value}")
        levels = [0] * len(names)
        meets = np.ones(self._fitted.shape[1], bool)
        # The first comes last, as its levels are among those that meet the others.
        for i, name in [*enumerate(names)][1:] + [(0, names[0])]:
            if name in conditions:
                bound = self.quantities[i].loss(conditions[name])
                thresholds = _thresholds(self._fitted[i][meets if i == 0 and meets.any() else slice(None)])
                fits = [level for level, threshold in enumerate(thresholds) if threshold <= bound]
                levels[i] = fits[0] if fits else len(thresholds) - 1
                meets &= self._fitted[i] <= thresholds[levels[i]]
        return levels

    def generate(
        self, n: int, conditions: Mapping[str, float] | None = None, *, guidance: float = 1.5
    ) -> list[Architecture]:
        """Returns ``n`` architectures of the space, not all different.

        Args:
            n: How many.
            conditions: Quantity -> bound: at most, or at least for one that is maximised. They are followed as far as
                was learned, not guaranteed.
            guidance: How far to go in the direction of the conditions; 1 is what was learned.

        Raises:
            InputError: As `levels`; or predicates on whole architectures rejected nearly all that was written.
        """
        made = self.attempt(n, conditions, guidance=guidance)
        if len(made) < n:
            raise InputError(
                f"predicates on whole architectures accepted {len(made)} of the {_MAX_ROUNDS} times {n} generated"
            )
        return made

    def attempt(
        self, n: int, conditions: Mapping[str, float] | None = None, *, guidance: float = 1.5
    ) -> list[Architecture]:
        """Returns what `generate` does, or fewer where predicates on whole architectures reject nearly all."""
        levels = self.levels(conditions or {})
        made: list[Architecture] = []
        for _ in range(_MAX_ROUNDS):
            for one in self._sample(n, levels, guidance, masked=True).architectures(self._rng):
                if one is None:
                    self.num_rejected += 1
                else:
                    made.append(one)
            if len(made) >= n:
                break
        return made[:n]

    def count_invalid(self, n: int, conditions: Mapping[str, float] | None = None, *, guidance: float = 1.5) -> int:
        """Writes ``n`` architectures without masks and returns how many are none of the space; both are counted."""
        prefixes = self._sample(n, self.levels(conditions or {}), guidance, masked=False)
        found = int((~prefixes.valid).sum())
        self.num_generated += n
        self.num_invalid += found
        return found

    def _sample(self, n: int, levels: Sequence[int], guidance: float, *, masked: bool) -> Prefixes:
        from sartor._threads import one_thread

        with one_thread():
            conditions = np.tile(np.array(levels, np.int64), (n, 1))
            return self.network.sample(n, self._rng, conditions=conditions, masked=masked, guidance=guidance)

    # --- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "learner": self._learner.state_dict(moments=False),
            "fitted": base64.b64encode(self._fitted.astype("<f4").tobytes()).decode(),
            "counts": [self.num_generated, self.num_invalid, self.num_rejected],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._learner.load_state_dict(state["learner"])
        fitted = np.frombuffer(base64.b64decode(state["fitted"]), "<f4").astype(np.float64)
        self._fitted = fitted.reshape(len(self.quantities), -1)
        self.num_generated, self.num_invalid, self.num_rejected = state["counts"]


class _Examples:
    """Draws what to learn from.

    Args:
        losses: ``[num_quantities, n]``.
        rng: Of the generator.
    """

    def __init__(self, losses: Array, rng: np.random.Generator) -> None:
        self._losses, self._rng = losses, rng
        self._best_first = np.argsort(losses[0], kind="stable")
        self._thresholds = [np.array(_thresholds(row)) for row in losses]

    def draw(self) -> tuple[Tokens, Tokens]:
        """Returns rows drawn evenly from those that meet random levels, and these levels, ``[batch, quantities]``."""
        rng, losses = self._rng, self._losses
        levels = np.zeros((_BATCH_SIZE, len(losses)), np.int64)
        meets = np.ones((_BATCH_SIZE, losses.shape[1]), bool)
        for i in (1 + rng.permutation(len(losses) - 1)).tolist():
            drawn = self._drawn(len(self._thresholds[i]))
            narrowed = meets & (losses[i] <= self._thresholds[i][drawn][:, None])
            # A level that nothing meets beside the others' is no condition.
            kept = narrowed.any(1)
            levels[kept, i] = drawn[kept]
            meets[kept] = narrowed[kept]
        ranks = meets[:, self._best_first].cumsum(1)
        drawn = np.minimum(self._drawn(_NUM_LEVELS), _most_level(ranks[:, -1]))
        levels[:, 0] = drawn
        most = np.maximum((ranks[:, -1] * 0.5**drawn).astype(np.int64), 1)
        places = 1 + (rng.random(_BATCH_SIZE) * most).astype(np.int64)
        return self._best_first[(ranks >= places[:, None]).argmax(1)], levels

    def _drawn(self, num: int) -> Tokens:
        levels = self._rng.integers(0, num, _BATCH_SIZE)
        levels[self._rng.random(_BATCH_SIZE) < _NO_CONDITION] = 0
        return levels


def _most_level(num: Tokens) -> Tokens:
    """Returns the tightest level that lets enough of ``num`` architectures through."""
    found: Tokens = np.log2(np.maximum(num / _LEAST_IN_LEVEL, 1)).astype(np.int64)
    return np.minimum(found, _NUM_LEVELS - 1)


def _thresholds(losses: Array) -> list[float]:
    """Returns the losses that bound the levels, the loosest first; at least one."""
    ordered = np.sort(losses)
    nums = [int(len(ordered) * 0.5**level) for level in range(1 + int(_most_level(np.array(len(ordered)))))]
    return [float(ordered[max(num, 1) - 1]) for num in nums]
