from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sartor.contracts import Candidate, NullContext
from sartor.data import Rows
from sartor.errors import DataError, DeadlineError, DivergedError, InputError
from sartor.estimators import Training, evaluate, steps_for
from sartor.space import Architecture, OneOf, Space
from sartor.task import Metric, Task
from sartor.testing.estimators import Interrupted, MemoryContext, check_estimator
from sartor.testing.tasks import check_task
from sartor.training import Recipe, Step
from sartor.trials import Fidelity, Proposal, derive_seed
from tests.estimators.digits import Digits

EPOCHS = tuple(Fidelity(amount, "epochs") for amount in (1, 3, 9))


def training(task: Task, fidelities: Any = EPOCHS, **options: Any) -> Training:
    return Training(task, task.space(), task.data(), fidelities, **options)


def candidate(task: Task, seed: int = 0) -> Candidate:
    return Candidate(task, task.space(), task.baseline(), seed)


def estimated(task: Task, fidelity: Fidelity, context: Any = None, **options: Any) -> dict[str, float]:
    context = context or NullContext()
    return dict(training(task, **options).estimate(candidate(task), fidelity=fidelity, seed=0, context=context))


def with_recipe(task: Task, **changed: Any) -> Task:
    task.recipe = dataclasses.replace(task.recipe, **changed)
    return task


def small(**recipe: Any) -> Task:
    return with_recipe(Digits(rows=96), **{"batch_size": 32, **recipe})


def test_the_digits_of_these_tests_conform():
    check_task(Digits(), num_architectures=2)


def test_digits_are_learned():
    assert estimated(Digits(), Fidelity(9))["accuracy"] > 0.93


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"ema_decay": None, "optimizer": "sgd"},
        {"schedule": "cosine"},
        {"schedule": "constant"},
        {"cooldown": 1.0},
        {"patience": 1},
        {"patience": 2, "schedule": "cosine"},
    ],
    ids=[
        "trapezoid",
        "sgd without average",
        "cosine",
        "constant",
        "all cooldown",
        "early stopping",
        "early stopping of cosine",
    ],
)
def test_every_schedule_conforms(recipe: dict[str, Any]):
    task = small(**recipe)
    check_estimator(
        lambda: training(task, EPOCHS[:2], checkpoint_s=0.0), lambda: candidate(task, seed=4), max_interruptions=4
    )


def test_cross_validation_conforms():
    task = with_recipe(Digits(rows=96), batch_size=64)
    check_estimator(
        lambda: training(task, EPOCHS[:2], folds=True, checkpoint_s=0.0),
        lambda: candidate(task, seed=4),
        max_interruptions=5,
    )


def test_a_branch_is_gone_on_with_where_it_was_and_not_begun_again():
    task, seen = small(), []
    cooling = MemoryContext(interrupt_at=17)
    with pytest.raises(Interrupted):
        estimated(task, Fidelity(9), cooling, checkpoint_s=0.0)
    state = cooling.load()
    assert state is not None and state["branch"] is None, "the trunk of 27 steps ends at step 19"
    cooling = MemoryContext(interrupt_at=22)
    with pytest.raises(Interrupted):
        estimated(task, Fidelity(9), cooling, checkpoint_s=0.0)
    state = cooling.load()
    assert state is not None and (state["trunk"]["step"], state["branch"]["step"]) == (19, 22)
    original = task.loss

    def counting(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        seen.append(step.index)
        return original(network, batch, step)

    task.loss = counting  # type: ignore[method-assign]
    estimated(task, Fidelity(9), MemoryContext(cooling.checkpoint))
    assert seen == [22, 23, 24, 25, 26]


def test_the_work_predicted_is_the_work_done():
    task, seen = Digits(rows=640), []
    original = task.loss

    def counting(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        seen.append(step.index)
        return original(network, batch, step)

    task.loss = counting  # type: ignore[method-assign]
    context, estimator = MemoryContext(), training(task)
    for fidelity, below in zip(EPOCHS, (None, *EPOCHS), strict=False):
        seen.clear()
        estimator.estimate(candidate(task), fidelity=fidelity, seed=0, context=context)
        assert len(seen) == pytest.approx(10 * estimator.work(Proposal(task.baseline(), fidelity), below))


@pytest.mark.parametrize(("schedule", "work"), [("trapezoid", 6.9), ("constant", 6.0), ("cosine", 9.0)])
def test_what_is_continued_depends_on_the_schedule(schedule: str, work: float):
    estimator = training(small(schedule=schedule, cooldown=0.3))
    assert estimator.work(Proposal(Digits().baseline(), EPOCHS[2]), EPOCHS[1]) == pytest.approx(work)


def test_a_trial_that_was_trained_further_cannot_be_continued():
    context = MemoryContext()
    estimated(small(), Fidelity(9), context)
    with pytest.raises(InputError, match="continue at a higher fidelity"):
        estimated(small(), Fidelity(3), context)


def test_the_weights_kept_are_those_that_were_scored():
    task, context = small(), MemoryContext()
    metrics = estimated(task, Fidelity(3), context, keep=True)
    fresh = candidate(task, seed=99)
    fresh.network.load_state_dict(context.kept["network"])
    again, predictions = evaluate(task, fresh.network, task.baseline(), task.data().validation)
    assert again == metrics
    assert all(isinstance(array, np.ndarray) for array in predictions.values())


def test_early_stopping_scores_and_keeps_the_best_weights_and_ends_when_patience_does():
    class Scripted(Digits):
        """Its metric follows a script, validation by validation."""

        def __init__(self, values: list[float]) -> None:
            super().__init__(rows=96)
            self.recipe = dataclasses.replace(self.recipe, batch_size=32, patience=2)
            script = iter(values)
            self.metrics = {"score": Metric(lambda predictions: next(script))}

    class Keeping(NullContext):
        def __init__(self) -> None:
            self.saved: dict[str, Any] | None = None
            self.kept: dict[str, Any] = {}
            self.steps: list[int] = []

        def load(self) -> dict[str, Any] | None:
            return self.saved

        def save(self, state: Any) -> None:
            self.saved = dict(state)

        def keep(self, name: str, state: Any) -> None:
            self.kept = dict(state)

        def report(self, step: int, **values: float) -> None:
            self.steps.append(step)

    # Of 27 steps each third is scored: the second score is the best, and two more are waited for.
    task, context = Scripted([0.1, 0.5, 0.2, 0.3]), Keeping()
    found = training(task, keep=True).estimate(candidate(task), fidelity=Fidelity(9), seed=0, context=context)
    assert found == {"score": 0.5} and max(context.steps[:-1]) <= 12
    assert context.saved is not None and context.saved["best"]["waited"] == 2
    shorter, short = Scripted([0.1, 0.5]), Keeping()
    with pytest.raises(StopIteration):
        training(shorter, keep=True).estimate(candidate(shorter), fidelity=Fidelity(9), seed=0, context=short)
    for name, tensor in context.kept.items():
        assert torch.equal(tensor, context.saved["best"]["weights"][name])
    # What has ended stays so, however much longer it may train.
    again = Scripted([])
    assert training(again).estimate(candidate(again), fidelity=Fidelity(9), seed=0, context=context) == found
    # Without an end the last score counts as the others do.
    rising = Scripted([0.1 * i for i in range(1, 30)])
    assert estimated(rising, Fidelity(9))["score"] == pytest.approx(0.9)


def test_series_are_reported_at_steps_that_do_not_depend_on_time():
    task, context = small(), MemoryContext()
    metrics = estimated(task, Fidelity(9), context)
    assert set(context.points) == {"loss.network", "learning_rate", "validation.accuracy"}
    assert list(context.points["loss.network"]) == list(range(1, 28))
    validations = context.points["validation.accuracy"]
    assert list(validations) == [4, 8, 12, 16, 20, 24, 27]
    assert validations[27] == metrics["accuracy"]
    rates = context.points["learning_rate"]
    assert max(rates.values()) == 0.01, "the architecture's own recipe.learning_rate"
    assert rates[27] < rates[19] == 0.01


def test_cross_validation_gives_the_mean_over_folds_and_its_standard_error():
    task = small()
    splits, context = task.data(), MemoryContext()
    metrics = estimated(task, Fidelity(3), context, folds=True)
    alone = []
    for number, (train, validation) in enumerate(splits.folds):
        seed = derive_seed(0, "fold", number)
        part = dataclasses.replace(splits, train=train, validation=validation)
        one = Training(task, task.space(), part, EPOCHS)
        alone.append(one.estimate(candidate(task, seed), fidelity=EPOCHS[1], seed=seed, context=NullContext()))
    values = [metrics["accuracy"] for metrics in alone]
    assert metrics["accuracy"] == pytest.approx(np.mean(values))
    assert metrics["accuracy.se"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))
    state = context.load()
    assert state is not None and set(state) == {"fold0", "fold1", "fold2"}
    assert {"fold0.loss.network", "fold2.validation.accuracy"} <= set(context.points)


def test_options_that_make_no_sense_are_refused():
    task = small()
    with pytest.raises(InputError, match="none to keep"):
        training(task, keep=True, folds=True)
    with pytest.raises(InputError, match="at least 2 folds"):
        Training(task, task.space(), dataclasses.replace(task.data(), folds=()), EPOCHS, folds=True)
    with pytest.raises(InputError, match="at least one fidelity"):
        training(task, ())
    with pytest.raises(InputError, match="in one unit"):
        training(task, (Fidelity(1, "epochs"), Fidelity(100, "steps")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_told():
    with pytest.raises(InputError, match="finds no CUDA device"):
        training(small(), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_training_on_cuda_resumes_to_equal_results_and_comes_back_to_the_cpu():
    task, context = small(), MemoryContext()
    check_estimator(
        lambda: training(task, EPOCHS[:2], device="cuda", checkpoint_s=0.0), lambda: candidate(task),
        max_interruptions=3,
    )  # fmt: skip
    trained = candidate(task)
    training(task, device="cuda").estimate(trained, fidelity=EPOCHS[0], seed=0, context=context)
    assert all(tensor.device.type == "cpu" for tensor in trained.network.state_dict().values())


def test_out_of_memory_is_an_ordinary_exception_with_the_devices_words():
    task = small()

    def loss(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore")

    task.loss = loss  # type: ignore[method-assign]
    with pytest.raises(MemoryError, match=r"out of memory on cpu: CUDA out of memory. Tried to allocate 20.00 GiB.$"):
        estimated(task, Fidelity(1))


def test_a_training_that_diverges_and_a_metric_that_is_not_finite_are_told():
    task = small()
    task.loss = lambda network, batch, step: network(batch["x"]).sum() * float("inf")  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="step 0, player 'network'"):
        estimated(task, Fidelity(1))
    task = small()
    task.metrics = {"ratio": Metric(lambda predictions: float("nan"))}
    with pytest.raises(DivergedError, match="metric 'ratio' is nan"):
        estimated(task, Fidelity(1))


def test_the_deadline_stops_a_trial_and_the_trial_goes_on_later():
    task, context = small(), MemoryContext()
    context.deadline = 0.0
    with pytest.raises(DeadlineError):
        estimated(task, Fidelity(3), context)
    later = MemoryContext(context.checkpoint)
    assert estimated(task, Fidelity(3), later) == estimated(task, Fidelity(3))


def test_given_weights_are_only_evaluated():
    class Frozen(Digits):
        def build(self, space: Any, architecture: Any) -> nn.Module:
            return super().build(space, architecture).requires_grad_(False)

    task = Frozen(rows=192)
    given = candidate(task)
    before = evaluate(task, given.network, task.baseline(), task.data().validation)[0]
    context = MemoryContext()
    after = training(task).estimate(given, fidelity=EPOCHS[1], seed=0, context=context)
    assert after == before
    assert set(context.points) == {"validation.accuracy"}


def test_an_epoch_is_as_many_steps_as_there_are_whole_batches():
    rows = Rows(x=np.zeros(130))
    assert steps_for(Fidelity(2, "epochs"), rows, Recipe(batch_size=64)) == 4
    assert steps_for(Fidelity(2, "epochs"), rows, Recipe(batch_size=64, accumulate=2)) == 2
    assert steps_for(Fidelity(0.5, "epochs"), rows, Recipe(batch_size=13)) == 5
    assert steps_for(Fidelity(3, "epochs"), rows, Recipe(batch_size=1000)) == 3
    assert steps_for(Fidelity(0.01, "epochs"), rows, Recipe(batch_size=64)) == 1
    assert steps_for(Fidelity(7, "steps"), object(), Recipe()) == 7
    with pytest.raises(InputError, match="has no length"):
        steps_for(Fidelity(1, "epochs"), object(), Recipe())
    with pytest.raises(InputError, match="epochs or steps, got 3 folds"):
        steps_for(Fidelity(3, "folds"), rows, Recipe())
    with pytest.raises(DataError, match="empty"):
        steps_for(Fidelity(1, "epochs"), Rows(x=np.zeros(0)), Recipe())


def test_evaluation_repeats_and_leaves_modes_and_random_states_alone():
    class Sampling(Digits):
        def predict(self, deployed: nn.Module, part: Any) -> Any:
            assert not deployed.training and not torch.is_grad_enabled()
            return {**super().predict(deployed, part), "draw": torch.rand(3).numpy()}

    task = Sampling(rows=192)
    network = candidate(task).network.train()
    network[1].eval()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = evaluate(task, network, task.baseline(), task.data().validation)[1]
    assert torch.equal(torch.get_rng_state(), state)
    assert [network.training, network[1].training, network[4].training] == [True, False, True]
    torch.manual_seed(4)
    second = evaluate(task, network, task.baseline(), task.data().validation)[1]
    assert np.array_equal(first["draw"], second["draw"])


def test_inputs_follow_a_network_to_its_device_and_outputs_come_back(monkeypatch: pytest.MonkeyPatch):
    from sartor.estimators import training as module

    moved: list[str] = []
    monkeypatch.setattr(module, "_CPU", torch.device("meta"))  # stands for: the network is elsewhere

    def to_device(batch: Any, device: torch.device) -> Any:
        moved.append(device.type)
        return batch

    monkeypatch.setattr(module, "to_device", to_device)
    network = nn.Linear(2, 2)
    with module._followed(network):
        network(torch.zeros(1, 2))
    assert moved == ["cpu", "cpu", "meta"]
    network(torch.zeros(1, 2))
    assert len(moved) == 3


def test_a_persons_own_network_loss_and_metric_are_five_lines():
    def own_network(width: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    class Mine(Digits):
        metrics = {**Digits.metrics, "margin": Metric(lambda made: float(np.ptp(made["logits"], axis=1).mean()))}
        space = lambda self: Space(partial(own_network, width=OneOf(16, 64)))  # noqa: E731
        baseline = lambda self: Architecture({"width": 64})  # noqa: E731
        loss = lambda self, network, batch, step: F.multi_margin_loss(network(batch["x"]), batch["y"])  # noqa: E731

    metrics = estimated(Mine(), Fidelity(9))
    assert metrics["accuracy"] > 0.85
    assert metrics["margin"] > 0
