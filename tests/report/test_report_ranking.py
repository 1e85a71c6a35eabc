"""Rank correlation, and the words that go with it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from sartor.report._ranking import agreement


def tau_b(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b by counting pairs, as in Kendall 1945."""
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in itertools.combinations(range(len(a)), 2)]
    numerator = sum(x * y for x, y in signs)
    return float(numerator / math.sqrt(sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs)))


@pytest.mark.parametrize("seed", range(5))
def test_kendall_is_what_counting_pairs_gives_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, 12).astype(float), rng.integers(0, 6, 12).astype(float)
    assert agreement(a, b).kendall == pytest.approx(tau_b(a, b))


def test_spearman_is_the_correlation_of_ranks() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(20), rng.random(20)
    ranks = np.argsort(np.argsort(a)), np.argsort(np.argsort(b))
    assert agreement(a, b).spearman == pytest.approx(float(np.corrcoef(*ranks)[0, 1]))


def test_few_networks_are_called_unproven_with_the_exact_chance() -> None:
    found = agreement([1, 2, 3], [1, 2, 3])
    # Two of the six orders of three agree fully or are reversed.
    assert found.chance == pytest.approx(2 / 6)
    assert "unproven" in found.words and "0.33" in found.words


def test_a_constant_score_has_no_rank_correlation_and_is_named() -> None:
    found = agreement([0.9, 0.9, 0.9], [0.7, 0.8, 0.9], ("search", "retrained"))
    assert found.kendall is None and found.spearman is None
    assert found.words.startswith("The search score is the same for all 3 networks")


def test_no_or_one_network_says_so_and_pairs_that_are_not_finite_do_not_count() -> None:
    assert agreement([], []).words == "No network has both scores yet."
    one = agreement([0.5, math.nan], [0.75, 0.5])
    assert (one.n, one.kendall, one.shift) == (1, None, 0.25)
    assert "no order" in one.words


def test_a_reversed_order_of_many_networks_is_called_so() -> None:
    a = np.arange(20.0)
    assert "reversed" in agreement(a, -a).words
    assert "well" in agreement(a, a).words
