"""What of a network can go: groups of units, what each costs, and the network without some of them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from sartor.compress.pruning._surgery import cut
from sartor.compress.pruning._trace import Trace, trace
from sartor.compress.pruning.attention import with_prunable_attention
from sartor.errors import InputError, UnsupportedNetworkError, near

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Slot:
    """A dimension of a parameter along which units lie.

    Attributes:
        name: Of the parameter or buffer.
        dim: The dimension.
        units: Unit at each place along it, -1 where none can go.
        role: ``makes`` where a weight's rows make the channels, ``reads`` where its columns read them, ``holds`` for
            normalisations, biases and the like.
    """

    name: str
    dim: int
    units: npt.NDArray[np.int64]
    role: str


@dataclass(frozen=True)
class Group:
    """Units that lie in the same places of the same layers: channels of one width, heads of one attention.

    Attributes:
        name: The layer that makes them, for people.
        units: Their numbers.
        slots: Where they lie.
    """

    name: str
    units: npt.NDArray[np.int64]
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Structure:
    """A network with what of it can go.

    Attributes:
        network: In eval mode; attentions of torch are replaced by equal ones whose heads can go.
        inputs: Example inputs of it, batch size 1.
        groups: What can go.
        refused: Layer -> why its outputs stay.
    """

    network: nn.Module
    inputs: tuple[Any, ...]
    groups: tuple[Group, ...]
    refused: dict[str, str]
    _trace: Trace
    _roots: npt.NDArray[np.int64]
    _products: tuple[tuple[int, tuple[npt.NDArray[np.int64], ...]], ...]

    @property
    def num_units(self) -> int:
        return len(self._roots)

    @property
    def slots(self) -> list[Slot]:
        return [slot for group in self.groups for slot in group.slots]

    def macs(self, gone: Flags | None = None) -> float:
        """Returns the multiply-accumulates of the network without units; ``gone`` is bool, ``[num_units]``."""
        stays = np.ones(self.num_units + 1, bool)
        if gone is not None:
            stays[:-1] = ~gone
        return float(
            sum(macs * np.prod([stays[extent].mean() for extent in extents]) for macs, extents in self._products)
        )

    def saved_macs(self) -> Scores:
        """Returns the multiply-accumulates that each unit costs while all others are there, ``[num_units]``."""
        saved = np.zeros(self.num_units + 1)
        for macs, extents in self._products:
            for extent in extents:
                np.add.at(saved, extent, macs / len(extent))
        return saved[:-1]

    def params(self, gone: Flags | None = None) -> float:
        """Returns the number of parameters of the network without units."""
        stays = np.ones(self.num_units + 1, bool)
        if gone is not None:
            stays[:-1] = ~gone
        left: dict[tuple[str, int], Flags] = {}
        for slot in self.slots:  # of a concatenation several groups lie along one dimension
            own = stays[slot.units]
            left[slot.name, slot.dim] = own & left.get((slot.name, slot.dim), own)
        shares: dict[str, float] = {}
        for (name, _), own in left.items():
            shares[name] = shares.get(name, 1.0) * float(own.mean())
        total = 0.0
        seen: set[int] = set()
        for name, parameter in self.network.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                total += parameter.numel() * shares.get(name, 1.0)
        return total

    def per_unit(self, slot: Slot, values: Tensor) -> Scores:
        """Returns the sum of values of the slot's tensor over the places of each unit, ``[num_units]``."""
        along = values.movedim(slot.dim, 0).reshape(values.shape[slot.dim], -1).sum(1, dtype=torch.float64)
        total = np.zeros(self.num_units + 1)
        np.add.at(total, slot.units, along.cpu().numpy())
        return total[:-1]

    def without(self, gone: Flags) -> nn.Module:
        """Returns the network without units: a plain, smaller copy, checked.

        Raises:
            UnsupportedNetworkError: see ``analyse``.
        """
        return cut(self.network, self.inputs, self._trace, self._roots[gone].tolist())


def analyse(network: nn.Module, inputs: tuple[Any, ...], *, skip: Sequence[str] = ()) -> Structure:
    """Returns what of a network can go, each group of units tried once.

    Args:
        network: Any; left as it is.
        inputs: Example inputs, batch size 1.
        skip: Layers whose outputs stay, by name; ``*`` stands for anything.

    Raises:
        InputError: a name in ``skip`` is no layer.
        UnsupportedNetworkError: nothing can go; the message names layers and why.
    """
    names = [name for name, _ in network.named_modules() if name]
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"skip: no layer is called {pattern!r}{near(pattern, names)}")
    whole = with_prunable_attention(copy.deepcopy(network)).eval()
    traced = trace(whole, inputs)
    groups, refused = _groups(whole, traced)
    for group in list(groups):
        if any(slot[3] == "makes" and fnmatchcase(_layer(slot[0]), pattern) for pattern in skip for slot in group):
            groups.remove(group)
            refused.update({_layer(slot[0]): "skipped" for slot in group if slot[3] == "makes"})
    groups, failed = _tried(whole, inputs, traced, groups)
    refused.update(failed)
    if not groups:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:5])
        raise UnsupportedNetworkError(f"nothing of {type(network).__name__} can be pruned: {why or 'it has no layers'}")
    return _numbered(whole, inputs, traced, groups, refused)


_Found = list[tuple[str, int, npt.NDArray[np.int64], str]]


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def _groups(network: nn.Module, traced: Trace) -> tuple[list[_Found], dict[str, str]]:
    """Returns groups, each as its slots with their units by label, and the layers whose outputs are fixed."""
    lines = {place: traced.units.roots(labels) for place, labels in traced.labels.items()}
    where: dict[int, list[tuple[str, int]]] = {}
    for place, line in lines.items():
        for root in np.unique(line):
            if root > 0:
                where.setdefault(int(root), []).append(place)
    members: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for root, found in where.items():
        members.setdefault(tuple(found), []).append(root)
    parts = dict(network.named_modules())
    groups: list[_Found] = []
    for places, roots in members.items():
        slots = [
            (
                name,
                dim,
                np.where(np.isin(lines[name, dim], roots), lines[name, dim], -1),
                _role(parts, network, name, dim),
            )
            for name, dim in places
        ]
        if len(roots) > 1 and any(role == "makes" for *_, role in slots):
            groups.append(slots)
    refused = {}
    for (name, dim), line in lines.items():
        if _role(parts, network, name, dim) == "makes" and bool((line == 0).any()):
            refused[_layer(name)] = traced.units.reason(traced.labels[name, dim][line == 0])
    return groups, refused


def _role(parts: dict[str, nn.Module], network: nn.Module, name: str, dim: int) -> str:
    path, _, own = name.rpartition(".")
    tensor = getattr(parts[path], own)
    if tensor.dim() < 2 or not isinstance(tensor, nn.Parameter):
        return "holds"
    swapped = isinstance(parts[path], _ConvTransposeNd)
    if dim == (1 if swapped else 0):
        return "makes"
    return "reads" if dim == (0 if swapped else 1) else "holds"


def _tried(
    network: nn.Module, inputs: tuple[Any, ...], traced: Trace, groups: list[_Found]
) -> tuple[list[_Found], dict[str, str]]:
    """Returns the groups of which a unit could be cut out, and for the others why not."""

    def first(group: _Found) -> int:
        units = group[0][2]
        return int(units[units > 0].min())

    try:
        cut(network, inputs, traced, [first(group) for group in groups])
        return groups, {}
    except UnsupportedNetworkError:
        pass
    left, failed = [], {}
    for group in groups:
        try:
            cut(network, inputs, traced, [first(group)])
            left.append(group)
        except UnsupportedNetworkError as error:
            failed[_layer(_name(group))] = str(error)
    return left, failed


def _name(group: _Found) -> str:
    return next(name for name, *_, role in group if role == "makes")


def _numbered(
    network: nn.Module, inputs: tuple[Any, ...], traced: Trace, groups: list[_Found], refused: dict[str, str]
) -> Structure:
    roots = np.array(sorted({int(unit) for group in groups for slot in group for unit in slot[2] if unit > 0}))

    def numbers(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        at = np.searchsorted(roots, labels).clip(0, len(roots) - 1)
        return np.where(roots[at] == labels, at, -1)

    made = tuple(
        Group(
            _layer(_name(group)),
            np.unique(numbers(group[0][2][group[0][2] > 0])),
            tuple(Slot(name, dim, numbers(units), role) for name, dim, units, role in group),
        )
        for group in groups
    )
    products = tuple(
        (product.macs, tuple(numbers(traced.units.roots(extent)) for extent in product.extents))
        for product in traced.products
    )
    return Structure(network, inputs, made, refused, traced, roots, products)


def flags(structure: Structure, units: Iterable[int]) -> Flags:
    """Returns which units are named, bool, ``[num_units]``."""
    found = np.zeros(structure.num_units, bool)
    found[list(units)] = True
    return found
