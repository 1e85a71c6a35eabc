import threading

import pytest
import torch
from torch import nn

from sartor.compress.caching import ReuseCache
from sartor.errors import InputError


class Counted:
    def __init__(self, function=lambda x: x * 2) -> None:
        self.function, self.calls = function, 0
        self._lock = threading.Lock()

    def __call__(self, *inputs):
        with self._lock:
            self.calls += 1
        return self.function(*inputs)


def test_equal_inputs_are_computed_once() -> None:
    function = Counted()
    cache = ReuseCache(function)
    x = torch.randn(2, 3)
    torch.testing.assert_close(cache(x), cache(x.clone()))
    cache(x + 1e-7)
    cache(x.double())
    assert function.calls == 3
    statistics = cache.statistics()
    assert (statistics.asked, statistics.exact, statistics.near) == (4, 1, 0)
    assert statistics.hit_rate == 0.25


def test_texts_and_numbers_are_told_apart() -> None:
    function = Counted(lambda *inputs: repr(inputs))
    cache = ReuseCache(function)
    for inputs in [("ab", "c"), ("a", "bc"), (1,), (1.0,), (True,), ("1",), (torch.tensor(1),), ([1],)]:
        assert cache(*inputs) == repr(inputs) == cache(*inputs)
    assert function.calls == 8
    with pytest.raises(InputError, match="a object is no input that can be compared"):
        cache(object())


def test_the_entry_unused_longest_goes_first() -> None:
    function = Counted()
    cache = ReuseCache(function, max_bytes=3 * 2 * 40)
    a, b, c, d = (torch.full((10,), float(i)) for i in range(4))
    for x in (a, b, c, a, d):
        cache(x)
    assert function.calls == 4 and cache.statistics().entries == 3 and cache.statistics().evicted == 1
    cache(a)
    assert function.calls == 4
    cache(b)
    assert function.calls == 5


def test_entries_grow_old() -> None:
    now = [0.0]
    function = Counted()
    cache = ReuseCache(function, max_age_s=10, clock=lambda: now[0])
    cache(torch.ones(2))
    now[0] = 9.0
    cache(torch.ones(2))
    now[0] = 20.0
    cache(torch.ones(2))
    assert function.calls == 2 and cache.statistics().evicted == 1


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = ReuseCache(Counted(), max_bytes=10)
    cache(torch.ones(100))
    assert cache.statistics().entries == 0 and cache.statistics().bytes == 0


def test_near_matches_need_a_gate_that_agrees() -> None:
    with pytest.raises(InputError, match="both a threshold and a gate"):
        ReuseCache(Counted(), threshold=0.9)
    function = Counted()
    cache = ReuseCache(function, threshold=0.9, gate=lambda new, old: bool(new[0][0] == old[0][0]), quality_budget=1.0)
    cache(torch.tensor([1.0, 0.0, 5.0]))
    cache(torch.tensor([1.0, 0.1, 5.0]))
    assert function.calls == 1
    cache(torch.tensor([1.1, 0.0, 5.0]))
    cache(torch.tensor([0.0, 1.0, 0.0]))
    assert function.calls == 3
    assert cache.statistics().near == 1 and 0 < cache.statistics().similarity <= 1


def test_near_matches_are_switched_off_when_they_cost_too_much() -> None:
    torch.manual_seed(0)
    function = Counted(lambda x: x.sign())
    cache = ReuseCache(function, threshold=0.5, gate=lambda new, old: True, audit_every=2, quality_budget=0.05)
    base = torch.randn(8)
    for _ in range(200):
        cache(base + 0.5 * torch.randn(8))
    statistics = cache.statistics()
    assert not statistics.near_matches and "more than the budget of 0.05" in statistics.why_off
    assert statistics.error > 0.05 and statistics.audited >= 10
    before = function.calls
    cache(base + 0.5 * torch.randn(8))
    assert function.calls == before + 1


def test_near_matches_within_the_budget_stay() -> None:
    torch.manual_seed(0)
    network = nn.Linear(8, 3).eval()
    cache = ReuseCache(network, threshold=0.99, gate=lambda new, old: True, audit_every=2, quality_budget=0.05)
    base = torch.randn(1, 8)
    with torch.no_grad():
        for _ in range(100):
            cache(base + 0.01 * torch.randn(1, 8))
    statistics = cache.statistics()
    assert statistics.near_matches and statistics.error == 0 and statistics.hit_rate > 0.4


def test_many_threads_may_call_at_once() -> None:
    function = Counted(lambda x: x + 1)
    cache = ReuseCache(function, max_bytes=50 * 16)
    wrong: list[int] = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(300):
            value = int(torch.randint(80, (1,), generator=generator))
            if int(cache(torch.tensor([value]))[0]) != value + 1:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statistics = cache.statistics()
    assert not wrong and statistics.asked == 1200 and statistics.exact + function.calls == 1200
    assert statistics.bytes == 16 * statistics.entries <= 50 * 16
