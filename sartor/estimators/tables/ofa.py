"""Latency of 5,000 networks of Once-for-All's MobileNetV3 space on GPUs, and of any of them on a Note 10.

Cai et al. 2020, "Once for All: Train One Network and Specialize it for Efficient Deployment", arXiv:1908.09791. Keys:
``resolution``, 112 to 224 pixels; ``depth1`` to ``depth5`` of the stages, two to four; of each block
``stage1.0.0.kernel`` and ``stage1.0.0.expand``, and so on.

Latencies on GPUs were measured by HELP (Lee et al. 2021, arXiv:2106.08630), in milliseconds; the number behind a GPU is
the batch size. The accuracy is no measurement: it is what the authors' accuracy predictor says (``pred_top1``,
derived). The space of the table holds the 5,000 networks alone; blocks beyond the depth are left out.

`Note10` adds the latencies of a network's operators as the authors measured them (160 to 224 pixels, in steps of 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sartor.errors import InputError, near
from sartor.estimators.tables._files import read
from sartor.estimators.tables._table import Cost, Protocol, Table, only
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Repeat, Shared, Space
from sartor.trials import Fidelity, Figure

if TYPE_CHECKING:
    from sartor.contracts import Candidate

SPEC = Spec(
    "ofa",
    "sartor.estimators.tables.ofa:ofa",
    "latency of 5,000 networks of Once-for-All's space on 12 GPU settings; predicted accuracy",
    extra="tables",
    citation="Cai et al. 2020, arXiv:1908.09791",
)

NUM_NETWORKS = 5_000
DEVICES = tuple(f"{gpu}_{batch}" for gpu in ("2080ti", "titan_rtx", "titan_xp", "v100") for batch in (1, 32, 64))
RESOLUTIONS = tuple(range(112, 225, 4))
KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
_STAGES = tuple(range(1, 6))
_WIDTHS = (24, 32, 48, 96, 136, 192)
"""Of the stem and the stages, at 1.2 times the width of MobileNetV3."""
_STRIDES = (2, 2, 2, 1, 2)
_SQUEEZED = (0, 1, 0, 1, 1)
_HARD_SWISH = (0, 0, 1, 1, 1)
_FILE, _OPERATORS = "ofa_mbv3_latency.parquet", "ofa_note10_op_latency.parquet"


def ofa(folder: str | Path, dataset: Literal["imagenet"] = "imagenet") -> Table:
    """Returns the table, from ``ofa_mbv3_latency.parquet``.

    Raises:
        InputError: An unknown data set; a file that is missing or not as expected.
    """
    if dataset != "imagenet":
        raise InputError(f"unknown data set {dataset!r} of ofa{near(dataset, ['imagenet'])}")
    columns = read(folder, _FILE, ["ks", "e", "d", "r", *DEVICES, "pred_top1"], num_rows=NUM_NETWORKS)
    plain = space()
    settings = zip(*(columns[name].tolist() for name in ("ks", "e", "d", "r")), strict=True)
    codes = plain.codes([from_settings(*setting) for setting in settings])
    return Table(
        name="ofa/imagenet",
        space=only(plain, codes),
        codes=codes,
        columns={"pred_top1": columns["pred_top1"]},
        protocols={"clean": Protocol("pred_top1", "pred_top1")},
        fidelities={Fidelity(1, "predictions"): "pred_top1"},
        devices={device: {"latency_ms": Cost(columns[device], "measured", None)} for device in DEVICES},
    )


def space() -> Space:
    """Returns all networks."""
    block = {"kernel": OneOf(*KERNELS), "expand": OneOf(*EXPANSIONS)}
    stages = {f"stage{i}": [Repeat(block, times=Shared(f"depth{i}", OneOf(*DEPTHS)))] for i in _STAGES}
    return Space({"resolution": OneOf(*RESOLUTIONS), **stages}, graph=graph)


def from_settings(kernels: str, expansions: str, depths: str, resolution: int) -> Architecture:
    """Reads the authors' settings: kernels and expansions of all 20 blocks, depths of the five stages, joined by -.

    Raises:
        InputError: Not of that form.
    """
    kernel, expand, depth = ([int(each) for each in text.split("-")] for text in (kernels, expansions, depths))
    most = DEPTHS[-1]
    if (len(kernel), len(expand), len(depth)) != (most * len(_STAGES), most * len(_STAGES), len(_STAGES)):
        raise InputError(f"expected 20 kernels, 20 expansions and 5 depths, got {kernels}, {expansions}, {depths}")
    values: dict[str, int] = {"resolution": resolution}
    for i, length in zip(_STAGES, depth, strict=True):
        values[f"depth{i}"] = length
        for j in range(length):
            at = (i - 1) * most + j
            values |= {f"stage{i}.0.{j}.kernel": kernel[at], f"stage{i}.0.{j}.expand": expand[at]}
    return Architecture(values)


def _blocks(architecture: Mapping[str, Any]) -> list[tuple[int, int, int, int]]:
    """Returns stage, position, kernel and expansion of each block."""
    return [
        (i, j, architecture[f"stage{i}.0.{j}.kernel"], architecture[f"stage{i}.0.{j}.expand"])
        for i in _STAGES
        for j in range(architecture[f"depth{i}"])
    ]


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns the chain of blocks behind the resolution."""
    blocks = (f"stage={i} first={j == 0} kernel={kernel} expand={e}" for i, j, kernel, e in _blocks(architecture))
    return Graph.chain([f"resolution={architecture['resolution']}", *blocks])


def operators(architecture: Mapping[str, Any]) -> list[str]:
    """Returns the operators of a network as the authors' file names them."""

    def shape(size: int, width: int) -> str:
        return f"{size}x{size}x{width}"

    size = math.ceil(architecture["resolution"] / 2)
    before = _WIDTHS[0]
    found = [
        f"Conv-input:{shape(architecture['resolution'], 3)}-output:{shape(size, before)}",
        f"expanded_conv-input:{shape(size, before)}-output:{shape(size, before)}-expand:{before}-kernel:3-stride:1"
        "-idskip:1-se:0-hs:0",
    ]
    for i, j, kernel, expand in _blocks(architecture):
        stride = _STRIDES[i - 1] if j == 0 else 1
        after, width = math.ceil(size / stride), _WIDTHS[i]
        found.append(
            f"expanded_conv-input:{shape(size, before)}-output:{shape(after, width)}-expand:{before * expand}"
            f"-kernel:{kernel}-stride:{stride}-idskip:{int(j > 0)}-se:{_SQUEEZED[i - 1]}-hs:{_HARD_SWISH[i - 1]}"
        )
        size, before = after, width
    inside = before * EXPANSIONS[-1]
    return [
        *found,
        f"Conv_1-input:{shape(size, before)}-output:{shape(size, inside)}",
        f"AvgPool2D-input:{shape(size, inside)}-output:{shape(1, inside)}",
        f"Conv_2-input:{shape(1, inside)}-output:{shape(1, 1536)}",
        f"Logits-input:{shape(1, 1536)}-output:1000",
    ]


class Note10:
    """Latency of a network of `space` on a Samsung Note 10: the sum of its operators' means.

    The figure is estimated: what the operators cost together was not measured, so its error is None. The note says how
    far single measurements of the operators scatter, added up as if independent.

    Args:
        folder: Where ``ofa_note10_op_latency.parquet`` is.

    Raises:
        InputError: The file is missing or not as expected.
    """

    name = "note10"
    figures: tuple[str, ...] = ("latency_ms",)
    needs: Literal["architecture", "network", "trained"] = "architecture"

    def __init__(self, folder: str | Path) -> None:
        columns = read(folder, _OPERATORS, ["resolution", "op", "mean_ms", "std_ms"])
        names = zip(columns["resolution"].tolist(), columns["op"].tolist(), strict=True)
        figures = np.stack([columns["mean_ms"], columns["std_ms"]], 1).tolist()
        self._known = dict(zip(names, figures, strict=True))
        self._space = space()

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns ``latency_ms``; only the candidate's architecture is read.

        Raises:
            InputError: The resolution was not measured, or the architecture is not of `space`.
        """
        return {"latency_ms": self.latency(candidate.architecture)}

    def latency(self, architecture: Mapping[str, Any]) -> Figure:
        """Returns the figure of an architecture; errors as `cost`."""
        resolution = self._space.architecture(architecture)["resolution"]
        known = sorted({each for each, _ in self._known})
        if resolution not in known:
            raise InputError(f"note10 was measured at {known[0]} to {known[-1]} pixels, not at {resolution}")
        parts = []
        for operator in operators(architecture):
            if (resolution, operator) not in self._known:
                raise InputError(f"note10 has no operator {operator} at {resolution} pixels")
            parts.append(self._known[resolution, operator])
        mean, deviation = np.array(parts)[:, 0].sum(), np.sqrt((np.array(parts)[:, 1] ** 2).sum())
        note = f"sum of {len(parts)} operators; single measurements scatter by {deviation / mean:.1%}"
        return Figure(float(mean), "ms", None, "estimated", note=note)
