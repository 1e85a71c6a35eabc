"""Events in continuous time: what happens next, of which type and when.

Clicks, failures, trades, visits, earthquakes: a sequence of times, each with a type. A neural point process gives the
intensity of each type at every moment; its likelihood says how well it knows what came.

**Data.** CSV, TSV or Parquet, an event a row: a time (numbers, or dates, which become days), and by option the columns
of its ``type``, its ``sequence``, and of the times between which that sequence was watched, ``begin`` and ``end``.
A single long sequence is cut into windows (``window``), each told of some events before it (``context``). Without a
source, 600 sequences of a simulated Hawkes process of three types, whose true likelihood is known.

**Windows.** A likelihood is that of what happened and did not happen in a window, from where watching began to where
it ended. Published figures leave one or the other out, which makes them incomparable: here a sequence without ``begin``
starts with its first event, which is given and not scored, and one without ``end`` stops at its last event, and a note
says so.

**Parts.** ``train``, ``validation`` and ``test`` by sequence, drawn from ``split_seed``; windows of one sequence by
order of time, so that nothing later than a part was seen. Unsorted events are sorted, copies left out, and each is
counted in a note; types that training never sees are refused.

**Metrics** on a part: ``log_likelihood`` (primary, nats an event, more is better; of dates and numbers in their own
unit, so that figures compare only for one unit), ``type_accuracy`` (of the type at the time when an event came),
``time_error`` (mean absolute, of the median of the next time), ``calibration_error`` (Kolmogorov-Smirnov distance of
rescaled gaps, 0..1). The report shows Poisson and the exponential Hawkes process, fitted by maximum likelihood, beside.

**Space.** The continuous-time LSTM (Mei and Eisner 2017, arXiv:1612.09328) or causal self-attention with decaying
intensities (Zhang et al. 2020, arXiv:1907.07561): widths, heads, layers. To either, what past events excite at 4 or 8
rates of decay may be added, so that the exponential Hawkes process is nearly contained and slow decays (power laws) are
come close to. Learning rate and weight decay. The hand-designed network is the LSTM with 32 cells and no excitations.

**Export.** The file maps the last 16 gaps and types and the time since to intensities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.registry import TaskSpec

if TYPE_CHECKING:
    from sartor.tasks.events.task import Events

__all__ = ["SPEC", "Events"]

SPEC = TaskSpec(
    "events",
    "sartor.tasks.events.task:Events",
    summary="predict events in continuous time: CSV or Parquet with a time and a type",
    extra="events",
    citation="Mei and Eisner 2017, arXiv:1612.09328",
    options="sartor.tasks.events.options:Options",
    sources=("simulated",),
)


def __getattr__(name: str) -> Any:
    # The task needs torch, listing tasks must not load it.
    if name != "Events":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sartor.tasks.events.task import Events

    return Events
