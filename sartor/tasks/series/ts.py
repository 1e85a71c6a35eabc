"""Files of the UEA and UCR archives of time series (``.ts``) as columns, a row an observation. No torch.

A line holds a series: its channels and then its label, separated by colons; a channel is numbers, ``?`` or ``NaN``
where one is missing, or pairs ``(time,value)``. Series and channels may differ in length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sartor.columns import DAY_S, Column
from sartor.data import TEST, TRAIN
from sartor.errors import DataError

SUFFIX = ".ts"
ID, TIME, LABEL, SPLIT = "id", "time", "label", "split"
_ABSENT = ("?", "nan", "")
_CHANNELS = re.compile(r":(?![^(]*\))")
"""Colons that are in no pair, as those of a time of day are."""
_PAIR = re.compile(r"\(([^(),]*),([^()]*)\)")


def read_ts(path: Path) -> dict[str, Column]:
    """Returns the columns of a file: ``id``, ``time``, ``channel_1`` ..., ``label`` where it has one.

    The test file of an archive beside a training file (``NAME_TEST.ts``, ``NAME_TRAIN.ts``) is read too; ``split``
    then tells them apart. Times without stamps count from 0.

    Raises:
        DataError: no such file, or a line that is not of the format.
    """
    files = [path]
    if path.stem.upper().endswith("_TRAIN"):
        test = path.with_name(path.stem[: -len("TRAIN")] + "TEST" + path.suffix)
        files += [test] if test.is_file() else []
    series: list[list[tuple[Sequence[float], Sequence[float]]]] = []
    labels: list[str] = []
    parts: list[int] = []
    dates = numbers = False
    for part, file in enumerate(files):
        found, own, kind, is_number = _read(file)
        if part and kind != dates:
            raise DataError(f"{file}: its times are of another kind than those of {path.name}")
        dates, numbers = kind, is_number
        series += found
        labels += own
        parts += [part] * len(found)
    width = {len(each) for each in series}
    if len(width) != 1:
        raise DataError(f"{path}: series have {min(width)} to {max(width)} channels: expected the same number in all")
    columns = _columns(series, labels, width.pop(), dates=dates, numbers=numbers)
    if len(files) > 1:
        which = np.repeat(parts, [_num_rows(each) for each in series]).astype(np.int64)
        columns[SPLIT] = Column(SPLIT, "category", which, (TRAIN, TEST))
    return columns


def _read(path: Path) -> tuple[list[list[tuple[Sequence[float], Sequence[float]]]], list[str], bool, bool]:
    """Returns for each series its channels as times and values, the labels, and whether these are dates and numbers."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    header: dict[str, str] = {}
    series: list[list[tuple[Sequence[float], Sequence[float]]]] = []
    labels: list[str] = []
    data = dates = False
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line[0] in "#%":
            continue
        if not data:
            if line[0] != "@":
                raise DataError(f"{path}, line {number}: expected @ and a name before @data, got {line[:40]!r}")
            name, _, value = line[1:].partition(" ")
            data = name.lower() == "data"
            header[name.lower()] = value.strip().lower()
            continue
        fields = _CHANNELS.split(line)
        if _labelled(header):
            labels.append(fields.pop().strip())
        if not fields:
            raise DataError(f"{path}, line {number}: expected channels and a label, separated by colons")
        channels = []
        for field in fields:
            moments, values, stamped = _channel(path, number, field, header.get("timestamps") == "true")
            dates |= stamped
            channels.append((moments, values))
        series.append(channels)
    if not series:
        raise DataError(f"{path} holds no series: expected lines after @data")
    return series, labels, dates, header.get("targetlabel", "false").startswith("true")


def _labelled(header: dict[str, str]) -> bool:
    return any(header.get(name, "false").startswith("true") for name in ("classlabel", "targetlabel"))


def _channel(path: Path, line: int, text: str, stamped: bool) -> tuple[Sequence[float], Sequence[float], bool]:
    """Returns times and values of a channel, and whether times are dates."""
    if not stamped:
        if "(" in text:
            raise DataError(f"{path}, line {line}: holds times, but @timestamps is not true")
        values = [_number(path, line, each) for each in text.split(",")]
        return range(len(values)), values, False
    pairs = _PAIR.findall(text)
    if not pairs or _PAIR.sub("", text).strip(", "):
        raise DataError(f"{path}, line {line}: expected pairs (time,value), got {text[:40]!r}")
    moments = [_moment(path, line, moment) for moment, _ in pairs]
    dates = any(date for _, date in moments)
    return [moment for moment, _ in moments], [_number(path, line, value) for _, value in pairs], dates


def _number(path: Path, line: int, text: str) -> float:
    text = text.strip()
    if text.lower() in _ABSENT:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{path}, line {line}: expected a number or ?, got {text[:40]!r}") from None
    if np.isinf(value):
        raise DataError(f"{path}, line {line}: holds an infinite number")
    return value


def _moment(path: Path, line: int, text: str) -> tuple[float, bool]:
    """Returns a time, and whether it is a date, in days."""
    try:
        return float(text), False
    except ValueError:
        pass
    try:
        stamp = datetime.fromisoformat(text.strip())
    except ValueError:
        raise DataError(f"{path}, line {line}: expected a time as a number or in ISO 8601, got {text[:40]!r}") from None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() / DAY_S, True


def _num_rows(channels: Sequence[tuple[Sequence[float], Sequence[float]]]) -> int:
    return sum(len(moments) for moments, _ in channels) if _differ(channels) else len(channels[0][0])


def _differ(channels: Sequence[tuple[Sequence[float], Sequence[float]]]) -> bool:
    """Whether channels were not observed at the same times; each then has rows of its own, which are merged later."""
    first = channels[0][0]
    return any(moments != first for moments, _ in channels)


def _columns(
    series: Sequence[Sequence[tuple[Sequence[float], Sequence[float]]]],
    labels: Sequence[str],
    num_channels: int,
    *,
    dates: bool,
    numbers: bool,
) -> dict[str, Column]:
    times, values = [], []
    for channels in series:
        if not _differ(channels):
            times.append(np.asarray(channels[0][0], np.float64))
            values.append(np.array([each for _, each in channels], np.float64).T)
            continue
        for i, (moments, own) in enumerate(channels):
            rows = np.full((len(moments), num_channels), np.nan)
            rows[:, i] = own
            times.append(np.asarray(moments, np.float64))
            values.append(rows)
    counts = [_num_rows(each) for each in series]
    which = np.repeat(np.arange(len(series)), counts)
    table = np.concatenate(values)
    columns = [
        Column(ID, "category", which, tuple(str(i + 1) for i in range(len(series)))),
        Column(TIME, "date" if dates else "number", np.concatenate(times)),
        *(Column(f"channel_{i + 1}", "number", table[:, i]) for i in range(num_channels)),
    ]
    if labels:
        columns.append(_label(labels, which, numbers=numbers))
    return {column.name: column for column in columns}


def _label(labels: Sequence[str], which: np.ndarray, *, numbers: bool) -> Column:
    absent = [text.lower() in _ABSENT for text in labels]
    if numbers:
        values = [np.nan if gone else float(text) for text, gone in zip(labels, absent, strict=True)]
        return Column(LABEL, "number", np.array(values)[which])
    names = sorted({text for text, gone in zip(labels, absent, strict=True) if not gone})
    codes = [-1 if gone else names.index(text) for text, gone in zip(labels, absent, strict=True)]
    return Column(LABEL, "category", np.array(codes, np.int64)[which], tuple(names))
