"""What a strategy asks for and what comes back: fidelity, proposal, figure, trial. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sartor.space import Architecture

State = Literal["running", "complete", "infeasible", "failed"]
FigureKind = Literal["exact", "measured", "estimated"]


@dataclass(frozen=True, order=True)
class Fidelity:
    """How much is spent on one evaluation: ``amount`` in ``unit`` (``epochs``, ``steps``, ``folds``)."""

    amount: float
    unit: str = "epochs"

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


@dataclass(frozen=True)
class Proposal:
    """An architecture to evaluate at a fidelity.

    Attributes:
        architecture: What to evaluate.
        fidelity: How much to spend in all (not in addition to an earlier trial).
        continues: Number of the trial that this one goes on from: its checkpoint, where the architecture is the same
            and the fidelity higher; else its finished weights, which the architecture inherits (by a morphism), and
            then ``fidelity`` is spent on top of what that one has had.
        replicate: Distinguishes repeated evaluations of one architecture; part of the trial's seed.
    """

    architecture: Architecture
    fidelity: Fidelity
    continues: int | None = None
    replicate: int = 0


@dataclass(frozen=True)
class Figure:
    """A cost with what is known about it.

    Attributes:
        value: In ``unit``.
        unit: ``"ms"``, ``"mJ"``, ``"B"`` or ``""`` for a count.
        error: Relative error it was validated to (0.0 for exact counts), or None when unknown.
        kind: Counted exactly, measured on the device, or estimated by a model.
        raw: The single measurements, kept for the record.
        note: What a reader must know (machine was busy, method of the estimate).
    """

    value: float
    unit: str = ""
    error: float | None = 0.0
    kind: FigureKind = "exact"
    raw: tuple[float, ...] = ()
    note: str = ""

    def to_json(self) -> dict[str, object]:
        return {
            "value": self.value,
            "unit": self.unit,
            "error": self.error,
            "kind": self.kind,
            "raw": list(self.raw),
            "note": self.note,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Figure:
        fields = dict(value)
        fields["raw"] = tuple(fields.get("raw", ()))  # type: ignore[arg-type]
        return cls(**fields)  # type: ignore[arg-type]


@dataclass
class Trial:
    """One evaluated architecture.

    Attributes:
        number: Position in the run, from 0, in the order asked.
        proposal: What was asked.
        seed: 32-bit; derived from the run's seed, the architecture and the replicate, not from the fidelity.
        state: ``running`` (asked, not finished), ``complete``, ``infeasible`` (breaks a limit; not trained) or
            ``failed``.
        metrics: Name -> value, on the validation part.
        costs: Name -> figure.
        usage: ``cpu_s``, ``wall_s``, ``peak_rss_bytes``.
        failure: Message when failed; which limit when infeasible.
        attempts: How often a worker died on it.
    """

    number: int
    proposal: Proposal
    seed: int
    state: State = "running"
    metrics: dict[str, float] = field(default_factory=dict)
    costs: dict[str, Figure] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    attempts: int = 0

    @property
    def architecture(self) -> Architecture:
        return self.proposal.architecture

    @property
    def values(self) -> dict[str, float]:
        """Metrics and costs by name, as plain numbers."""
        return {**self.metrics, **{name: figure.value for name, figure in self.costs.items()}}


def derive_seed(*parts: object) -> int:
    """Returns a 32-bit seed that is a function of ``parts`` (JSON-able) alone."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
