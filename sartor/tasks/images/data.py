"""From a source to the parts of a data set: read, find copies, split, count what a person should know."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sartor.errors import DataError, near
from sartor.tasks.images._arrays import is_idx_images, read_digits, read_idx_files, read_npz
from sartor.tasks.images._files import EXTENSIONS, list_folder, list_manifest, read_files
from sartor.tasks.images._labelled import TEST, TRAIN, UNASSIGNED, VALIDATION, Labelled
from sartor.tasks.images.options import Options

NAMED = ("digits", "fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DATA_FOLDERS = ("/usr/share/datasets", "/usr/local/share/datasets")
"""Where packages put data sets, after the folders of the environment variable SARTOR_DATA."""
UNBALANCED = 10.0
"""Images of the largest class over those of the smallest at which a person is told."""


@dataclass(frozen=True)
class Parts:
    """A data set in parts.

    Attributes:
        labelled: Pictures and labels; ``parts`` says which part each is in.
        ids: int64, shape ``(n,)``: hashes of the pixels, equal for exact copies.
        fingerprint: Hash of pixels, labels, classes and parts.
        notes: Counted warnings.
    """

    labelled: Labelled
    ids: np.ndarray
    fingerprint: str
    notes: tuple[str, ...]

    def rows_of(self, part: int) -> np.ndarray:
        """Returns the row numbers of a part."""
        return np.flatnonzero(self.labelled.parts == part)


def load(source: str | None, options: Options) -> Parts:
    """Returns the parts of a source; the same for the same source and options.

    Raises:
        DataError: see the page of the task.
    """
    return assign(read(source, options), options)


def read(source: str | None, options: Options) -> Labelled:
    """Returns labelled pictures from a named data set, a folder or a file.

    Raises:
        DataError: no such path or name (with the near one), or of no kind that is read.
    """
    if source is None or source == "digits":
        return read_digits(options)
    if source == "fashion-mnist":
        return _read_fashion(options)
    path = Path(source).expanduser()
    if not path.exists():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = near(path.name, [*beside, *NAMED]) if len(beside) < 1000 else ""
        raise DataError(f"no data at {source}: expected a path, or one of {', '.join(NAMED)}{hint}")
    if path.is_dir():
        files = [file for file in path.iterdir() if file.is_file()]
        images = [file for file in files if is_idx_images(file)]
        if images:
            return read_idx_files(images, str(path), options)
        archives = [file for file in files if file.suffix.lower() == ".npz"]
        if len(archives) == 1 and not any(file.suffix.lower() in EXTENSIONS for file in files):
            return read_npz(archives[0], options)
        entries, notes = list_folder(path)
        return read_files(entries, str(path), options, notes)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_npz(path, options)
    if suffix in (".csv", ".tsv", ".parquet"):
        entries, notes = list_manifest(path)
        return read_files(entries, str(path), options, notes)
    if is_idx_images(path):
        labelled = read_idx_files([path], str(path), options)
        return replace(labelled, parts=np.full_like(labelled.parts, UNASSIGNED))
    raise DataError(
        f"{path} is of no kind that is read: expected a folder with a folder of images for each class, IDX files"
        " (train-images-idx3-ubyte), an .npz of images and labels, or a .csv or .parquet manifest"
    )


def _read_fashion(options: Options) -> Labelled:
    own = [folder for folder in os.environ.get("SARTOR_DATA", "").split(os.pathsep) if folder]
    for folder in (*own, *DATA_FOLDERS):
        path = Path(folder).expanduser() / "fashion-mnist"
        images = [file for file in path.iterdir() if is_idx_images(file)] if path.is_dir() else []
        if images:
            return read_idx_files(images, str(path), options, FASHION_CLASSES)
    raise DataError(
        "fashion-mnist is not installed: install it with apt-get install dataset-fashion-mnist, or put its IDX files in"
        f" a folder fashion-mnist below one that SARTOR_DATA names (looked in {', '.join([*own, *DATA_FOLDERS])})"
    )


# --- parts


def content_ids(pixels: np.ndarray) -> np.ndarray:
    """Returns a 63-bit hash of each picture, int64 of shape ``(n,)``; equal pictures have equal ones."""
    size = pixels[0].nbytes
    view = np.ascontiguousarray(pixels).data.cast("B")
    blake = hashlib.blake2b
    digests = b"".join(blake(view[i * size : (i + 1) * size], digest_size=8).digest() for i in range(len(pixels)))
    return np.frombuffer(digests, np.int64) & np.int64(2**63 - 1)


def assign(labelled: Labelled, options: Options) -> Parts:
    """Returns the data with every picture in a part.

    Exact copies go together. Given parts are honoured; of copies in several, test keeps them, then validation. A part
    that is not given is drawn: stratified by class, seeded, at least one picture of each class.

    Raises:
        DataError: a class with too few different pictures for each part, or of which training has none.
    """
    notes = list(labelled.notes)
    ids = content_ids(labelled.pixels)
    labelled, ids = _taken(labelled, ids, _in_one_part(labelled, ids, notes))
    given = labelled.parts
    if (given != UNASSIGNED).any() and not (given == TRAIN).any():
        raise DataError("the data give parts, but none for training: expected a part named train")
    drawn = [(TEST, options.test)] if options.test > 0 and not (given == TEST).any() else []
    drawn += [(VALIDATION, options.validation)] if not (given == VALIDATION).any() else []
    labelled = replace(labelled, parts=np.where(given == UNASSIGNED, TRAIN, given).astype(np.int8))
    labelled, ids = _without_rare(labelled, ids, 1 + len(drawn), options.leave_out_rare, notes)
    labelled = replace(labelled, parts=_draw(labelled, ids, drawn, options.split_seed))
    counts = np.bincount(labelled.labels[labelled.parts == TRAIN], minlength=len(labelled.classes))
    if counts.max() >= UNBALANCED * counts.min():
        low, high = int(counts.argmin()), int(counts.argmax())
        notes.append(
            f"classes are unbalanced: {labelled.classes[high]!r} has {counts[high]} training images,"
            f" {labelled.classes[low]!r} {counts[low]}: look at balanced_accuracy too"
        )
    return Parts(labelled, ids, _fingerprint(labelled), tuple(notes))


def _taken(labelled: Labelled, ids: np.ndarray, keep: np.ndarray) -> tuple[Labelled, np.ndarray]:
    if keep.all():
        return labelled, ids
    rows = {name: getattr(labelled, name)[keep] for name in ("pixels", "labels", "parts")}
    return replace(labelled, **rows), ids[keep]


def _in_one_part(labelled: Labelled, ids: np.ndarray, notes: list[str]) -> np.ndarray:
    """Returns which pictures stay, bool of shape ``(n,)``, so that no copies are in two given parts."""
    _, first, group = np.unique(ids, return_index=True, return_inverse=True)
    if len(first) == len(ids):
        return np.ones(len(ids), bool)
    # The numbers of the parts ascend in the order in which they keep copies.
    best = np.full(len(first), UNASSIGNED, np.int8)
    np.maximum.at(best, group, labelled.parts)
    keep: np.ndarray = labelled.parts == best[group]
    num_copies = len(ids) - len(first)
    text = f"{num_copies} images are exact copies of others"
    if keep.all():
        notes.append(f"{text}: copies stay in one part")
    else:
        notes.append(f"{text}: {int((~keep).sum())} are left out of training or validation, as a later part has them")
    differ = np.unique(group[labelled.labels != labelled.labels[first][group]])
    if len(differ):
        notes.append(f"{len(differ)} images are given with several labels")
    return keep


def _without_rare(
    labelled: Labelled, ids: np.ndarray, need: int, leave_out: bool, notes: list[str]
) -> tuple[Labelled, np.ndarray]:
    """Returns the data without classes of which training has fewer than ``need`` different pictures, if allowed."""
    num_classes = len(labelled.classes)
    train = labelled.parts == TRAIN
    different = np.array([len(np.unique(ids[train & (labelled.labels == label)])) for label in range(num_classes)])
    present = np.bincount(labelled.labels, minlength=num_classes) > 0
    rare = present & (different < need)
    named = ", ".join(f"{labelled.classes[i]!r} ({different[i]})" for i in np.flatnonzero(rare)[:10])
    if rare.any() and not leave_out:
        raise DataError(
            f"expected at least {need} different images of each class for training and the parts drawn from it, got"
            f" fewer for {named}: add images, remove the class, or leave such classes out by leave_out_rare"
        )
    # Names without an image, in a file that lists more classes than it holds, are no classes.
    kept = np.flatnonzero(present & ~rare)
    if rare.any():
        notes.append(f"{int(rare.sum())} classes are left out for fewer than {need} different images: {named}")
    if len(kept) < 2:
        raise DataError(f"fewer than two classes have {need} different images; too few: {named}")
    if len(kept) == num_classes:
        return labelled, ids
    number = np.full(num_classes, -1, np.int64)
    number[kept] = np.arange(len(kept))
    labelled, ids = _taken(labelled, ids, number[labelled.labels] >= 0)
    return replace(
        labelled, labels=number[labelled.labels], classes=tuple(labelled.classes[i] for i in kept)
    ), ids


def _draw(labelled: Labelled, ids: np.ndarray, drawn: list[tuple[int, float]], seed: int) -> np.ndarray:
    """Returns the part of each picture after drawing parts from training: int8, shape ``(n,)``."""
    _, first, group = np.unique(ids, return_index=True, return_inverse=True)
    # Copies are drawn as one, with the label of the first.
    group_part, group_label = labelled.parts[first], labelled.labels[first]
    rng = np.random.default_rng([seed, 0x1A6E5])
    for label in range(len(labelled.classes)):
        rows = rng.permutation(np.flatnonzero((group_part == TRAIN) & (group_label == label)))
        total, start = len(rows), 0
        for i, (part, share) in enumerate(drawn):
            # What is left must give one to each part yet to be drawn, and one to training.
            take = min(max(1, round(share * total)), total - start - (len(drawn) - i))
            group_part[rows[start : start + max(0, take)]] = part
            start += max(0, take)
    parts: np.ndarray = group_part[group]
    return parts


def _fingerprint(labelled: Labelled) -> str:
    digest = hashlib.sha256()
    digest.update(repr((labelled.pixels.shape, labelled.classes, labelled.form)).encode())
    for array in (labelled.pixels, labelled.labels, labelled.parts):
        digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()[:16]
