"""What every predictor must do: run it on your own with `check_predictor`.

    from sartor.testing.predictors import check_predictor

    def test_my_predictor_conforms():
        check_predictor(MyPredictor)

Values are simulated, as in `sartor.testing.strategies`: a smooth score of the architecture. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sartor.contracts import Predictor
from sartor.space import Architecture, Space
from sartor.testing.strategies import Simulation, make_spaces

__all__ = ["check_learning", "check_predictions", "check_predictor", "check_values"]

Make = Callable[..., Predictor]
"""Called as ``make(space, seed=...)``."""
Array = npt.NDArray[np.float64]
_NUM_TRAINED, _NUM_ASKED = 24, 30


def check_predictor(make: Make, space: Space | None = None, *, learns: bool = True) -> None:
    """Runs all checks, on one space or on all of `sartor.testing.strategies.make_spaces`.

    Args:
        make: The predictor's class, or a partial of it, called as ``make(space, seed=...)``.
        space: Your own.
        learns: Also require that 80 values of a smooth score say more of the others than their mean does.

    Raises:
        AssertionError: saying what does not hold.
    """
    spaces = {"space": space} if space is not None else make_spaces()
    for name, each in spaces.items():
        try:
            check_predictions(make, each)
            check_values(make, each)
        except AssertionError as error:
            error.add_note(f"on the space {name!r}")
            raise
    if learns:
        check_learning(make, next(iter(spaces.values())))


def _some(space: Space) -> tuple[list[Architecture], list[Architecture], Array]:
    """Returns architectures to train on and to ask about, some of them twice, and values of the former."""
    rng = np.random.default_rng(97)
    trained = space.sample_choices(rng, _NUM_TRAINED)
    asked = [*space.sample_choices(rng, _NUM_ASKED - 6), *trained[:6]]
    simulation = Simulation(space)
    return trained, asked, np.array([simulation.score(each) for each in trained])


def _predicted(predictor: Predictor, asked: Sequence[Architecture], what: str) -> tuple[Array, Array]:
    mean, std = predictor.predict(asked)
    for name, array in (("means", mean), ("standard deviations", std)):
        assert isinstance(array, np.ndarray), f"{name} are a {type(array).__name__}, expected a numpy array"
        assert array.shape == (len(asked),), f"{name} have shape {array.shape}, expected ({len(asked)},), {what}"
        assert array.dtype == np.float64, f"{name} are {array.dtype}, expected float64"
        assert np.isfinite(array).all(), f"{name} are not all finite {what}: {array}"
    assert (std >= 0).all(), f"a standard deviation is negative {what}: {std.min()}"
    return mean, std


def _close(one: Array, other: Array, values: Array) -> bool:
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-4 * (float(np.abs(values).max()) + 1e-9)))


def check_predictions(make: Make, space: Space) -> None:
    """Checks shapes, that the seed decides, that fits are forgotten, and that each architecture counts alone."""
    trained, asked, values = _some(space)
    predictor = make(space, seed=3)
    assert isinstance(predictor, Predictor), f"{type(predictor).__name__} lacks a method of sartor.contracts.Predictor"
    before = values.copy()
    predictor.fit(trained, values)
    assert np.array_equal(values, before), "fit changed the values that it was given"
    mean, std = _predicted(predictor, asked, "after 24 values")
    again = _predicted(predictor, asked, "asked twice")
    assert np.array_equal(mean, again[0]) and np.array_equal(std, again[1]), "predicting twice gives other figures"
    other = make(space, seed=3)
    other.fit(asked[:5], np.arange(5.0))
    other.fit(trained, values)
    found = _predicted(other, asked, "fitted again")
    assert np.array_equal(mean, found[0]) and np.array_equal(std, found[1]), (
        "the same seed and values give other predictions after a fit on others"
    )
    order = np.random.default_rng(96).permutation(len(asked))
    shuffled = _predicted(predictor, [asked[i] for i in order], "in another order")
    assert _close(mean[order], shuffled[0], values), "a prediction depends on the order in which is asked"
    assert _close(std[order], shuffled[1], values), "a standard deviation depends on the order in which is asked"
    single = _predicted(predictor, asked[:1], "asked for one")
    assert _close(mean[:1], single[0], values), f"asked alone, a mean is {single[0][0]}, among others {mean[0]}"
    assert _close(std[:1], single[1], values), f"asked alone, a deviation is {single[1][0]}, among others {std[0]}"
    copies = [Architecture.from_json(each.to_json()) for each in asked]
    copied = _predicted(predictor, copies, "of copies")
    assert _close(mean, copied[0], values), "an equal architecture that the space did not make is predicted otherwise"
    _predicted(predictor, [], "asked for none")


def check_values(make: Make, space: Space) -> None:
    """Checks few values, equal ones, ties, architectures seen twice, outliers and other units."""
    trained, asked, values = _some(space)
    predictor = make(space, seed=4)
    for num in (1, 2, 3):
        predictor.fit(trained[:num], values[:num])
        _predicted(predictor, asked, f"after {num} values")
    for constant in (0.0, -3.0, 93.5):
        for num in (1, 2, 12):
            predictor.fit(trained[:num], np.full(num, constant))
            mean, _ = _predicted(predictor, asked, f"when all values are {constant}")
            largest = float(np.abs(mean - constant).max())
            assert largest <= 0.01 * (1 + abs(constant)), f"all values are {constant}, predicted is off by {largest}"
    predictor.fit(trained, np.where(np.arange(len(trained)) % 3 == 0, 1.0, 2.0))
    _predicted(predictor, asked, "when values are tied")
    predictor.fit([*trained[:8], *trained[:8]], np.concatenate([values[:8], values[:8] + 0.01]))
    _predicted(predictor, asked, "when architectures are seen twice with other values")
    predictor.fit([trained[0]] * 6, values[:6])
    _predicted(predictor, asked, "when all values are of one architecture")
    failed = values.copy()
    failed[:3] = -1e6
    predictor.fit(trained, failed)
    _predicted(predictor, asked, "with values that lie far off")
    for factor in (1e-6, 1e6):
        predictor.fit(trained, values * factor)
        mean, _ = _predicted(predictor, asked, f"with values times {factor:g}")
        largest, most = float(np.abs(mean).max()), 5 * factor * float(np.abs(values).max() + np.ptp(values))
        assert largest <= most, f"values of at most {values.max() * factor:g} give a prediction of {largest:g}"


def check_learning(make: Make, space: Space) -> None:
    """Checks that means are nearer to unseen values than the mean of those seen, over several scores."""
    rng = np.random.default_rng(95)
    architectures = list(dict.fromkeys(space.sample_choices(rng, 240)))
    seen, unseen = architectures[:80], architectures[80:]
    ratios = []
    for seed in range(3):
        simulation = Simulation(space, seed=seed)
        values = np.array([simulation.score(each) for each in seen])
        wanted = np.array([simulation.score(each) for each in unseen])
        predictor = make(space, seed=seed)
        predictor.fit(seen, values)
        mean, _ = predictor.predict(unseen)
        ratios.append(float(((mean - wanted) ** 2).mean() / ((values.mean() - wanted) ** 2).mean()))
    ratio = float(np.mean(ratios))
    assert ratio < 0.8, f"squared errors are {ratio:.2f} of those of the mean, after 80 values of a smooth score"
