"""Caches around trained networks: what was read lately predicts better, what was asked lately is not computed again.

    python docs/caches.py                    # half a minute, on the manual that comes with Python
    python docs/caches.py --text book.txt    # any text with repeats

``predict`` is the continuous cache (Grave et al. 2017): it needs the states of a sequence model and the words that
followed. ``serve`` is the cache of a server: it needs a function of tensors. Both leave the networks as they are, and
neither is trained.
"""

import argparse
import re
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import nn
from torch.nn import functional

import sartor
from sartor.compress.caching import ContinuousCache, ReuseCache, cached_log_likelihood, tune
from sartor.training import Learner, Recipe, Single, fit

MANUAL = "\n".join(topics.values())


class Words(nn.Module):
    """A recurrent network that gives logits of the next word."""

    def __init__(self, num_words, width=64):
        super().__init__()
        self.embedding, self.memory = nn.Embedding(num_words, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, num_words)

    def states(self, words):
        return self.memory(self.embedding(words))[0]

    def forward(self, words):
        return self.head(self.states(words))


class NextWord(Learner):
    def batch(self, network, data, step):
        begin = torch.randint(len(data) - 33, (step.recipe.batch_size,), generator=step.torch)
        return data[begin[:, None] + torch.arange(33)]

    def loss(self, network, batch, step):
        return functional.cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def read(network, text):
    """Returns what the cache needs of a text: states, the words that followed, their log-probabilities."""
    states, targets = network.states(text[None, :-1])[0], text[1:]
    return states, targets, network.head(states).log_softmax(1).gather(1, targets[:, None])[:, 0]


def predict(text, steps=600):
    """Returns the perplexity of the last tenth of a text without and with the cache, and the likeliest next words."""
    pieces = re.findall(r"\w+|[^\w\s]", text.lower())
    first, second = int(0.8 * len(pieces)), int(0.9 * len(pieces))
    names = ["?", *(word for word, _ in Counter(pieces[:first]).most_common(1999))]  # "?" is any rarer word
    number = {name: i for i, name in enumerate(names)}
    words = torch.tensor([number.get(piece, 0) for piece in pieces])

    torch.manual_seed(0)
    network = Words(len(names))
    fit(Single(network), NextWord(), words[:first], Recipe(batch_size=32), total=steps, seed=0)
    network.eval()

    # Size, temperature and weight by what helps most on a text that is neither trained on nor reported.
    best = min(tune(*read(network, words[first:second])), key=lambda tuned: tuned.perplexity)
    states, targets, logs = read(network, words[second:])
    mixed = cached_log_likelihood(states, targets, logs, size=best.size, theta=best.theta, weight=best.weight)
    print(f"a cache of {best.size} words, theta {best.theta:.3g}, weight {best.weight:g}")
    print(f"perplexity {(-logs.mean()).exp():.1f} without, {(-mixed.mean()).exp():.1f} with")

    # The same as a text goes on: predict the next word, then add the one that came.
    cache = ContinuousCache(best.size, best.theta, best.weight)
    for state, target in zip(states, targets.tolist(), strict=True):
        with torch.no_grad():
            probabilities = cache.mix(network.head(state).softmax(0), state)
        cache.add(state, target)
    likely = [names[i] for i in probabilities.topk(3).indices.tolist()]
    print(f"... {' '.join(pieces[-6:-1])}: {' or '.join(likely)}? It was {pieces[-1]!r}.")
    return float((-logs.mean()).exp()), float((-mixed.mean()).exp()), likely


def serve(frames=5, noise=0.02):
    """Returns what two caches did before a network that classifies the frames of a camera, which hardly change."""
    task = sartor.load_task("images")  # bundled digits
    torch.manual_seed(0)
    network = task.space().build(task.baseline())
    data = task.data()
    fit(Single(network), task.learner(task.baseline()), data.train, task.recipe, total=200, seed=0)
    deployed = task.deploy(network.eval(), task.baseline()).eval()
    pictures = data.validation.columns["x"].float() / 255

    def few_pixels_differ(asked, kept):
        return float((asked[0] - kept[0]).abs().max()) < 0.2

    with torch.inference_mode():
        cache = ReuseCache(deployed, max_bytes=2**20, max_age_s=60, threshold=0.99, gate=few_pixels_differ)
        for i, picture in enumerate(pictures[:200]):
            generator = torch.Generator().manual_seed(i)
            for _ in range(frames):
                cache((picture + noise * torch.randn(picture.shape, generator=generator))[None])
        found = cache.statistics()
        print(f"{found.hit_rate:.0%} of {found.asked} calls not computed; of {found.audited} such answers that were")
        print(f"computed all the same, to see what the cache costs, {found.error:.1%} differed")

        # Too lax a threshold, and no gate to speak of: the audits switch near matches off.
        lax = ReuseCache(deployed, threshold=0.8, gate=lambda asked, kept: True, quality_budget=0.01)
        for picture in pictures:
            lax(picture[None])
        print(f"too lax: {lax.statistics().why_off or 'still on'}")
    return found, lax.statistics()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a text file")
    given = parser.parse_args().text
    predict(MANUAL if given is None else given.read_text(encoding="utf-8"))
    serve()
