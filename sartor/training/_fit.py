"""The one training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from sartor._quiet import give_way
from sartor.errors import DeadlineError, InputError, near
from sartor.training.average import Average
from sartor.training.learner import Learner
from sartor.training.optimizers import Player
from sartor.training.recipe import Recipe
from sartor.training.schedule import Schedule
from sartor.training.state import TrainingState, copied
from sartor.training.step import CPU, Step
from sartor.training.subject import Subject

if TYPE_CHECKING:
    from sartor.training.parallel import Ranks


class Report(Protocol):
    """Takes points of series at a number of steps done."""

    def __call__(self, step: int, **values: float) -> None: ...


def fit(
    subject: Subject,
    learner: Learner,
    data: Any,
    recipe: Recipe,
    *,
    total: int,
    seed: int,
    schedule: Schedule | None = None,
    until: int | None = None,
    state: TrainingState | None = None,
    device: str | torch.device = CPU,
    report: Report | None = None,
    report_every: int = 1,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    validate_every: int = 0,
    checkpoint: Callable[[TrainingState], None] | None = None,
    checkpoint_s: float = 5.0,
    deadline: float | None = None,
    ranks: Ranks | None = None,
) -> TrainingState:
    """Trains the subject's module and the learner in place; returns where they stand.

    A step is a function of its number, the seed and the state before it: torch's global generators are seeded at
    each (and are as before on return), data order and ``Step``'s streams are derived. So stopping with ``until`` or
    by an exception and going on from a saved state ends bit-equal to not stopping, on one machine and thread count.

    When no player has a trainable parameter nothing is done: given weights are only evaluated.

    Args:
        subject: Gives the module and, at each step, the networks to use.
        learner: Gives the players, batches and losses.
        data: What ``learner.batch`` reads; the train part.
        recipe: Rates, sizes, averaging; ``recipe.players`` overrides fields of a player.
        total: Steps of the whole training: the unit of ``Step.fraction``.
        seed: Everything random is derived from it.
        schedule: Share of the peak rate at each step; the recipe's over ``total`` when None.
        until: Steps done at which to stop, at most ``total``; ``total`` when None.
        state: Where to go on from.
        device: Where module and learner are moved to.
        report: Told ``loss.<player>`` of those that stepped, ``learning_rate`` of the first of them, and
            ``validation.<name>``.
        report_every: Steps between reports (rounded up so that all players step at them); the first and the last
            step are reported too. Never by the clock, so that series repeat.
        validate: Given the module, with averaged weights if there are, returns name -> value.
        validate_every: Steps between validations; 0 for none. ``until`` itself is left to the caller.
        checkpoint: Given the state after a step, at most once in ``checkpoint_s`` seconds and not at the last step.
        checkpoint_s: Least seconds between checkpoints.
        deadline: ``time.monotonic()`` at which to checkpoint and give up, or None.
        ranks: The processes that share the micro-batches of each step; all call this alike, and end alike.

    Returns:
        The state after ``until`` steps (or what was given, when nothing was to be done).

    Raises:
        DivergedError: a loss or a gradient was not finite; its step was not taken.
        DeadlineError: the deadline passed; the state was given to ``checkpoint`` before.
        InputError: the recipe names a player that the learner lacks, or the device is neither CPU nor CUDA.
    """
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"training runs on 'cpu' or 'cuda', got {str(device)!r}")
    until = total if until is None else until
    if not 0 <= until <= total:
        raise InputError(f"expected until between 0 and total = {total}, got {until}")
    schedule = schedule or Schedule.of(recipe, total)
    module = subject.module.to(device)
    learner.to(device)
    with _seeded(device) as seed_default:
        loop = _Loop(module, learner, recipe, device)
        start = loop.restore(state) if state is not None else 0
        if not loop.players or start >= until:
            return loop.state(max(start, until))
        due_every = math.lcm(*(player.every for player in loop.players))
        report_every = max(1, math.ceil(report_every / due_every)) * due_every
        single = loop.single
        average = loop.average
        after = None if type(learner).after is Learner.after else learner.after
        plays = None if type(learner).plays is Learner.plays else learner.plays
        autocast = _autocast(recipe, device)
        module.train()
        learner.train()
        saved_at = time.monotonic()
        for index in range(start, until):
            give_way()  # to a measurement on this machine, which another busy core would slow
            share = schedule(index)
            losses: dict[str, torch.Tensor] = {}
            rates: list[float] = []
            step: Step | None = None
            network = module
            for player in loop.players:
                if index % player.every or (plays is not None and not plays(player.name, index, total)):
                    continue
                accumulate = player.recipe.accumulate
                value: torch.Tensor | None = None
                for micro in range(accumulate) if ranks is None else ranks.micros(accumulate):
                    step = Step(index, total, seed, player.recipe, player=player.name, micro=micro, device=device)
                    seed_default(step.default_seed)
                    drawn = tuple(subject.draw(step))
                    parts = accumulate * len(drawn)
                    for step.architecture, network in drawn:
                        batch = learner.batch(network, data, step)
                        if autocast is None:
                            loss = learner.loss(network, batch, step)
                        else:
                            with autocast():
                                loss = learner.loss(network, batch, step)
                        if parts > 1:
                            loss = loss / parts
                        if single:
                            loss.backward()  # type: ignore[no-untyped-call]
                        else:  # what the other players own must gather no gradient
                            loss.backward(inputs=player.parameters)  # type: ignore[no-untyped-call]
                        value = loss.detach() if value is None else value + loss.detach()
                if value is None:
                    raise InputError(f"the subject drew no network at step {index}")
                if ranks is not None:
                    value = ranks.sum_gradients(player.parameters, value)
                rates.append(player.step(value, share, index))
                losses[player.name] = value
            if ranks is not None:
                ranks.average_buffers(module)
                ranks.average_buffers(learner)
            if after is not None and step is not None:
                with torch.no_grad():
                    after(network, step)
            if average is not None:
                average.update(index)
            done = index + 1
            if report is not None and losses and (index % report_every == 0 or done == until):
                loop.check()
                points = {f"loss.{name}": float(value) for name, value in losses.items()}
                report(done, **points, learning_rate=rates[0])
            if validate is not None and validate_every and done % validate_every == 0 and done < until:
                loop.check()
                with average.applied() if average is not None else contextlib.nullcontext():
                    points = {f"validation.{name}": value for name, value in validate(module).items()}
                if report is not None:
                    report(done, **points)
            if done < until:
                now = time.monotonic()
                late = deadline is not None and now > deadline
                if checkpoint is not None and (late or now - saved_at >= checkpoint_s):
                    checkpoint(loop.state(done))
                    saved_at = time.monotonic()
                if late:
                    raise DeadlineError(f"the deadline passed at step {done} of {until}")
        return loop.state(until)


class _Loop:
    """What the loop holds beside the module and the learner: players and the average."""

    def __init__(self, module: nn.Module, learner: Learner, recipe: Recipe, device: torch.device) -> None:
        self.module, self.learner = module, learner
        owned = learner.players(module)
        for name in (*recipe.players, *learner.every):
            if name not in owned:
                raise InputError(f"the recipe or the learner names a player {name!r}{near(name, owned)}")
        self.players: list[Player] = []
        for name, parameters in owned.items():
            # A parameter used in two places is listed twice, but has one optimiser state.
            trainable = list(dict.fromkeys(p for p in parameters if p.requires_grad))
            if trainable:
                self.players.append(Player(name, recipe.of_player(name), trainable, learner.every.get(name, 1)))
        held = {id(p) for part in (module, learner) for p in part.parameters() if p.requires_grad}
        self.single = len(self.players) == 1 and held <= {id(p) for p in self.players[0].parameters}
        self.average = None if recipe.ema_decay is None or not self.players else Average(module, recipe.ema_decay)

    def check(self) -> None:
        for player in self.players:
            player.check()

    def state(self, step: int) -> TrainingState:
        self.check()
        return TrainingState(
            step=step,
            module=copied(self.module.state_dict()),
            learner=copied(self.learner.state_dict()),
            optimizers={player.name: copied(player.rule.state_dict()) for player in self.players},
            averaged=copied(self.average.values) if self.average is not None else None,
        )

    def restore(self, state: TrainingState) -> int:
        self.module.load_state_dict(state.module)
        self.learner.load_state_dict(state.learner)
        for player in self.players:
            player.rule.load_state_dict(state.optimizers[player.name])
        if self.average is not None and state.averaged is not None:
            for name, value in self.average.values.items():
                value.copy_(state.averaged[name])
        return state.step


@contextlib.contextmanager
def _seeded(device: torch.device) -> Iterator[Callable[[int], object]]:
    """Gives the function that seeds torch's global generators; puts them back as they were on leaving.

    ``torch.manual_seed`` costs 100 us, a generator's own 1.
    """
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield torch.default_generator.manual_seed
        return
    number = device.index if device.index is not None else torch.cuda.current_device()
    with torch.random.fork_rng(devices=[number]):
        accelerator = torch.cuda.default_generators[number]

        def seed(value: int) -> None:
            torch.default_generator.manual_seed(value)
            accelerator.manual_seed(value)

        yield seed


def _autocast(recipe: Recipe, device: torch.device) -> Callable[[], AbstractContextManager[Any]] | None:
    """Returns a maker of bfloat16 contexts, or None for float32 (``auto`` on a CPU, or where the device lacks it)."""
    auto = recipe.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    if recipe.precision == "bfloat16" or auto:
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return None
