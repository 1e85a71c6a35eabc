"""Images that come as files: a folder for each class, or a manifest of paths."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sartor.errors import DataError, MissingExtraError, near
from sartor.tasks.images._labelled import (
    TRAIN,
    UNASSIGNED,
    Labelled,
    all_grey,
    check_classes,
    choose_size,
    deep_scale,
    encode_labels,
    part_of_word,
    part_word,
)
from sartor.tasks.images.options import Options
from sartor.tasks.images.preprocess import (
    PILLOW_ERRORS,
    SIXTEEN_BITS,
    Form,
    is_deep,
    is_grey,
    reason,
    to_pixels,
)
from sartor.units import first_of

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
MAX_UNREADABLE = 0.1
"""Share of images that may be broken: beyond it the data, not single files, are at fault."""
NUM_NAMED = 3
_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Entry:
    """One image file, the name of its class and its part."""

    path: Path
    label: str
    part: int


@dataclass(frozen=True)
class _Header:
    height: int
    width: int
    grey: bool
    deepest: int


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _class_entries(path: Path, part: int) -> list[Entry]:
    return [
        Entry(file, folder.name, part)
        for folder in _folders(path)
        for file in sorted(folder.rglob("*"))
        if _is_image(file)
    ]


def list_folder(path: Path) -> tuple[list[Entry], list[str]]:
    """Returns the images of a folder of class folders, perhaps below folders for parts, and notes.

    Raises:
        DataError: no images, images without class folders, or a part without them.
    """
    while len(_folders(path)) == 1 and not any(map(_is_image, path.iterdir())) and _folders(_folders(path)[0]):
        # A zip unpacked to photos/photos/<class>/.
        path = _folders(path)[0]
    folders = _folders(path)
    parts = {folder: part_word(folder.name) for folder in folders}
    notes: list[str] = []
    if folders and TRAIN in parts.values() and None not in parts.values():
        entries = []
        for folder, part in parts.items():
            assert part is not None
            found = _class_entries(folder, part)
            if not found and part == TRAIN:
                raise DataError(f"{folder} holds no folder of images for each class")
            if not found:
                notes.append(f"{folder} holds no class folders and is not used: its images have no labels")
            entries.extend(found)
        return entries, notes
    entries = _class_entries(path, UNASSIGNED)
    loose = sum(map(_is_image, path.iterdir()))
    if entries:
        if loose:
            notes.append(f"{loose} images directly in {path} have no class folder and are not used")
        return entries, notes
    if loose:
        raise DataError(f"{path} holds {loose} images but no folder for each class: their labels are missing")
    raise DataError(
        f"{path} holds no images: expected a folder of images for each class ({', '.join(EXTENSIONS[:3])} ...), IDX"
        " files, an .npz or a manifest"
    )


# --- manifests

_PATH_COLUMNS = ("path", "file", "filename", "image", "image_path", "filepath")
_LABEL_COLUMNS = ("label", "class", "target", "category")
_SPLIT_COLUMNS = ("split", "part", "subset", "set", "fold")


def _column(names: Sequence[str], known: Sequence[str]) -> str | None:
    lower = {name.strip().lower(): name for name in names}
    return next((lower[name] for name in known if name in lower), None)


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            rows = list(reader)
            return list(reader.fieldnames or []), rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}") from error


def _read_parquet(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("reading Parquet manifests", "pyarrow", "images") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    rows = [{k: None if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()]
    return table.column_names, rows


def list_manifest(path: Path) -> tuple[list[Entry], list[str]]:
    """Returns the images that a CSV or Parquet manifest names, and notes; paths are relative to the manifest.

    Raises:
        DataError: unreadable, columns missing, rows without path or label, unknown splits.
    """
    names, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    path_column, label_column = _column(names, _PATH_COLUMNS), _column(names, _LABEL_COLUMNS)
    split_column = _column(names, _SPLIT_COLUMNS)
    if path_column is None or label_column is None:
        raise DataError(
            f"{path}: expected a header with the columns path, label and perhaps split,"
            f" got {', '.join(names) or 'none'}"
        )
    entries, bare = [], []
    for number, row in enumerate(rows, 1):
        file, label = (row[path_column] or "").strip(), (row[label_column] or "").strip()
        if not file or not label:
            bare.append(number)
            continue
        split = (row[split_column] or "").strip() if split_column else ""
        part = part_of_word(split, f"{path}, row {number}") if split else TRAIN if split_column else UNASSIGNED
        entries.append(Entry(path.parent / file, label, part))
    if bare:
        raise DataError(
            f"{path}: {len(bare)} rows lack a path or a label, e.g. rows {bare[:NUM_NAMED]}: fill or delete them"
        )
    if not entries:
        raise DataError(f"{path} names no images")
    if {entry.part for entry in entries} == {TRAIN}:
        entries = [Entry(entry.path, entry.label, UNASSIGNED) for entry in entries]
    return entries, []


# --- from files to labelled pictures


def _header(path: Path) -> _Header | str:
    """Returns what an image's header tells, or why it cannot be read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION) in _TURNED:
                width, height = height, width
            # Only the pixels tell how much of their range deep images use.
            deepest = int(np.asarray(image).max(initial=0)) if is_deep(image.mode) else 0
            return _Header(height, width, is_grey(image), deepest)
    except PILLOW_ERRORS as error:
        return "no such file" if isinstance(error, FileNotFoundError) else reason(error)


def _pixels(path: Path, form: Form) -> np.ndarray | str:
    try:
        with Image.open(path) as image:
            return to_pixels(image, form)
    except PILLOW_ERRORS as error:
        return reason(error)


def read_files(entries: Sequence[Entry], where: str, options: Options, notes: Sequence[str] = ()) -> Labelled:
    """Returns labelled pictures decoded from files.

    Raises:
        DataError: one class, or more than one in ten images unreadable (the first are named).
    """
    check_classes(sorted({entry.label for entry in entries}), where)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        headers = list(pool.map(_header, (entry.path for entry in entries)))
        good = [header for header in headers if isinstance(header, _Header)]
        if not good:
            raise DataError(_unreadable(entries, headers, where))
        height, width = choose_size(np.array([(h.height, h.width) for h in good]), options.size)
        channels = options.channels or (1 if all(h.grey for h in good) else 3)
        deepest = max(h.deepest for h in good)
        form = Form(height, width, channels, options.fit, deep_scale(deepest) if deepest else SIXTEEN_BITS)
        decoded = list(
            pool.map(
                lambda item: item[1] if isinstance(item[1], str) else _pixels(item[0].path, form),
                zip(entries, headers, strict=True),
            )
        )
    kept = [(entry, array) for entry, array in zip(entries, decoded, strict=True) if not isinstance(array, str)]
    num_broken = len(entries) - len(kept)
    if num_broken > MAX_UNREADABLE * len(entries):
        raise DataError(_unreadable(entries, decoded, where))
    notes = [*notes, *([_unreadable(entries, decoded, where)] if num_broken else [])]
    check_classes(sorted({entry.label for entry, _ in kept}), where)
    pixels = np.stack([array for _, array in kept])
    if options.channels is None and channels == 3 and all_grey(pixels):
        pixels, form = np.ascontiguousarray(pixels[:, :1]), Form(height, width, 1, form.fit, form.deep_max)
    labels, classes = encode_labels([entry.label for entry, _ in kept])
    parts = np.array([entry.part for entry, _ in kept], np.int8)
    return Labelled(pixels, labels, parts, classes, form, tuple(notes))


def _unreadable(entries: Sequence[Entry], results: Sequence[object], where: str) -> str:
    broken = [(entry.path, why) for entry, why in zip(entries, results, strict=True) if isinstance(why, str)]
    named = first_of([f"{path}: {why}" for path, why in broken], NUM_NAMED, "; ")
    missing = [path for path, why in broken if why == "no such file"]
    hint = ""
    if missing and missing[0].parent.is_dir():
        beside = [entry.name for entry in missing[0].parent.iterdir()]
        hint = near(missing[0].name, beside) if 0 < len(beside) < 1000 else ""
    left = "are left out" if len(broken) <= MAX_UNREADABLE * len(entries) else "cannot be read"
    return f"{where}: {len(broken)} of {len(entries)} images {left} ({named}){hint}"
