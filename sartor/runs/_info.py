"""What a record says about a run and about a file, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

RunState = Literal["running", "interrupted", "complete", "failed"]


@dataclass(frozen=True)
class RunInfo:
    """A recorded piece of work.

    Attributes:
        id: Short and readable: ``images-1``, its finalists ``images-1-final``.
        kind: ``search``, ``final`` ...
        config: What its result depends on, as JSON values.
        environment: Machine and versions.
        fingerprint: Hash of the part of ``config`` that must not change on resume.
        state: A run whose process is gone is ``interrupted``, however it ended.
        created, updated: Unix seconds.
        elapsed_s: Wall-clock worked on it, over all its processes.
        seed: Of the run.
        parent: Id of the run it came from, or None.
        result: What was concluded, or None so far.
    """

    id: str
    kind: str
    config: dict[str, Any]
    environment: dict[str, Any]
    fingerprint: str
    state: RunState
    created: float
    updated: float
    elapsed_s: float
    seed: int
    parent: str | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class FileInfo:
    """A file that a run left behind.

    Attributes:
        number: Trial it belongs to, or None for the run as a whole.
        name: What it is: ``network``, ``onnx``, ``pictures``, ``graph``, ``log``.
        path: Relative to the folder of the run.
        bytes: Size when recorded.
        sha256: Of its content when recorded, hexadecimal.
    """

    number: int | None
    name: str
    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        runs: In the order asked.
        differences: Configuration key (dotted) -> its value in each run, for the keys that differ.
        best: Objective -> the best value among the complete trials of each run, None where there is none.
    """

    runs: tuple[RunInfo, ...]
    differences: dict[str, list[Any]] = field(default_factory=dict)
    best: dict[str, list[float | None]] = field(default_factory=dict)
