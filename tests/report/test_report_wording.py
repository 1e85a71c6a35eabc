"""How figures and scores are called."""

from sartor.goals import Goals, Objective
from sartor.report._figures import figure_rows
from sartor.report._finalists import Finalist
from sartor.report._wording import format_fidelity, how_scored
from sartor.space import Architecture
from sartor.supernets import INHERITED
from sartor.trials import Fidelity, Proposal, Trial


def test_a_score_by_shared_weights_is_no_training() -> None:
    assert how_scored(Fidelity(3.333)) == "at 3.33 epochs" and format_fidelity(Fidelity(2, "folds")) == "2 folds"
    assert how_scored(INHERITED) == "by shared weights" and format_fidelity(INHERITED) == "shared weights"


def test_a_short_training_is_not_called_less_than_a_score_by_shared_weights() -> None:
    def scored(fidelity: Fidelity, accuracy: float, key: str) -> Finalist:
        trial = Trial(0, Proposal(Architecture({"x": 1}), fidelity), 0, "complete", metrics={"accuracy": accuracy})
        return Finalist(key, "", trial, None, "", False)

    goals = Goals((Objective("accuracy", "max"),))
    alone, shared = scored(Fidelity(0.5), 0.8, "F0"), scored(INHERITED, 0.7, "T0")
    for subject, against, words in ((alone, shared, "trained alone"), (shared, alone, "scored by shared weights")):
        (row,) = figure_rows(subject, against, goals, (), ("accuracy",))
        assert row.change.endswith(f"({words})")
