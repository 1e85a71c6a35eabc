from __future__ import annotations

import pytest

from sartor.contracts import Candidate, NullContext
from sartor.estimators import Training
from sartor.task import Task
from sartor.testing.estimators import MemoryContext, check_estimator
from sartor.testing.tasks import check_task
from sartor.trials import Fidelity
from tests.odd_tasks.brackets import PAIRS, Brackets, num_endings
from tests.odd_tasks.cartpole import Cartpole
from tests.odd_tasks.codec import CodecTask

ODD = [Cartpole, CodecTask, Brackets]


@pytest.mark.parametrize("kind", ODD)
def test_each_conforms(kind: type[Task]):
    check_task(kind(), num_architectures=2)


@pytest.mark.parametrize(
    ("kind", "fidelity", "metric", "untrained", "learned"),
    [
        (Cartpole, Fidelity(40, "steps"), "survived", 60.0, 150.0),
        (CodecTask, Fidelity(8), "snr_db", 1.0, 10.0),
        (Brackets, Fidelity(30), "balanced", 0.4, 0.75),
    ],
)
def test_each_is_learned(kind: type[Task], fidelity: Fidelity, metric: str, untrained: float, learned: float):
    task = kind()
    space, splits = task.space(), task.data()
    estimator = Training(task, space, splits, [Fidelity(1, "steps")])
    metrics = estimator.estimate(
        Candidate(task, space, task.baseline()), fidelity=Fidelity(1, "steps"), seed=0, context=NullContext()
    )
    assert metrics[metric] < untrained
    metrics = Training(task, space, splits, [fidelity]).estimate(
        Candidate(task, space, task.baseline()), fidelity=fidelity, seed=0, context=NullContext()
    )
    assert metrics[metric] > learned


@pytest.mark.parametrize("kind", ODD)
def test_each_is_trained_interrupted_and_continued_to_equal_results(kind: type[Task]):
    task = kind()
    space, splits = task.space(), task.data()
    fidelities = [Fidelity(3, "steps"), Fidelity(9, "steps")]
    check_estimator(
        lambda: Training(task, space, splits, fidelities, checkpoint_s=0.0),
        lambda: Candidate(task, space, task.baseline(), seed=2),
        max_interruptions=4,
    )


def test_both_players_and_what_a_learner_counts_are_saved():
    task = CodecTask()
    context = MemoryContext()
    space, fidelity = task.space(), Fidelity(4, "steps")
    candidate = Candidate(task, space, task.baseline())
    Training(task, space, task.data(), [fidelity]).estimate(candidate, fidelity=fidelity, seed=0, context=context)
    assert {"loss.network", "loss.discriminator", "learning_rate", "validation.snr_db"} <= set(context.points)
    state = context.load()
    assert state is not None
    assert set(state["trunk"]["optimizers"]) == {"network", "discriminator"}
    assert any(name.startswith("discriminator.") for name in state["trunk"]["learner"])


def test_bracket_words_are_counted_by_catalan_numbers():
    assert [num_endings(0, 2 * pairs) for pairs in range(6)] == [1, 1, 2, 5, 14, 42]
    assert num_endings(0, 2 * PAIRS) == 429
