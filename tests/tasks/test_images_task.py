from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as oracle

from sartor.contracts import Candidate
from sartor.errors import InputError
from sartor.estimators.training import evaluate, steps_for
from sartor.metrics import accuracy, balanced_accuracy, calibration_error, cross_entropy
from sartor.pictures import Gallery, Matrix, Table
from sartor.registry import find
from sartor.tasks.images import SPEC
from sartor.tasks.images.options import SpaceName
from sartor.tasks.images.task import Images, augment, channel_statistics
from sartor.testing.tasks import check_listing, check_task
from sartor.training import Single, fit
from sartor.trials import Fidelity


@pytest.fixture(scope="module")
def digits() -> Images:
    return Images()


def test_the_digits_task_conforms(digits: Images) -> None:
    assert find("tasks", "images") is SPEC
    check_listing("tasks")
    check_task(digits, spec=SPEC, num_architectures=1, num_steps=2)


@pytest.mark.parametrize("space", [name for name in get_args(SpaceName) if name != "mbconv"])
def test_the_task_conforms_on_colour_folders_in_other_spaces(tmp_path: Path, space: str) -> None:
    for c in range(3):
        (tmp_path / str(c)).mkdir()
        for i in range(8):
            pixels = np.random.default_rng([c, i]).integers(0, 256, (14, 12, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / str(c) / f"{i}.png")
    task = Images(str(tmp_path), space=space)
    assert task.augmentation == (1, True) and task.form.height == 14 and task.form.width == 12
    check_task(task, num_architectures=1, num_steps=1)


def test_the_baseline_learns_digits(digits: Images) -> None:
    splits, arch = digits.data(), digits.baseline()
    candidate = Candidate(digits, digits.space(), arch, seed=1)
    recipe = digits.recipe_for(arch)
    total = steps_for(Fidelity(10), splits.train, recipe)
    fit(Single(candidate.network, arch), digits.learner(arch), splits.train, recipe, total=total, seed=1)
    assert splits.test is not None
    values, predictions = evaluate(digits, candidate.network, arch, splits.test.open())
    assert values["accuracy"] > 0.95
    matrix, *gallery, table = digits.show(predictions)
    assert isinstance(matrix, Matrix) and matrix.values.sum() == len(predictions["label"])
    assert isinstance(table, Table) and len(table.rows) == 10
    wrong = int((predictions["probabilities"].argmax(1) != predictions["label"]).sum())
    assert wrong == 0 or (isinstance(gallery[0], Gallery) and len(gallery[0].captions) == min(48, wrong))


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 300)
    probabilities = rng.dirichlet(np.ones(4), 300)
    predictions = {"label": label, "probabilities": probabilities}
    chosen = probabilities.argmax(1)
    assert accuracy(predictions) == pytest.approx(oracle.accuracy_score(label, chosen))
    assert balanced_accuracy(predictions) == pytest.approx(oracle.balanced_accuracy_score(label, chosen))
    assert cross_entropy(predictions) == pytest.approx(oracle.log_loss(label, probabilities))
    error = 0.0
    sure = probabilities.max(1)
    for low in np.arange(15) / 15:
        inside = (sure > low) & (sure <= low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs((chosen == label)[inside].mean() - sure[inside].mean())
    assert calibration_error(predictions) == pytest.approx(error)


def test_channel_statistics_are_those_of_numpy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 5, 5), np.uint8)
    mean, std = channel_statistics(pixels)
    assert mean == pytest.approx(tuple((pixels / 255).mean((0, 2, 3))))
    assert std == pytest.approx(tuple((pixels / 255).std((0, 2, 3))))
    assert channel_statistics(np.full((4, 1, 2, 2), 9, np.uint8))[1] == (1 / 255,)


def test_a_network_trained_elsewhere_is_given_its_own_standardisation() -> None:
    task = Images(standardise="imagenet", channels=3)
    pixels = torch.rand(2, 3, 8, 8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(task.deploy(torch.nn.Identity(), None)(pixels), expected)
    assert "less 0.485, 0.456, 0.406 over 0.229, 0.224, 0.225" in task.preparation()
    assert torch.equal(Images(standardise="none").deploy(torch.nn.Identity(), None)(pixels[:, :1]), pixels[:, :1])
    assert Images(standardise="0.5:0.25", channels=3).std == (0.25,) * 3
    for wrong, said in (
        ("nine", "did you mean 'none'"), ("0.5", "means:deviations"), ("0:0", "above 0"), ("1,2:3", "as many"),
        ("imagenet", "these images have 1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            Images(standardise=wrong)


def test_augmentation_moves_whole_images_and_repeats() -> None:
    pixels = torch.zeros(200, 1, 7, 7, dtype=torch.uint8)
    pixels[:, :, 3, 2] = 9
    first, second = (augment(pixels, torch.Generator().manual_seed(3), 1, True) for _ in range(2))
    assert torch.equal(first, second) and first.shape == pixels.shape and first.dtype == torch.uint8
    rows, columns = first[:, 0].nonzero()[:, 1], first[:, 0].nonzero()[:, 2]
    assert set(rows.tolist()) == {2, 3, 4} and set(columns.tolist()) == {1, 2, 3, 4, 5}
    assert torch.equal(augment(pixels, torch.Generator(), 0, False), pixels)


def test_a_searched_resolution_reaches_the_network(digits: Images) -> None:
    seen = []

    class Look(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape[2:]))
            return x.mean((2, 3))

    digits.deploy(Look(), {"data.resolution": 12})(torch.zeros(1, 1, 8, 8))
    digits.deploy(Look(), {"data.resolution": 8})(torch.zeros(1, 1, 8, 8))
    assert seen == [(12, 12), (8, 8)]


def test_once_for_alls_resolution_is_the_one_that_the_task_reads() -> None:
    task = Images(space="once-for-all")
    smallest = task.space().values("data.resolution")[0]
    architecture = task.space().architecture({**task.baseline(), "data.resolution": smallest})
    assert task.baseline()["data.resolution"] == task.form.height == 8
    assert task.deploy(task.space().build(architecture), architecture).resolution == (smallest, smallest) == (5, 5)
