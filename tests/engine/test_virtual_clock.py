"""The order of results is a function of predicted work alone."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.engine import VirtualClock
from sartor.errors import InputError


def by_hand(works: list[float], slots: int) -> list[list[int]]:
    """What each ask may know, by the definition: everything that has virtually ended when its slot is free."""
    free, ends, known = [0.0] * slots, [], []
    for work in works:
        now = min(free)
        known.append(sorted((k for k in range(len(ends)) if ends[k] <= now), key=lambda k: (ends[k], k)))
        free[free.index(now)] = now + work
        ends.append(now + work)
    return known


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_each_ask_knows_exactly_what_has_virtually_ended(slots: int) -> None:
    works = np.random.default_rng(slots).integers(1, 6, 60).astype(float).tolist()
    clock, told = VirtualClock(slots), []
    for number, (work, known) in enumerate(zip(works, by_hand(works, slots), strict=True)):
        assert clock.due() == known[len(told) :]
        told += clock.tell()
        assert told == known
        clock.place(number, work)
    assert told + clock.rest() == sorted(told + clock.rest(), key=lambda n: (told + clock.rest()).index(n))
    assert sorted(told + clock.rest()) == list(range(60))


def test_a_clock_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(0)
    clock = VirtualClock(3)
    for number in range(20):
        clock.tell()
        clock.place(number, float(rng.random()) + 0.1)
    again = VirtualClock(1)
    again.load_state_dict(clock.state_dict())
    for number in range(20, 40):
        assert again.tell() == clock.tell()
        work = float(rng.random()) + 0.1
        assert again.place(number, work) == clock.place(number, work)


def test_a_strategy_that_waits_lets_virtual_time_pass() -> None:
    clock = VirtualClock(3)
    clock.place(0, 2.0)
    assert clock.now == 0.0 and clock.due() == []
    assert clock.skip() and clock.skip()
    assert clock.now == 2.0 and clock.tell() == [0]
    assert not clock.skip()


@pytest.mark.parametrize("work", [0.0, -1.0, float("nan"), float("inf")])
def test_work_that_is_no_positive_number_is_refused(work: float) -> None:
    with pytest.raises(InputError, match="predicted work of trial 7"):
        VirtualClock(2).place(7, work)


def test_no_slots_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1 slot"):
        VirtualClock(0)
