import subprocess
import sys

import pytest

from sartor.errors import InputError
from sartor.estimators import predicted_work
from sartor.trials import Fidelity


def test_a_training_from_scratch_is_its_amount():
    assert predicted_work(Fidelity(9)) == 9


def test_going_on_costs_the_difference_and_the_first_cooldown_again():
    assert predicted_work(Fidelity(9), Fidelity(3), cooldown=0.25) == 6.75
    assert predicted_work(Fidelity(9), Fidelity(3), cooldown=0.0) == 6
    assert predicted_work(Fidelity(9), Fidelity(3), cooldown=1.0) == 9


def test_units_must_agree():
    with pytest.raises(InputError, match="units differ"):
        predicted_work(Fidelity(9, "epochs"), Fidelity(3, "steps"))


def test_predicting_work_and_reading_recipes_load_no_torch():
    code = (
        "import sys, sartor.estimators, sartor.estimators.work, sartor.training, sartor.training.schedule\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
