"""What a search begins with."""

from __future__ import annotations

from functools import partial

from torch import nn

from sartor._start import promising_start
from sartor.goals import Goals, Objective
from sartor.space import OneOf, Space
from sartor.tasks.images.task import Images


def _deep(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 10))


def _plain(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))


def test_where_some_networks_have_nothing_to_look_at_all_are_ranked_by_what_is_counted() -> None:
    widths = OneOf(2, 3, 4, 6, 8)
    space = Space(OneOf(deep=partial(_deep, width=widths), plain=partial(_plain, width=widths)))
    start = promising_start(Images(), space, Goals((Objective("accuracy"),)), [], 2, 8, ())
    assert "of 8 architectures by macs" in start.notes[0] and len(start.architectures) == 5
