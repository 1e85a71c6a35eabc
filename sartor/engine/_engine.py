"""The engine: asks a strategy, has trials evaluated, records every step, and can be killed at any of them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from sartor.engine._checkpoint import checkpoint_path
from sartor.engine._events import Costs, Event, Failed, Finished, Lost, Progress, Started
from sartor.engine._job import Job, Message
from sartor.engine._order import VirtualClock
from sartor.engine._pools import Pool, make_pool
from sartor.engine._problem import OpenedProblem, Problem
from sartor.errors import InputError, RecordError, RemoteError, SartorError
from sartor.estimators.work import predicted_work
from sartor.runs import Record, RunInfo
from sartor.trials import Fidelity, Figure, Proposal, Trial, derive_seed

if TYPE_CHECKING:
    from sartor.contracts import Strategy

OnEvent = Callable[[Event], None]
Deadline = Callable[[Sequence[Trial]], float]
Work = Callable[[Proposal, Fidelity | None], float]
"""Proposal and the fidelity it goes on from, or None, to predicted work, above 0; ``Training.work`` is one."""

NUM_FIRST_FAILURES = 3
"""When the first so many trials of a run that were tried (infeasible ones are not) all fail in the same words, numbers
aside, the task is broken and the run stops: a budget should not be spent on it."""

_SNAPSHOT_EVERY = 16
_SNAPSHOT_SHARE = 8
_HEARTBEAT_S = 1.0
_WAIT_S = 0.2
_FLUSH_POINTS = 20_000


class BrokenTaskError(SartorError):
    """The first trials all failed in the same way."""


def default_work(proposal: Proposal, continued: Fidelity | None) -> float:
    """Returns what training to the proposal's fidelity takes, in its unit."""
    return predicted_work(proposal.fidelity, continued)


class Engine:
    """Runs searches and other lists of trials.

    Args:
        record: Open for writing.
        problem: What is evaluated.
        workers: Processes; 0 evaluates in this one. More than ``slots`` would have nothing to do.
        slots: Trials that may be outstanding when the strategy is asked: part of what a search's result depends on,
            as the number of workers is not.
        retries: How often a trial whose worker died is tried again.
        grace_s: How long running trials may still take to end when the deadline has passed.
        work: Predicts the work of a proposal for the virtual clock.
        opened: The problem's parts, when they are made already; only used with ``workers=0``.

    Raises:
        InputError: a number is out of range.

    Example:
        run = record.create_run("search", "images", config, seed=0, environment={})
        trials = Engine(record, problem, workers=2).run(run, strategy, max_trials=100)
    """

    def __init__(
        self,
        record: Record,
        problem: Problem,
        *,
        workers: int = 1,
        slots: int = 4,
        retries: int = 1,
        grace_s: float = 2.0,
        work: Work = default_work,
        opened: OpenedProblem | None = None,
    ) -> None:
        if workers < 0:
            raise InputError(f"expected 0 workers or more, got {workers}")
        if slots < 1:
            raise InputError(f"expected at least 1 slot, got {slots}")
        self.record, self.problem, self.workers, self.slots = record, problem, workers, slots
        self.retries, self.grace_s, self.work, self.opened = retries, grace_s, work, opened

    def run(
        self,
        run: RunInfo,
        strategy: Strategy,
        *,
        max_trials: int | None = None,
        deadline: Deadline | None = None,
        on_event: OnEvent | None = None,
    ) -> list[Trial]:
        """Evaluates what the strategy asks for, going on where the record of ``run`` ends.

        It ends when ``max_trials`` trials have been asked in all, the deadline has passed or the strategy asks no
        more. Trials still running a little after the deadline stay ``running`` in the record; another call goes on
        with them first, from their checkpoints. The run's state is left ``running``, for the caller to conclude.

        Args:
            run: Of ``record``; its seed is in every trial's.
            strategy: New, made with the run's configuration: its state is restored from the record.
            max_trials: Counts every proposal.
            deadline: Returns, of the run's trials so far, the ``time.monotonic()`` from which nothing new is asked.
            on_event: Called with events, in the process that calls ``run``.

        Returns:
            All trials of the run, by number, also those of earlier calls.

        Raises:
            InputError: a part cannot be made; a proposal is not one.
            BrokenTaskError: the first trials all failed in the same way; resuming starts the run over.
            WorkerError: workers cannot be started.
            RecordError: the record cannot be written, or does not repeat with this strategy.
            KeyboardInterrupt: Ctrl-C or SIGTERM; everything is recorded and the run can be resumed.
        """
        session = _Session(self, run, strategy, max_trials, deadline, on_event or (lambda event: None))
        return session.run()


class _Session:
    """One call of ``Engine.run``."""

    def __init__(
        self,
        engine: Engine,
        run: RunInfo,
        strategy: Strategy,
        max_trials: int | None,
        deadline: Deadline | None,
        say: OnEvent,
    ) -> None:
        self.engine, self.record, self.info, self.strategy = engine, engine.record, run, strategy
        self.max_trials, self.deadline, self.say = max_trials, deadline, say
        self.folder = self.record.path(run.id)
        self.clock = VirtualClock(engine.slots)
        self.trials: list[Trial] = []
        self.num_restored = 0
        self.asked = 0
        self.snapshot_at = 0
        self.exhausted = False
        self.queue: deque[Trial] = deque()
        self.running: dict[int, Trial] = {}
        # The same architecture at the same fidelity again shares the first one's result.
        self.first: dict[tuple[object, ...], int] = {}
        self.twins: dict[int, list[Trial]] = {}
        self.original: dict[int, int] = {}
        self.judged = False
        self.pool: Pool | None = None
        self.since = time.monotonic()
        self.interrupted = False
        self.interruptible = False
        # Figures are of a network, so of what makes it: task, options and space.
        made_by = [dict(engine.problem.task), engine.problem.space, run.config.get("space")]
        self.task_key = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:16]
        self.highest = max((f.amount for f in engine.problem.fidelities), default=0.0)

    # --- the loop

    def run(self) -> list[Trial]:
        with self._signals():
            try:
                self._restore()
                self.record.set_state(self.info.id, "running")
                self._loop()
                self._check_interrupt()
            except (KeyboardInterrupt, RecordError, RemoteError):
                self._stop("interrupted")
                raise
            except BaseException:
                self._stop("failed")
                raise
            self._stop(None)
        self.strategy.tell([self.trials[n] for n in self.clock.rest() if self.trials[n].state != "running"])
        return self.trials

    def _loop(self) -> None:
        while True:
            self._ask()
            if self._is_over():
                if not self.running or self._remaining_s() <= -self.engine.grace_s:
                    return
            elif not self.queue and not self.running:
                return
            else:
                self._dispatch()
            self._check_interrupt()
            if self.pool is not None:
                # In this process a trial runs inside of the wait, and Ctrl-C may break it off.
                self.interruptible = self.engine.workers == 0
                self.pool.wait(_WAIT_S, self._handle)
                self.interruptible = False
            self._check_interrupt()
            if time.monotonic() - self.since >= _HEARTBEAT_S:
                self.record.add_elapsed(self.info.id, self._elapsed())
            elif self.record.num_waiting_points >= _FLUSH_POINTS:
                self.record.flush()
            self._judge_first()

    def _is_over(self) -> bool:
        return self._remaining_s() <= 0.0

    def _remaining_s(self) -> float:
        return math.inf if self.deadline is None else self.deadline(self.trials) - time.monotonic()

    def _elapsed(self) -> float:
        now = time.monotonic()
        seconds, self.since = now - self.since, now
        return seconds

    def _stop(self, state: Any) -> None:
        """Stops the workers and finishes the record, as far as it lets itself be written."""
        self.interruptible = False
        if self.pool is not None:
            self.pool.close()
        self._sweep()
        try:
            self.record.add_elapsed(self.info.id, self._elapsed())
            if state is not None:
                self.record.set_state(self.info.id, state)
        except RecordError:
            # Only while another error is under way may this one go unsaid: it is the same full disk, most likely.
            if state is None:
                raise

    def _sweep(self) -> None:
        """Removes what killed workers left half written; none is running."""
        for path in self.folder.glob("*.tmp"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Lets Ctrl-C and SIGTERM end the loop between two transactions; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.interrupted or self.interruptible:
                self.interrupted = True
                raise KeyboardInterrupt
            self.interrupted = True

        handlers = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _check_interrupt(self) -> None:
        if self.interrupted:
            done = sum(trial.state != "running" for trial in self.trials)
            raise KeyboardInterrupt(f"{self.info.id} was interrupted after {done} trials; all are recorded")

    # --- going on where the record ends

    def _restore(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self.trials = self.record.trials(self.info.id)
        if self._first_failure() is not None:
            # The person has had time to mend the task; nothing of worth came before it was broken.
            self.record.clear_trials(self.info.id)
            self.record.log(self.info.id, "restart", "the first trials had all failed in the same way: starting over")
            for path in self.folder.glob("*.checkpoint.pt"):
                path.unlink(missing_ok=True)
            self.trials = []
        snapshot = self.record.snapshot(self.info.id)
        if snapshot is not None:
            self.asked, state = snapshot
            self.snapshot_at = self.asked
            self.clock.load_state_dict(state["clock"])
            self.strategy.load_state_dict(state["strategy"])
        self.num_restored = len(self.trials)
        for trial in self.trials:
            self._enlist(trial)

    def _key(self, proposal: Proposal) -> tuple[object, ...]:
        return (proposal.architecture, proposal.fidelity, proposal.replicate)

    def _enlist(self, trial: Trial) -> None:
        """Queues a running trial, unless another one already stands for it."""
        first = self.first.setdefault(self._key(trial.proposal), trial.number)
        if first != trial.number:
            self.original[trial.number] = first
        if trial.state != "running":
            return
        if first == trial.number:
            self.queue.append(trial)
        elif self.trials[first].state == "running":
            self.twins.setdefault(first, []).append(trial)
        else:
            self._copy(self.trials[first], trial)
            self._finish(trial)

    # --- asking

    def _may_ask(self) -> bool:
        if self.asked < len(self.trials):
            # Recorded already: the strategy is brought to where it was.
            return True
        if self.exhausted or self._is_over():
            return False
        return self.max_trials is None or self.asked < self.max_trials

    def _ask(self) -> None:
        """Asks for as many trials as the virtual clock allows now."""
        while self._may_ask():
            if any(self.trials[number].state == "running" for number in self.clock.due()):
                return
            told = [self.trials[number] for number in self.clock.tell()]
            if told:
                self.strategy.tell(told)
            proposals = self.strategy.ask(1)
            if not proposals:
                # It may be waiting for results: let virtual time pass until it knows more.
                if not self.clock.skip():
                    if self.asked < len(self.trials):
                        raise self._not_repeated(None)
                    self.exhausted = True
                continue
            if len(proposals) > 1:
                raise InputError(f"the strategy was asked for 1 proposal and gave {len(proposals)}")
            self._place(proposals[0])

    def _place(self, proposal: Proposal) -> None:
        number = self.asked
        continued = None
        if proposal.continues is not None:
            if not 0 <= proposal.continues < number:
                raise InputError(f"trial {number} cannot continue trial {proposal.continues}: there is none before it")
            earlier = self.trials[proposal.continues].proposal
            if earlier.architecture == proposal.architecture:
                continued = earlier.fidelity
        begins, ends = self.clock.place(number, self.engine.work(proposal, continued))
        self.asked += 1
        if number < len(self.trials):
            if proposal != self.trials[number].proposal:
                raise self._not_repeated(proposal)
            self.trials[number].proposal = proposal
            return
        seed = derive_seed(self.info.seed, proposal.architecture.to_json(), proposal.replicate)
        trial = Trial(number, proposal, seed)
        self.trials.append(trial)
        # Asks since the last snapshot are repeated on resume; growing gaps keep what is written linear in the trials.
        snapshot = None
        if self.asked - self.snapshot_at >= max(_SNAPSHOT_EVERY, self.asked // _SNAPSHOT_SHARE):
            self.snapshot_at = self.asked
            snapshot = {"clock": self.clock.state_dict(), "strategy": self.strategy.state_dict()}
        self.record.add_trial(self.info.id, trial, begins=begins, ends=ends, snapshot=snapshot)
        self._enlist(trial)

    def _not_repeated(self, proposal: Proposal | None) -> RecordError:
        trial = self.trials[self.asked - 1 if proposal is not None else self.asked]
        now = "nothing" if proposal is None else f"{proposal.architecture.to_json()} at {proposal.fidelity}"
        was = f"{trial.proposal.architecture.to_json()} at {trial.proposal.fidelity}"
        return RecordError(
            f"{self.info.id} cannot be resumed: told the same results, the strategy proposed {now} where trial "
            f"{trial.number} was {was}; its proposals must be a function of its seed and of what it was told"
        )

    # --- evaluating

    def _dispatch(self) -> None:
        if not self.queue:
            return
        if self.pool is None:
            workers = min(self.engine.workers, self.engine.slots)
            if self.max_trials is not None:
                workers = min(workers, len(self.queue) + max(0, self.max_trials - self.asked))
            self.pool = make_pool(self.engine.problem, self.folder, workers, self.engine.opened)
        for _ in range(min(self.pool.num_idle(), len(self.queue))):
            busy = {trial.architecture for trial in self.running.values()}
            # An architecture on its way is being measured: its twin at another fidelity waits for the figures.
            trial = next((trial for trial in self.queue if trial.architecture not in busy), None)
            if trial is None:
                return
            self.queue.remove(trial)
            self.running[trial.number] = trial
            if trial.attempts or trial.number < self.num_restored:
                self.record.start_attempt(self.info.id, trial)
            self.pool.submit(self._job(trial))
            self.say(Started(trial))

    def _job(self, trial: Trial) -> Job:
        proposal = trial.proposal
        known = self.record.known_costs(self.task_key, proposal.architecture)
        continues = proposal.continues
        while continues in self.original:
            continues = self.original[continues]
        parent = None if continues is None else self.trials[continues].architecture
        inherits = None if parent is None or parent == proposal.architecture else parent.to_json()
        return Job(
            trial.number, proposal.architecture.to_json(), proposal.fidelity.amount, proposal.fidelity.unit, trial.seed,
            continues, inherits, None if self.deadline is None else self._remaining_s(),
            {key: {name: f.to_json() for name, f in figures.items()} for key, figures in known.items()},
        )

    def _handle(self, message: Message) -> None:
        interruptible, self.interruptible = self.interruptible, False
        self._take(message)
        self.interruptible = interruptible
        if interruptible:
            self._check_interrupt()

    def _take(self, message: Message) -> None:
        trial = self.running[message["number"]]
        kind = message["kind"]
        if kind == "points":
            latest: dict[str, float] = {}
            step = 0
            for series, (steps, values) in message["series"].items():
                self.record.add_points(self.info.id, trial.number, series, steps, values)
                latest[series], step = values[-1], max(step, steps[-1])
            self.say(Progress(trial, step, latest))
        elif kind == "costs":
            figures = {name: Figure.from_json(value) for name, value in message["figures"].items()}
            self.record.record_costs(self.task_key, trial.architecture, message["device"], figures)
            self.say(Costs(trial, message["device"], figures))
        elif kind == "lost":
            self._lose(trial, message["reason"])
        else:
            self._end(trial, message)

    def _lose(self, trial: Trial, reason: str) -> None:
        del self.running[trial.number]
        trial.attempts += 1
        again = trial.attempts <= self.engine.retries
        self.record.log(self.info.id, "lost", f"trial {trial.number}: its worker {reason}")
        self.say(Lost(trial, reason, again))
        if again:
            self.queue.appendleft(trial)
            return
        trial.state = "failed"
        trial.failure = f"its worker {reason} ({trial.attempts} times)"
        self._finish(trial)

    def _end(self, trial: Trial, message: Mapping[str, Any]) -> None:
        del self.running[trial.number]
        if message["state"] == "full":
            raise RecordError(
                f"no space left to save trial {trial.number} in {self.folder} ({message['failure']}): "
                "free some space and go on with --resume"
            )
        if message["state"] == "gone":
            raise RemoteError(f"{message['failure']}; all that was finished is recorded: go on with --resume")
        if message["state"] == "running":
            # Its deadline passed; it stays to be resumed.
            return
        trial.state, trial.failure = message["state"], message["failure"]
        trial.metrics, trial.usage = dict(message["metrics"]), dict(message["usage"])
        trial.costs = {name: Figure.from_json(value) for name, value in message["costs"].items()}
        for name, file in message["kept"].items():
            self.record.add_file(self.info.id, trial.number, name, self.folder / file)
        self._finish(trial)

    @staticmethod
    def _copy(first: Trial, twin: Trial) -> None:
        twin.state, twin.failure = first.state, first.failure
        twin.metrics, twin.costs = dict(first.metrics), dict(first.costs)

    def _finish(self, trial: Trial) -> None:
        self.record.finish_trial(self.info.id, trial, self._elapsed())
        if trial.state == "failed" or trial.proposal.fidelity.amount >= self.highest:
            # Nothing goes on from it.
            checkpoint_path(self.folder, trial.number).unlink(missing_ok=True)
        self.say(Failed(trial) if trial.state == "failed" else Finished(trial))
        for twin in self.twins.pop(trial.number, ()):
            self._copy(trial, twin)
            self._finish(twin)

    # --- a broken task

    def _first_failure(self) -> str | None:
        """Returns the failure that the first trials share, or None: by number, so that no timing decides it."""
        seen: list[str] = []
        for trial in self.trials:
            if trial.state == "infeasible":
                continue
            if trial.state != "failed":
                return None
            seen.append(re.sub(r"\d+", "#", trial.failure or ""))
            if len(set(seen)) > 1:
                return None
            if len(seen) == NUM_FIRST_FAILURES:
                return trial.failure
        return None

    def _judge_first(self) -> None:
        if self.judged:
            return
        failure = self._first_failure()
        if failure is not None:
            raise BrokenTaskError(
                f"the first {NUM_FIRST_FAILURES} trials all failed with the same error, so the search was stopped: "
                f"{failure}\nThe tracebacks are in {self.folder}; mend the task and go on with --resume"
            )
        tried = [trial for trial in self.trials if trial.state != "infeasible"]
        self.judged = any(trial.state == "complete" for trial in tried[:NUM_FIRST_FAILURES]) or (
            len(tried) >= NUM_FIRST_FAILURES and all(trial.state != "running" for trial in tried[:NUM_FIRST_FAILURES])
        )
