"""Dropout behind skip connections (Chen et al. 2019, P-DARTS, arXiv:1904.12760)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sartor.supernets._relaxed import Relaxed


def drop_skips(relaxed: Relaxed, labels: Sequence[str]) -> list[nn.Dropout]:
    """Puts dropout, of rate 0 at first, behind the alternatives of these labels; returns it."""
    made = []
    for mixed in relaxed.mixed():
        for place, label in enumerate(mixed.labels):
            if label in labels:
                made.append(nn.Dropout(0.0))
                mixed.alternatives[place] = nn.Sequential(mixed.alternatives[place], made[-1])
    return made
