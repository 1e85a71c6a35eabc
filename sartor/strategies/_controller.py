"""A network that writes architectures token by token: an LSTM or a causal Transformer over the tokens of a `Walk`.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sartor.space._walk import Prefixes, Tokens, Walk

Body = Literal["lstm", "transformer"]
_Memory: TypeAlias = Any
"""What a body keeps of the tokens before: hidden and cell state, or keys and values by layer."""

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_EXCLUDED = -4.0
"""Logarithm of a token's probability below which guidance does not raise it."""
_NUM_HEADS = 4
_NUM_LAYERS = 2


class _Lstm(nn.Module):
    """One layer of long short-term memory (Zoph and Le 2017, arXiv:1611.01578, have two)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(hidden, hidden, batch_first=True)

    def forward(self, inputs: Tensor, memory: _Memory = None) -> tuple[Tensor, _Memory]:
        outputs, memory = self.cell(inputs, memory)
        return outputs, memory


class _Layer(nn.Module):
    """Causal self-attention and a feed-forward network, each behind a normalisation (arXiv:2002.04745)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.before_attention, self.before_feed = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention, self.mix = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.feed = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))

    def forward(self, inputs: Tensor, memory: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        n, length, hidden = inputs.shape
        parts = self.attention(self.before_attention(inputs)).view(n, length, 3, _NUM_HEADS, hidden // _NUM_HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if memory is not None:
            key, value = torch.cat([memory[0], key], 2), torch.cat([memory[1], value], 2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=memory is None)
        outputs = inputs + self.mix(mixed.transpose(1, 2).reshape(n, length, hidden))
        return outputs + self.feed(self.before_feed(outputs)), (key, value)


class _Transformer(nn.Module):
    """Two layers of four heads (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(hidden) for _ in range(_NUM_LAYERS))
        self.last = nn.LayerNorm(hidden)

    def forward(self, inputs: Tensor, memory: _Memory = None) -> tuple[Tensor, _Memory]:
        """Returns outputs for all ``inputs``, or, with memory, for the one that comes next."""
        kept = []
        for layer, own in zip(self.layers, memory or [None] * len(self.layers), strict=True):
            inputs, found = layer(inputs, own)
            kept.append(found)
        return self.last(inputs), kept


class Controller(nn.Module):
    """Gives each next token a distribution.

    Args:
        walk: The sequences.
        body: What reads the tokens before.
        seed: Draws the initial weights; every token is uniform at first.
        hidden: Width, a multiple of 4.
        num_levels: Number of values of each condition, when there are any.
    """

    offsets: Tensor
    table: Tensor
    padding: Tensor

    def __init__(self, walk: Walk, body: Body, seed: int, hidden: int = 64, num_levels: Sequence[int] = ()) -> None:
        super().__init__()
        self.walk = walk
        sizes = np.array(walk.sizes, np.int64)
        offsets = np.cumsum(sizes) - sizes
        steps = np.arange(max(walk.sizes, default=0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = _Lstm(hidden) if body == "lstm" else _Transformer(hidden)
            self.values = nn.Embedding(int(sizes.sum()), hidden)
            self.places = nn.Parameter(torch.randn(walk.num_tokens, hidden))
            self.conditions = nn.ModuleList(nn.Embedding(num, hidden) for num in num_levels)
        self.heads = nn.Parameter(torch.zeros(int(sizes.sum()), hidden))
        self.biases = nn.Parameter(torch.zeros(int(sizes.sum())))
        # Row of `heads` of each token's values, padded to the largest.
        table = np.minimum(offsets[:, None] + steps, max(int(sizes.sum()) - 1, 0))
        self.register_buffer("offsets", torch.from_numpy(offsets), persistent=False)
        self.register_buffer("table", torch.from_numpy(table), persistent=False)
        self.register_buffer("padding", torch.from_numpy(steps >= sizes[:, None]), persistent=False)

    def _conditioned(self, conditions: Tensor | None) -> Tensor | float:
        """Returns what is added to every input: the condition is in sight at each token."""
        if conditions is None:
            return 0.0
        parts = [embedding(conditions[:, i]) for i, embedding in enumerate(self.conditions)]
        return torch.stack(parts).sum(0)[:, None]

    def forward(self, tokens: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Returns the logits of each token given those before it; values beyond a token's have -inf.

        Args:
            tokens: int64 ``[n, num_tokens]``.
            conditions: int64 ``[n, num_conditions]``.

        Returns:
            ``[n, num_tokens, max(walk.sizes)]``.
        """
        known = self.values(tokens[:, :-1] + self.offsets[:-1])
        inputs = F.pad(known, (0, 0, 1, 0)) + self.places + self._conditioned(conditions)
        outputs, _ = self.body(inputs)
        # `F.embedding`, as the gradient of an index is many times slower.
        heads, biases = F.embedding(self.table, self.heads), F.embedding(self.table, self.biases[:, None])[..., 0]
        logits = torch.einsum("nth,tvh->ntv", outputs, heads) + biases
        return logits.masked_fill(self.padding, -torch.inf)

    def log_probability(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Returns the logarithm of the probability of each valid sequence, and the mean entropy of its tokens.

        Both are among the allowed tokens, shape ``[n]`` each, natural logarithms.
        """
        allowed, _ = self.walk.allowed(tokens)
        logits = self(torch.from_numpy(tokens)).masked_fill(~torch.from_numpy(allowed), -torch.inf)
        logs = logits.log_softmax(-1)
        finite = logs.masked_fill(~torch.from_numpy(allowed), 0.0)
        chosen = finite.gather(-1, torch.from_numpy(tokens)[..., None])[..., 0]
        return chosen.sum(-1), -(finite.exp() * finite).sum(-1).mean(-1)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        *,
        conditions: Tokens | None = None,
        masked: bool = True,
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> Prefixes:
        """Returns ``n`` complete sequences and their tokens.

        Args:
            n: How many.
            rng: Draws them.
            conditions: ``[n, num_conditions]``.
            masked: Whether only allowed tokens are drawn.
            temperature: What logits are divided by.
            guidance: 1 follows the conditions; more, as many times as far from level 0 of all conditions
                (classifier-free guidance, Ho and Salimans 2022, arXiv:2207.12598).
        """
        prefixes = self.walk.begin(n)
        guided = conditions is not None and guidance != 1.0
        levels = None if conditions is None else torch.from_numpy(conditions)
        if guided:
            assert levels is not None
            levels = torch.cat([levels, torch.zeros_like(levels)])
        shift = self._conditioned(levels)
        known: Tensor = torch.zeros(2 * n if guided else n, 1, self.places.shape[1])
        memory: _Memory = None
        for at, size in enumerate(self.walk.sizes):
            outputs, memory = self.body(known + self.places[at] + shift, memory)
            rows = slice(int(self.offsets[at]), int(self.offsets[at]) + size)
            logits = outputs[:, 0] @ self.heads[rows].T + self.biases[rows]
            if guided:
                logs = logits.log_softmax(-1)
                logits = logs[n:] + guidance * (logs[:n] - logs[n:])
                # What the conditions all but exclude is not to be found far from level 0.
                excluded = logs[:n] < _EXCLUDED
                logits = torch.where(excluded, torch.minimum(logits, logs[:n]), logits)
            noisy: npt.NDArray[np.float64] = logits.double().numpy() / temperature + rng.gumbel(size=(n, size))
            if masked:
                noisy[~prefixes.allowed()] = -np.inf
            tokens = noisy.argmax(1)
            prefixes.append(tokens)
            known = self.values(torch.from_numpy(tokens) + self.offsets[at])[:, None]
            if guided:
                known = torch.cat([known, known])
        return prefixes


class Learner:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) over the parameters of a network, with its state as JSON.

    Not `torch.optim.Adam`: importing that takes seconds, and one update of one vector is faster than one a parameter.

    Args:
        network: What learns; its parameters become views of one vector.
        rate: Learning rate.
    """

    def __init__(self, network: nn.Module, rate: float) -> None:
        self.rate = rate
        self._parameters = list(network.parameters())
        self._weights = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
        at = 0
        for parameter in self._parameters:
            parameter.data = self._weights[at : at + parameter.numel()].view(parameter.shape)
            at += parameter.numel()
        self.restart()

    def restart(self) -> None:
        """Forgets the moments, not the weights."""
        self._mean, self._square = torch.zeros_like(self._weights), torch.zeros_like(self._weights)
        self.num_steps = 0

    def step(self, loss: Tensor, share: float = 1.0) -> None:
        """Takes one step down the gradient, whose norm is held to 1, at ``share`` of the learning rate."""
        parts = torch.autograd.grad(loss, self._parameters)
        gradient = torch.cat([part.reshape(-1) for part in parts])
        gradient /= max(float(gradient.norm()), 1.0)
        self.num_steps += 1
        self._mean.lerp_(gradient, 1 - _BETAS[0])
        self._square.lerp_(gradient * gradient, 1 - _BETAS[1])
        scale = (self._square / (1 - _BETAS[1] ** self.num_steps)).sqrt_().add_(_EPSILON)
        self._weights.addcdiv_(self._mean, scale, value=-share * self.rate / (1 - _BETAS[0] ** self.num_steps))

    def state_dict(self, *, moments: bool = True) -> dict[str, Any]:
        """Returns the weights and, to go on learning from where it was, the moments."""
        state: dict[str, Any] = {"weights": _packed(self._weights)}
        if moments and self.num_steps:
            state |= {"mean": _packed(self._mean), "square": _packed(self._square), "num_steps": self.num_steps}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.restart()
        self._weights.copy_(_unpacked(state["weights"]))
        if "mean" in state:
            self._mean, self._square = _unpacked(state["mean"]), _unpacked(state["square"])
            self.num_steps = state["num_steps"]


def _packed(values: Tensor) -> str:
    """Returns float32 values as base64 of their bytes."""
    return base64.b64encode(values.numpy().astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32))
