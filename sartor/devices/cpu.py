"""Latency and energy of a network on this machine's processor, measured through ONNX Runtime or another runtime.

**Protocol.** The deployed network is exported with fixed shapes, batch size 1, and run by ONNX Runtime on one thread
(intra and inter 1, sequential, all graph optimisations). After a warm-up, single runs are timed in short blocks;
``latency_ms`` is the 10th percentile of the runs in the fastest quarter of the blocks: what the machine does when
nothing is in the way. Others only ever slow a run, so larger percentiles measure the neighbours: on a loaded machine
the 10th percentile of all runs was up to 36% high in one set of sessions, this one within 8% in another.

**Interference.** A measurement holds the user's exclusive lock on the machine; loops that call ``give_way`` at each
step hold still meanwhile. It counts as quiet when other processes kept less than 0.1 cores busy, the
measuring thread lost less than 3% of its time to others, nothing was stolen by a hypervisor, and the percentiles of
the blocks agree within 5%. Else it is repeated, up to ``max_attempts`` rounds, and what was measured so far is kept.
Without a quiet round the figure's note says how busy the machine was and its error is the larger one. The load average
is not asked: it lags by a minute. Nor are rounds that agree taken for undisturbed: two virtual cores that share one
real core are steadily 1.4 times slower while both work, which no look at one's own time reveals.

**Error.** ``QUIET_ERROR`` and ``BUSY_ERROR`` bound how far sessions were off the fastest one on the machine it was
developed on (2 virtual cores of an AMD EPYC 7003, networks of 0.1 to 1 ms), rounded up. Quiet sessions agreed within
1.5%, but only a handful could be had. With 1.0 to 1.5 cores taken by others, 16 sessions were within 1% (0.15 ms) and
8% (0.95 ms); with both cores taken throughout, ten processes waiting for them, sessions were off by up to 46% (0.25
ms). On that machine, a guest among others, the whole processor was also seen to run 1.5 times slower for minutes
without a sign that a guest can read; no error stated here covers that.

**Exporters.** The TorchScript exporter is used because it is fast (0.1 s against 3 s a network); ONNX Runtime runs what
the modern one makes as fast (ratios of 0.99 to 1.02), since both are fused to the same operators.

``python benchmarks/latency.py`` reproduces these figures.

**Energy.** Read from RAPL where the system lets it be read; else estimated as latency times the power of an active
core. Such estimates were found -66% to +187% off, and tools disagree by a factor of nine: use them to compare
networks on one machine, where they order as latency does, and not between machines.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import psutil

from sartor._environment import cpu_name
from sartor._quiet import give_way, measuring
from sartor.errors import InputError
from sartor.registry import Spec, find
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.contracts import Candidate
    from sartor.devices.runtimes import Runtime

__all__ = ["CpuLatency", "give_way", "measuring"]

SPEC = Spec(
    "cpu", "sartor.devices.cpu:CpuLatency",
    summary="latency_ms, energy_mj: measured on this processor through ONNX Runtime, one thread, batch 1",
    extra="onnx",
)

QUIET_ERROR = 0.03
BUSY_ERROR = 0.5
ENERGY_ERROR = 1.87
"""Largest deviation of load-based estimates from measured energy (upwards; -0.66 downwards)."""
RAPL_ERROR = 0.05

NUM_KEPT = 200
"""Single runs kept in ``Figure.raw``, evenly spaced over the measurement."""

_PERCENTILE = 10
_WARM_UP_S, _WARM_UP_RUNS = 0.05, 5
_BLOCK_RUNS = 2
_PARTS = 4
_FASTEST = 4
_MAX_OTHERS = 0.1
_MAX_PREEMPTED = 0.03
_MAX_STOLEN = 0.01
_MAX_SPREAD = 0.05
_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class _Attempt:
    """One round of blocks.

    Attributes:
        blocks_ms: Each single run, block by block.
        others: Cores kept busy by other processes.
        preempted: Share of its time that the measuring thread lost.
        stolen: Share of the machine's time that a hypervisor took.
        joules: Energy of the processor packages, or None where it cannot be read.
    """

    blocks_ms: tuple[np.ndarray, ...]
    others: float
    preempted: float
    stolen: float
    joules: float | None

    @property
    def spread(self) -> float:
        """Relative, between the percentiles of consecutive parts of the attempt."""
        bounds = np.linspace(0, len(self.blocks_ms), _PARTS + 1).round().astype(int)
        parts = [
            float(np.percentile(np.concatenate(self.blocks_ms[begin:end]), _PERCENTILE))
            for begin, end in pairwise(bounds)
        ]
        return max(parts) / min(parts) - 1.0

    @property
    def quiet(self) -> bool:
        return (
            self.others <= _MAX_OTHERS
            and self.preempted <= _MAX_PREEMPTED
            and self.stolen <= _MAX_STOLEN
            and self.spread <= _MAX_SPREAD
        )


class CpuLatency:
    """Measures a candidate's deployed network on this machine.

    Args:
        block_s: Least time of a block of runs.
        num_blocks: Blocks of an attempt.
        max_attempts: Rounds before a busy machine is taken as it is.
        core_watts: Power of an active core, for the estimate of energy where RAPL cannot be read. Server, desktop
            and laptop processors are rated at 4 to 8 W a core.
        runtime: Name of one of ``sartor.devices.runtimes``.
    """

    figures: tuple[str, ...] = ("latency_ms", "energy_mj")
    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(
        self,
        *,
        block_s: float = 0.02,
        num_blocks: int = 16,
        max_attempts: int = 4,
        core_watts: float = 6.0,
        runtime: str = "onnxruntime",
    ) -> None:
        if block_s <= 0 or num_blocks < _PARTS or max_attempts < 1 or core_watts <= 0:
            raise InputError(
                f"expected block_s > 0, num_blocks >= {_PARTS}, max_attempts >= 1, core_watts > 0, got"
                f" {block_s}, {num_blocks}, {max_attempts}, {core_watts}"
            )
        self.block_s, self.num_blocks = block_s, num_blocks
        self.max_attempts, self.core_watts = max_attempts, core_watts
        self._runtime: Runtime = find("runtimes", runtime).load()()
        self.name = f"cpu ({cpu_name()}, 1 thread, {self._runtime.title})"

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns latency, measured, and energy, measured or estimated; takes about half a second.

        Raises:
            ExportError: the network cannot be brought to the runtime.
            MissingExtraError: a package of the runtime is not installed.
        """
        return self.measure(candidate.deployed, candidate.inputs)

    def measure(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figures of a module on example inputs."""
        return self.time(self._runtime.prepare(module, inputs))

    def time(self, run: Callable[[], object]) -> dict[str, Figure]:
        """Returns the figures of a call: what a `sartor.devices.runtimes.Runtime` prepared."""
        return self._figures(_Measurement(run))

    def _figures(self, measurement: _Measurement) -> dict[str, Figure]:
        with measuring():
            measurement.warm_up()
            for attempt in range(self.max_attempts):
                if attempt:
                    time.sleep(0.05 * attempt)
                if measurement.attempt(self.block_s, self.num_blocks).quiet:
                    break
        blocks = [block for attempt in measurement.attempts for block in attempt.blocks_ms]
        last = measurement.attempts[-1]
        note = "" if last.quiet else self._busy(measurement.attempts)
        latency = Figure(
            _undisturbed_ms(blocks), "ms", error=max(QUIET_ERROR, round(last.spread, 4)) if last.quiet else BUSY_ERROR,
            kind="measured", raw=_evenly(np.concatenate(blocks), NUM_KEPT), note=note,
        )
        return {"latency_ms": latency, "energy_mj": self._energy(latency, last, note)}

    def _busy(self, attempts: list[_Attempt]) -> str:
        best = min(attempts, key=lambda attempt: (attempt.others, attempt.preempted, attempt.spread))
        return (
            f"the machine was busy in {len(attempts)} rounds: at best {best.others:.1f} cores used by others,"
            f" {best.preempted:.0%} of the time lost, {best.spread:.0%} between blocks"
            + (f", a hypervisor took {best.stolen:.0%}" if best.stolen > _MAX_STOLEN else "")
        )

    def _energy(self, latency: Figure, attempt: _Attempt, note: str) -> Figure:
        if attempt.joules is not None:
            read = "RAPL, all of the processor package, idle power included"
            return Figure(
                attempt.joules / sum(map(len, attempt.blocks_ms)) * 1e3, "mJ",
                error=max(RAPL_ERROR, latency.error or 0.0), kind="measured", note=f"{read}; {note}" if note else read,
            )
        return Figure(
            latency.value * self.core_watts, "mJ", error=ENERGY_ERROR, kind="estimated",
            note=f"latency times {self.core_watts:g} W for an active core, since RAPL cannot be read here;"
            " such estimates are -66% to +187% off",
        )


@dataclass
class _Measurement:
    """Times a call, round by round."""

    run: Callable[[], object]
    attempts: list[_Attempt] = field(default_factory=list)

    def warm_up(self) -> None:
        begin = time.perf_counter()
        count = 0
        while count < _WARM_UP_RUNS or time.perf_counter() - begin < _WARM_UP_S:
            self.run()
            count += 1

    def attempt(self, block_s: float, num_blocks: int) -> _Attempt:
        joules, (busy, stolen) = _joules(), _machine_seconds()
        wall, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
        collecting = gc.isenabled()
        gc.disable()
        try:
            blocks = [self._block(block_s) for _ in range(num_blocks)]
        finally:
            if collecting:
                gc.enable()
        wall, process = time.perf_counter() - wall, time.process_time() - process
        thread = time.thread_time() - thread
        used = _joules()
        busy_after, stolen_after = _machine_seconds()
        self.attempts.append(
            _Attempt(
                blocks_ms=tuple(blocks),
                others=max(0.0, (busy_after - busy - process) / wall),
                preempted=max(0.0, 1.0 - thread / wall),
                stolen=max(0.0, (stolen_after - stolen) / wall),
                joules=None if joules is None or used is None or used < joules else used - joules,
            )
        )
        return self.attempts[-1]

    def _block(self, block_s: float) -> np.ndarray:
        runs_ns: list[int] = []
        clock, run = time.perf_counter_ns, self.run
        until = clock() + int(block_s * 1e9)
        now = clock()
        while now < until or len(runs_ns) < _BLOCK_RUNS:
            run()
            after = clock()
            runs_ns.append(after - now)
            now = clock()
        return np.asarray(runs_ns) / 1e6


def _undisturbed_ms(blocks: Sequence[np.ndarray]) -> float:
    """Returns the 10th percentile of the runs in the fastest quarter of the blocks: others only ever slow a run."""
    fastest = sorted(blocks, key=lambda block: float(np.percentile(block, _PERCENTILE)))
    return float(np.percentile(np.concatenate(fastest[: -(-len(blocks) // _FASTEST)]), _PERCENTILE))


def _evenly(values: np.ndarray, count: int) -> tuple[float, ...]:
    index = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return tuple(round(float(value), 6) for value in values[index])


def _machine_seconds() -> tuple[float, float]:
    """Returns processor seconds that the machine has been busy, and those that a hypervisor took, since it started."""
    times = psutil.cpu_times()._asdict()
    # Guests are counted in user already.
    idle = sum(times.get(kind, 0.0) for kind in ("idle", "iowait", "steal", "guest", "guest_nice"))
    return sum(times.values()) - idle, times.get("steal", 0.0)


def _joules() -> float | None:
    """Returns the energy counter of all processor packages, or None where it cannot be read."""
    total, found = 0.0, False
    for counter in _RAPL.glob("intel-rapl:?/energy_uj"):
        try:
            total += int(counter.read_text()) / 1e6
        except OSError:
            return None
        found = True
    return total if found else None
