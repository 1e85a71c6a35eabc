"""The recurrent network for values that are missing: GRU-D (Che et al. 2018, doi:10.1038/s41598-018-24271-9)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.tasks.series.paths import last_observed, real_rows


class DecayGRU(nn.Module):
    """A GRU whose state forgets with time, and that takes for a missing value the last one, the more forgotten the
    older it is; it is told which values are missing.

    Args:
        num_channels: Of the data, which have mean 0.
        rows: Not used: every encoder is given it.
        hidden: Values of the state.
    """

    causal = True

    def __init__(self, num_channels: int, rows: float, *, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.cell = nn.GRUCell(2 * num_channels, hidden)
        # Each channel's values decay by its own time only (the paper's diagonal W).
        self.value_decay, self.value_offset = (nn.Parameter(torch.zeros(num_channels)) for _ in range(2))
        self.state_decay = nn.Linear(num_channels, hidden)

    def forward(self, time: Tensor, values: Tensor) -> Tensor:
        """Maps ``(n, rows)`` and ``(n, rows, channels)`` to the state at the end, ``(n, hidden)``."""
        return self._states(time, values)[-1]

    def along(self, time: Tensor, values: Tensor) -> Tensor:
        """Returns the state after each row, ``(n, rows, hidden)``."""
        return torch.stack(self._states(time, values), 1)

    def _states(self, time: Tensor, values: Tensor) -> list[Tensor]:
        elapsed, real = real_rows(time)
        observed = real.unsqueeze(-1) & ~values.isnan()
        values = torch.where(observed, values, 0.0)
        moments = elapsed.unsqueeze(-1).expand_as(values)
        before = functional.pad(last_observed(observed, moments)[:, :-1], (0, 0, 1, 0))
        gap = moments - before
        decay = torch.exp(-torch.relu(self.value_decay * gap + self.value_offset))
        last = functional.pad(last_observed(observed, values)[:, :-1], (0, 0, 1, 0))
        read = torch.cat((torch.where(observed, values, decay * last), observed.to(values.dtype)), -1).unbind(1)
        forget = torch.exp(-torch.relu(self.state_decay(gap))).unbind(1)
        state = values.new_zeros(len(values), self.hidden)
        states = []
        for x, keep, here in zip(read, forget, real.unsqueeze(-1).unbind(1), strict=True):
            state = torch.where(here, self.cell(x, keep * state), state)
            states.append(state)
        return states
