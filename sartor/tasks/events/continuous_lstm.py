"""The continuous-time LSTM (Mei and Eisner 2017, arXiv:1612.09328, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.tasks.events.network import State, first_rates


class ContinuousLSTM(nn.Module):
    """The LSTM whose cells decay between events, each towards a target of its own.

    Args:
        num_types: Of events; one more stands for the beginning.
        hidden: Cells.
    """

    def __init__(self, num_types: int, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Embedding(num_types + 1, 7 * hidden)
        nn.init.uniform_(self.embedding.weight, -(hidden**-0.5), hidden**-0.5)
        self.recurrent = nn.Linear(hidden, 7 * hidden)
        with torch.no_grad():
            self.recurrent.bias[6 * hidden :] = first_rates(hidden)

    def forward(self, gap: Tensor, kind: Tensor) -> State:
        """Maps gaps before each event and types, ``(n, length)``, to states ``(n, length + 1, hidden)``.

        The first state is that of the beginning, from which the first gap counts.
        """
        begin = torch.full((len(gap), 1), self.embedding.num_embeddings - 1, dtype=kind.dtype, device=kind.device)
        read = self.embedding(torch.cat((begin, kind), 1).T) + self.recurrent.bias
        wait = functional.pad(gap, (0, 1)).T.unsqueeze(-1)
        weight = self.recurrent.weight.T
        # Without a graph to keep, and where an exporter follows, the plain loop does.
        if torch.is_grad_enabled() and not torch.compiler.is_exporting():
            parts: tuple[Tensor, ...] = _Scan.apply(read, wait, weight)  # type: ignore[no-untyped-call]
        else:
            parts = scanned(read, wait, weight)
        return State(*(part.transpose(0, 1) for part in parts))


def scanned(read: Tensor, wait: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns start, target, rate and gate after each event, ``(length, n, hidden)`` each.

    Args:
        read: What an event adds to its gates, ``(length, n, 7 hidden)``: those of sigmoids (input and forget gate of
            the cell and of its target, output gate), the new value, the rate.
        wait: Until the next event, ``(length, n, 1)``.
        weight: From hidden values to gates, ``(hidden, 7 hidden)``.
    """
    size = len(weight)
    target = cell = hidden = read.new_zeros(read.shape[1], size)
    found = []
    for own, gap in zip(read.unbind(0), wait.unbind(0), strict=True):
        sigmoids, new, rate = torch.split(torch.addmm(own, hidden, weight), [5 * size, size, size], 1)
        take, keep, take_target, keep_target, gate = sigmoids.sigmoid().chunk(5, 1)
        new, rate = torch.tanh(new), functional.softplus(rate)
        start = torch.addcmul(keep * cell, take, new)
        target = torch.addcmul(keep_target * target, take_target, new)
        found.append((start, target, rate, gate))
        cell = torch.lerp(target, start, torch.exp(-rate * gap))
        hidden = gate * torch.tanh(cell)
    start, target, rate, gate = (torch.stack(parts) for parts in zip(*found, strict=True))
    return start, target, rate, gate


class _Scan(torch.autograd.Function):
    """``scanned`` with its gradient written out: what can be done for all events at once is not done in the loop, and
    no graph of small operations is kept, which takes most of the time of a step. Gaps get no gradient."""

    @staticmethod
    def forward(ctx: Any, read: Tensor, wait: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        length, n, _ = read.shape
        size = len(weight)
        gates = torch.empty_like(read)
        starts, decays, bent = (read.new_empty(length, n, size) for _ in range(3))
        # One more than events, of which the first is before all of them.
        targets, cells, hiddens = (read.new_zeros(length + 1, n, size) for _ in range(3))
        rows = (gates, read, wait, starts, decays, bent, targets[1:], cells[1:], hiddens[1:])
        target, cell, hidden = targets[0], cells[0], hiddens[0]
        for gate, own, gap, start, decay, tanh, next_target, next_cell, next_hidden in zip(
            *(each.unbind(0) for each in rows), strict=True
        ):
            torch.addmm(own, hidden, weight, out=gate)
            gate[:, : 5 * size].sigmoid_()
            take, keep, take_target, keep_target, shown, new, rate = gate.chunk(7, 1)
            new.tanh_()
            rate.copy_(functional.softplus(rate))
            torch.mul(keep, cell, out=start).addcmul_(take, new)
            target = torch.mul(keep_target, target, out=next_target).addcmul_(take_target, new)
            torch.mul(rate, -gap, out=decay).exp_()
            cell = torch.lerp(target, start, decay, out=next_cell)
            hidden = torch.mul(shown, torch.tanh(cell, out=tanh), out=next_hidden)
        ctx.save_for_backward(wait, weight, gates, starts, decays, bent, targets, cells, hiddens)
        rate, shown = gates[..., 6 * size :], gates[..., 4 * size : 5 * size]
        return starts.clone(), targets[1:].clone(), rate.clone(), shown.clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor]:
        wait, weight, gates, starts, decays, bent, targets, cells, hiddens = ctx.saved_tensors
        length, n, size = starts.shape
        take, keep, take_target, keep_target, shown, new, rate = gates.chunk(7, 2)
        start, target, rate_back, shown_back = grads
        # Slopes of the gates, and how they reach what the loop carries.
        of_new = 1 - new * new
        by_start = torch.stack((new * take * (1 - take), cells[:-1] * keep * (1 - keep)), 2)
        by_target = torch.stack(
            (new * take_target * (1 - take_target), targets[:-1] * keep_target * (1 - keep_target)), 2
        )
        new_by_start, new_by_target = take * of_new, take_target * of_new
        of_shown, of_rate = shown * (1 - shown), -torch.expm1(-rate)
        shown_by_hidden, cell_by_hidden = bent * of_shown, shown * (1 - bent * bent)
        rate_by_cell = (targets[1:] - starts) * decays * wait * of_rate
        shown_back, rate_back, stay = shown_back * of_shown, rate_back * of_rate, 1 - decays
        change = torch.empty_like(gates)
        back = weight.T.contiguous()
        carried = torch.zeros_like(starts[0])
        cell = hidden = before = carried
        rows = (
            start, target, rate_back, shown_back, by_start, by_target, new_by_start, new_by_target, shown_by_hidden,
            cell_by_hidden, rate_by_cell, decays, stay, keep, keep_target, change, change.view(length, n, 7, size),
        )  # fmt: skip
        steps = list(zip(*(each.unbind(0) for each in rows), strict=True))
        for (
            d_start, d_target, d_rate, d_shown, f_start, f_target, f_new, f_new_target, f_shown,
            f_cell, f_rate, decay, left, kept, kept_target, flat, out,
        ) in reversed(steps):  # fmt: skip
            moved = torch.addcmul(cell, hidden, f_cell)
            own = torch.addcmul(d_start, moved, decay)
            aim = torch.addcmul(d_target, moved, left).add_(before)
            torch.mul(own.unsqueeze(1), f_start, out=out[:, 0:2])
            torch.mul(aim.unsqueeze(1), f_target, out=out[:, 2:4])
            torch.addcmul(d_shown, hidden, f_shown, out=out[:, 4])
            torch.mul(own, f_new, out=out[:, 5]).addcmul_(aim, f_new_target)
            torch.addcmul(d_rate, moved, f_rate, out=out[:, 6])
            hidden, cell, before = flat @ back, own * kept, aim * kept_target
        return change, None, hiddens[:-1].flatten(0, 1).T @ change.flatten(0, 1)
