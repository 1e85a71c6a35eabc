"""What a person may choose of the tables task. No torch: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass

from sartor.data import check_shares
from sartor.errors import InputError
from sartor.targets import Purpose, check_purpose
from sartor.task import Task


@dataclass(frozen=True)
class Options(Task.Options):
    """Options of the tables task.

    Attributes:
        target: Column to predict.
        purpose: Predict numbers or classes; auto decides by the target's values and says so.
        categories: Columns, by commas, that are categories although their values look like numbers or dates.
        ignore: Columns, by commas, that are left out.
        group: Column of ids (a patient, a household): all rows of an id go to the same part.
        split: Column that says which part each row is in: train, validation or test.
        missing: Further texts, by commas, that stand for a missing value.
        levels: Most categories of a column that are told apart; rarer ones are one.
        validation: Share of the rows that scores architectures, where the data have no such part; None: no part is
            kept for that, each row is scored by the networks of the ensemble that have not learnt from it.
        test: Share of the rows that is kept back to test finalists, where the data have no such part.
        split_seed: Seed of the parts that are drawn.
    """

    target: str | None = None
    purpose: Purpose = "auto"
    categories: str = ""
    ignore: str = ""
    group: str | None = None
    split: str | None = None
    missing: str = ""
    levels: int = 32
    validation: float | None = None
    test: float = 0.15
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.validation, self.test, self.split_seed)
        if self.levels < 2:
            raise InputError(f"levels: expected at least 2, got {self.levels}")
        check_purpose(self.purpose)
