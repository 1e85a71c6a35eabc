import pytest
import torch

from sartor.compress.caching import ContinuousCache, cached_log_likelihood, tune
from sartor.errors import InputError


def text(n: int = 120, vocabulary: int = 7, d: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(n, d), torch.randint(vocabulary, (n,)), torch.randn(n, vocabulary).log_softmax(1)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_whole_text_at_once_is_the_cache_step_by_step(size: int) -> None:
    hidden, targets, log_probabilities = text(600)
    cache = ContinuousCache(size, theta=0.4, weight=0.3)
    expected = []
    for state, token, logs in zip(hidden, targets, log_probabilities, strict=True):
        mixture = cache.mix(logs.exp(), state)
        assert float(mixture.sum()) == pytest.approx(1, abs=1e-5)
        expected.append(mixture[token].log())
        cache.add(state, int(token))
    own = log_probabilities.gather(1, targets[:, None])[:, 0]
    found = cached_log_likelihood(hidden, targets, own, size=size, theta=0.4, weight=0.3)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_the_cache_is_its_formula() -> None:
    cache = ContinuousCache(2, theta=1.5, weight=0.25)
    states = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]])
    for state, token in zip(states, (0, 1, 2), strict=True):
        cache.add(state, token)
    query, model = torch.tensor([0.5, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    raised = torch.tensor([0.0, 1.5 * 0.5, 1.5 * 0.2]).exp()
    raised[0] = 0  # the oldest has gone
    torch.testing.assert_close(cache.mix(model, query), 0.75 * model + 0.25 * raised / raised.sum())
    cache.clear()
    assert len(cache) == 0


def test_tuning_helps_a_text_that_repeats_and_leaves_another_alone() -> None:
    torch.manual_seed(0)
    states = torch.nn.functional.normalize(torch.randn(40, 16), dim=1)
    tokens = torch.randint(30, (40,))
    order = torch.arange(800) % 40
    uniform = torch.full((800,), -torch.log(torch.tensor(30.0)).item())
    repeating = tune(states[order], tokens[order], uniform, sizes=(20, 100))
    assert repeating[1].perplexity < 0.6 * repeating[1].before
    # A cache shorter than what repeats knows nothing.
    assert repeating[0].perplexity > repeating[1].perplexity
    random = tune(torch.randn(800, 16), torch.randint(30, (800,)), uniform, sizes=(100,))
    assert random[0].perplexity <= random[0].before * (1 + 1e-6)


def test_what_makes_no_sense_is_refused() -> None:
    hidden, targets, logs = text()
    with pytest.raises(InputError, match="weight from 0 to below 1"):
        ContinuousCache(10, 0.1, 1.0)
    with pytest.raises(InputError, match="expected hidden states"):
        tune(hidden, targets[1:], logs[:, 0])
    with pytest.raises(InputError, match="not finite"):
        tune(hidden, targets, logs[:, 0] * torch.inf)
