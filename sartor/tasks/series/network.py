"""A network over a series, and what is deployed of it: raw times and values in, scores out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sartor.errors import InputError


class SeriesNetwork(nn.Module):
    """An encoder of series and what is read from its state; times in mean lengths, values standardised.

    Args:
        num_channels: Of the data.
        num_outputs: Scores.
        rows: Observations of a series, on average.
        encoder: A factory called with ``num_channels`` and ``rows``.
        dropout: Of the state that is read.
    """

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        rows: float,
        *,
        encoder: Callable[[int, float], nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder(num_channels, rows)
        hidden = self.encoder.hidden
        assert isinstance(hidden, int)
        # Linear equations grow without a bound where a spline overshoots.
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_outputs)

    @property
    def causal(self) -> bool:
        """Whether scores at a row depend on what came until then only."""
        return bool(self.encoder.causal)

    def forward(self, time: Tensor, values: Tensor) -> Tensor:
        """Maps times ``(n, rows)`` and values ``(n, rows, channels)``, NaN where missing, to ``(n, outputs)``."""
        out: Tensor = self._read(self.encoder(time, values))
        return out

    def along(self, time: Tensor, values: Tensor) -> Tensor:
        """Returns the scores after each row, ``(n, rows, outputs)``."""
        along = self.encoder.along
        assert callable(along)
        out: Tensor = self._read(along(time, values))
        return out

    def _read(self, state: Tensor) -> Tensor:
        out: Tensor = self.head(self.dropout(self.norm(state)))
        return out


class Deployed(nn.Module):
    """Scores of series as the data have them.

    Args:
        network: Of standardised series.
        length: Mean of the series, in the data's unit of time.
        mean, deviation: Of each channel.
        offset, scale: What outputs are multiplied by and moved to; one for all.
    """

    length: Tensor
    mean: Tensor
    deviation: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(
        self,
        network: SeriesNetwork,
        *,
        length: float,
        mean: Sequence[float],
        deviation: Sequence[float],
        offset: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        for name, value in (
            ("length", length), ("mean", mean), ("deviation", deviation), ("offset", offset), ("scale", scale)
        ):  # fmt: skip
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, time: Tensor, values: Tensor) -> Tensor:
        """Maps times ``(n, rows)`` and values ``(n, rows, channels)`` to scores ``(n, outputs)``.

        A value that is missing is NaN; a row whose time is not after that of the row above fills up and is not read.
        """
        out: Tensor = self.network(*self._read(time, values))
        return out * self.scale + self.offset

    def along(self, time: Tensor, values: Tensor) -> Tensor:
        """Returns the scores after each row, ``(n, rows, outputs)``, of what came until then.

        Raises:
            InputError: the network looks ahead, so that it has none.
        """
        if not self.network.causal:
            raise InputError(
                "this network's path looks ahead (cubic interpolation), so that it cannot predict online: take one with"
                " rectilinear interpolation, or call it again with each observation"
            )
        return self.network.along(*self._read(time, values)) * self.scale + self.offset

    def _read(self, time: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return (time - time[:, :1]) / self.length, (values - self.mean) / self.deviation
