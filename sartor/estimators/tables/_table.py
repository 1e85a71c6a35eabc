"""A published table of trained architectures, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError, SpaceError, near
from sartor.goals import Direction, Objective
from sartor.space import Architecture, Space
from sartor.trials import Fidelity, Figure, FigureKind
from sartor.units import FIGURES

ProtocolName = Literal["clean", "noisy"]
Array = npt.NDArray[np.float64]
Keys = npt.NDArray[Any]
Key = Callable[[Mapping[str, Any]], Any]
"""Architecture to what is equal for isomorphic ones, and for those alone."""

FAILED_SCORE = -1e8
"""How NAS-Bench-Suite-Zero marks a score that could not be computed."""


@dataclass(frozen=True)
class Protocol:
    """What a search is shown, and by what it is judged: names of columns."""

    observed: str
    judged: str


@dataclass(frozen=True, eq=False)
class Cost:
    """A cost of every row.

    Attributes:
        values: In the unit of its figure (``sartor.units.FIGURES``), ``[n]``.
        kind: As of a `Figure`.
        error: As of a `Figure`: relative error that the values were validated to, None when unknown.
        note: As of a `Figure`.
    """

    values: Array
    kind: FigureKind = "exact"
    error: float | None = 0.0
    note: str = ""


class Rows(Sequence[Architecture]):
    """Architectures kept as codes and made when read."""

    def __init__(self, space: Space, codes: npt.NDArray[Any]) -> None:
        self._space, self._codes = space, codes

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, i: int) -> Architecture: ...
    @overload
    def __getitem__(self, i: slice) -> list[Architecture]: ...

    def __getitem__(self, i: int | slice) -> Architecture | list[Architecture]:
        if isinstance(i, slice):
            return self._space.of_codes(self._codes[i])
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self):,}")
        i %= len(self)
        return self._space.of_codes(self._codes[i : i + 1])[0]

    def __iter__(self) -> Iterator[Architecture]:
        for i in range(0, len(self), 4096):
            yield from self[i : i + 4096]


class Kept:
    """Gives the architecture of an isomorphism class that a table has: for `sartor.space.Space.modulo`.

    Args:
        name: Of the table.
        space: Of its architectures, before classes.
        codes: Of its rows.
        keys: Of its rows, ``[n]``.
        key: Gives them.
    """

    def __init__(self, name: str, space: Space, codes: npt.NDArray[Any], keys: Keys, key: Key) -> None:
        self._name, self._rows, self._key = name, Rows(space, codes), key
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def __call__(self, architecture: Mapping[str, Any]) -> Architecture:
        wanted = self._key(architecture)
        at = int(np.searchsorted(self._keys, wanted))
        if at == len(self._keys) or self._keys[at] != wanted:
            raise InputError(f"table {self._name} has no architecture {dict(architecture)}")
        return self._rows[int(self._order[at])]


class Listed:
    """Whether an architecture is one of a table that has only some of its space: for `sartor.space.Space.where`."""

    def __init__(self, space: Space, codes: npt.NDArray[Any]) -> None:
        self._space = space
        self._known = frozenset(map(bytes, np.ascontiguousarray(codes)))

    def __call__(self, architecture: Mapping[str, Any]) -> bool:
        return bytes(self._space.codes([architecture])[0]) in self._known


def only(space: Space, codes: npt.NDArray[Any]) -> Space:
    """Returns the space of the listed architectures alone."""
    return space.where(Listed(space, codes), name="listed in the table").modulo(_itself, name="itself", rows=codes)


def _itself(architecture: Architecture) -> Architecture:
    return architecture


@dataclass(frozen=True, eq=False)
class Table:
    """A benchmark on one data set.

    Attributes:
        name: ``benchmark/dataset``.
        space: Its architectures, without networks, so that nothing loads torch; where the benchmark's networks can be
            built, the space of the same name in ``sartor.spaces`` has equal architectures.
        codes: Of the architectures in row order, ``space.codes``.
        columns: Name -> figures of the rows, all finite, ``[n]``.
        protocols: ``clean`` always, ``noisy`` where a column of single trainings is at hand.
        fidelities: Ascending; name of the column that is observed at each. At the last it is the protocol's instead.
        metric: Name of what the columns of ``protocols`` hold.
        unit: Of the metric: ``%`` for percentage points, empty for a share from 0 to 1 or a number without unit.
        direction: Of the metric.
        scores: Training-free scores of the rows as published, ``[n]``: what is missing, not finite or marked as failed
            is the smallest of the rest.
        costs: Canonical figure (``params``, ``macs``) -> cost that is the same on every device.
        devices: Name of a device -> canonical figure (``latency_ms``, ``energy_mj``) -> cost.
        keys: One of each row, ``[n]``, where isomorphic architectures are one row.
        key: Architecture to such a key; both or neither.

    Raises:
        InputError: No rows; figures that are not finite, or of another length; an architecture twice.
    """

    name: str
    space: Space
    codes: npt.NDArray[Any]
    columns: Mapping[str, Array]
    protocols: Mapping[ProtocolName, Protocol]
    fidelities: Mapping[Fidelity, str]
    metric: str = "accuracy"
    unit: str = ""
    direction: Direction = "max"
    scores: Mapping[str, Array] = field(default_factory=dict)
    costs: Mapping[str, Cost] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, Cost]] = field(default_factory=dict)
    keys: Keys | None = None
    key: Key | None = None

    def __post_init__(self) -> None:
        num = len(self.codes)
        if not num:
            raise InputError(f"table {self.name} has no rows")
        named: dict[str, Array] = {f"column {name!r}": values for name, values in self.columns.items()}
        named |= {f"score {name!r}": values for name, values in self.scores.items()}
        named |= {f"cost {name!r}": cost.values for name, cost in self.costs.items()}
        for device, costs in self.devices.items():
            named |= {f"cost {name!r} of device {device!r}": cost.values for name, cost in costs.items()}
        for name, values in named.items():
            if values.shape != (num,):
                raise InputError(f"table {self.name}: {name} has shape {values.shape}, expected ({num},)")
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0])
                raise InputError(f"table {self.name}: {name} is {values[bad]} in row {bad:,}")
        for name in {*self.costs, *(name for costs in self.devices.values() for name in costs)}:
            if name not in FIGURES:
                raise InputError(f"table {self.name}: {name!r} is no cost figure{near(name, FIGURES)}")
        if "clean" not in self.protocols:
            raise InputError(f"table {self.name} has no protocol 'clean'")
        used = [column for each in self.protocols.values() for column in (each.observed, each.judged)]
        for column in (*used, *self.fidelities.values()):
            self.column(column)
        order, ordered = self._sorted
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(twice):
            first, second = sorted((int(order[twice[0]]), int(order[twice[0] + 1])))
            raise InputError(
                f"table {self.name}: rows {first:,} and {second:,} are one architecture, "
                f"{self.architectures[first].to_json()}"
            )

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def architectures(self) -> Sequence[Architecture]:
        """The architectures in row order, made when read."""
        return Rows(self.space, self.codes)

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.int64], Keys]:
        keys = _whole(self.codes) if self.keys is None else self.keys
        order = np.argsort(keys, kind="stable")
        return order, keys[order]

    def indices(self, architectures: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.int64]:
        """Returns the rows of architectures, ``[n]``; where the table keeps one of a class, any other finds it.

        Raises:
            InputError: One is not in the table, or not of its space.
        """
        if not architectures:
            return np.empty(0, np.int64)
        try:
            if self.key is None:
                wanted = _whole(self.space.codes(architectures))
            else:
                wanted = np.array([self.key(each) for each in architectures])
        except (SpaceError, KeyError, TypeError) as error:
            raise InputError(f"an architecture is not of the space of table {self.name}: {error}") from error
        order, ordered = self._sorted
        at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        absent = np.flatnonzero(ordered[at] != wanted)
        if len(absent):
            raise InputError(f"table {self.name} has no architecture {dict(architectures[int(absent[0])])}")
        return order[at]

    def index(self, architecture: Mapping[str, Any]) -> int:
        """Returns the row of one architecture; see `indices`."""
        return int(self.indices([architecture])[0])

    def column(self, name: str) -> Array:
        """Returns a column.

        Raises:
            InputError: No such column (with the near name).
        """
        if name not in self.columns:
            raise InputError(f"table {self.name} has no column {name!r}{near(name, self.columns)}")
        return self.columns[name]

    def protocol(self, name: str) -> Protocol:
        """Returns a protocol.

        Raises:
            InputError: The table has none of that name.
        """
        for known, protocol in self.protocols.items():
            if known == name:
                return protocol
        why = ": it has no column of single trainings" if name == "noisy" else near(name, self.protocols)
        raise InputError(f"table {self.name} has no protocol {name!r}{why}")

    def observed(self, fidelity: Fidelity | None = None, protocol: ProtocolName = "clean") -> Array:
        """Returns what a search is shown at a fidelity, the highest by default.

        Raises:
            InputError: The table has no such fidelity or protocol.
        """
        shown = self.protocol(protocol).observed
        fidelities = list(self.fidelities)
        if fidelity is None or fidelity == fidelities[-1]:
            return self.column(shown)
        if fidelity not in self.fidelities:
            raise InputError(f"table {self.name} has {', '.join(map(str, fidelities))}, not {fidelity}")
        return self.column(self.fidelities[fidelity])

    @property
    def objective(self) -> Objective:
        """The metric with its direction."""
        return Objective(self.metric, self.direction)

    def best(self, protocol: ProtocolName = "clean") -> float:
        """Returns the best of the column by which a search is judged."""
        judged = self.column(self.protocol(protocol).judged)
        return float(judged.max() if self.direction == "max" else judged.min())

    def regrets(self, protocol: ProtocolName = "clean") -> Array:
        """Returns how far each row is from the best, in the unit of the judged column, at least 0."""
        judged = self.column(self.protocol(protocol).judged)
        return np.abs(judged - self.best(protocol))

    def regret(self, architecture: Mapping[str, Any], protocol: ProtocolName = "clean") -> float:
        """Returns how far an architecture is from the best, in the unit of the judged column, at least 0.

        Raises:
            InputError: It is not in the table.
        """
        return float(self.regrets(protocol)[self.index(architecture)])

    def cost(self, name: str, device: str | None = None) -> Cost:
        """Returns a cost by its canonical figure: of a device where it differs by device.

        Raises:
            InputError: No such cost or device; or a device is needed.
        """
        if name in self.costs:
            return self.costs[name]
        having = [each for each, costs in self.devices.items() if name in costs]
        if device in having and device is not None:
            return self.devices[device][name]
        if not having:
            known = sorted({*self.costs, *(each for costs in self.devices.values() for each in costs)})
            raise InputError(f"table {self.name} has no cost {name!r}; it has {', '.join(known) or 'none'}")
        said = "needs a device" if device is None else f"is not known of device {device!r}"
        raise InputError(f"table {self.name}: {name} {said}; known: {', '.join(sorted(having))}")

    def figures(self, index: int, device: str | None = None) -> dict[str, Figure]:
        """Returns the costs of a row that no device or ``device`` has."""
        costs = {**self.costs, **(self.devices[device] if device is not None else {})}
        return {
            name: Figure(float(cost.values[index]), FIGURES[name], cost.error, cost.kind, note=cost.note)
            for name, cost in costs.items()
        }


def _whole(codes: npt.NDArray[Any]) -> Keys:
    """Returns each row of codes as one value that sorts. Numpy strips zeros at the end, which all rows have alike."""
    if not codes.shape[1]:
        return np.zeros(len(codes), "S1")
    rows = np.ascontiguousarray(codes)
    return rows.view(f"S{rows.itemsize * rows.shape[1]}")[:, 0]


def cleaned(values: npt.NDArray[Any]) -> Array:
    """Returns scores as float64, those not finite or marked as failed replaced by the smallest of the rest.

    Raises:
        InputError: None is left.
    """
    scores = np.asarray(values, np.float64)
    usable = np.isfinite(scores) & (scores != FAILED_SCORE)
    if not usable.any():
        raise InputError("none of the scores is finite")
    return np.where(usable, scores, scores[usable].min())
