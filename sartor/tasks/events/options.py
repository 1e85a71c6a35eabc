"""What a person may choose of the events task. No torch: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass

from sartor.data import check_shares
from sartor.errors import InputError
from sartor.task import Task


@dataclass(frozen=True)
class Options(Task.Options):
    """Options of the events task.

    Attributes:
        time: Column of the events' times: numbers, or dates, which are days.
        type: Column of the events' types; without, all are of one.
        sequence: Column that says which sequence an event is of; without, the file is one, which ``window`` cuts.
        begin: Column with the time from which its sequence was watched; without, the first event is where it begins.
        end: Column with the time until which its sequence was watched; without, the last event is where it ends.
        window: Length of the windows that one long sequence is cut into, in the unit of its times.
        context: Events before a window that it is told of, without scoring them.
        validation: Share of the sequences, or of the time, that scores architectures.
        test: Share of them that is kept back to test finalists.
        split_seed: Seed of the parts that are drawn; windows are taken in order of time instead.
    """

    time: str = "time"
    type: str | None = None
    sequence: str | None = None
    begin: str | None = None
    end: str | None = None
    window: float | None = None
    context: int = 32
    validation: float = 0.15
    test: float = 0.15
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.validation, self.test, self.split_seed)
        if self.context < 0:
            raise InputError(f"context: expected 0 or more, got {self.context}")
        if self.window is not None and not self.window > 0:
            raise InputError(f"window: expected a length above 0, got {self.window}")
        if self.window is not None and (self.sequence or self.begin or self.end):
            raise InputError("window cuts one long sequence: it goes with none of sequence, begin and end")
