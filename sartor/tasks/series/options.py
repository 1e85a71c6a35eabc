"""What a person may choose of the series task. No torch: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass

from sartor.data import check_shares
from sartor.targets import Purpose, check_purpose
from sartor.task import Task


@dataclass(frozen=True)
class Options(Task.Options):
    """Options of the series task.

    Attributes:
        id: Column that says which series a row is of.
        time: Column of times: numbers, or dates, which are days.
        label: Column to predict; one value for each series.
        channels: Columns, by commas, that are observed; without, all other columns of numbers.
        purpose: Predict numbers or classes; auto decides by the label's values and says so.
        group: Column of ids of a higher order (a patient, a machine): all series of one go to the same part.
        split: Column that says which part a series is in: train, validation or test.
        missing: Further texts, by commas, that stand for a missing value.
        adjoint: Solve backwards for gradients, so that training keeps nothing of the way: for long series.
        validation: Share of the series that scores architectures, where the data have no such part.
        test: Share of them that is kept back to test finalists, where the data have no such part.
        split_seed: Seed of the parts that are drawn.
    """

    id: str = "id"
    time: str = "time"
    label: str = "label"
    channels: str = ""
    purpose: Purpose = "auto"
    group: str | None = None
    split: str | None = None
    missing: str = ""
    adjoint: bool = False
    validation: float = 0.15
    test: float = 0.15
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.validation, self.test, self.split_seed)
        check_purpose(self.purpose)
