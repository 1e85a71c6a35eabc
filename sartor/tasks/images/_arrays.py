"""Images that come as arrays: IDX, NPZ, scikit-learn's digits."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sartor.errors import DataError, near
from sartor.tasks.images._labelled import (
    TEST,
    TRAIN,
    UNASSIGNED,
    VALIDATION,
    Labelled,
    all_grey,
    check_classes,
    choose_size,
    deep_scale,
    encode_labels,
)
from sartor.tasks.images.options import Options
from sartor.tasks.images.preprocess import EIGHT_BITS, SIXTEEN_BITS, Form, to_pixels

# --- from arrays to labelled pictures


def from_arrays(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    parts: Sequence[int],
    where: str,
    options: Options,
    classes: Sequence[str] | None = None,
) -> Labelled:
    """Returns labelled pictures from arrays, one of images and one of labels for each part.

    Args:
        images: Of shape ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``, ``c`` 1, 3 or 4; bytes, wider integers,
            floats 0..1 or 0..255.
        labels: Integers, text, or one-hot rows.
        parts: Which part each is.
        where: What to call them in errors.
        options: Size, channels, fit.
        classes: Names of integer labels, or None.

    Raises:
        DataError: shapes, types, lengths or values that are none of these.
    """
    names: list[str] = []
    for image, label in zip(images, labels, strict=True):
        if len(image) != len(label):
            raise DataError(f"{where}: {len(image)} images but {len(label)} labels: each image needs one label")
        names.extend(_label_names(label, where, classes))
    if not names:
        raise DataError(f"{where}: it holds no images")
    stacked = [_channels_first(image, where) for image in images]
    shapes = {array.shape[1:] for array in stacked}
    if len(shapes) > 1:
        raise DataError(f"{where}: the parts hold images of different shapes (channels, height, width): {shapes}")
    deep_max = SIXTEEN_BITS
    if stacked[0].dtype.kind in "iu" and stacked[0].dtype.itemsize > 1:
        largest = max(int(array.max(initial=0)) for array in stacked)
        deep_max = deep_scale(largest) if largest > EIGHT_BITS else SIXTEEN_BITS
    unit_floats = stacked[0].dtype.kind == "f" and max(float(array.max(initial=0)) for array in stacked) <= 1.0
    pixels = np.concatenate([_to_bytes(array, deep_max, unit_floats, where) for array in stacked])
    if pixels.shape[1] == 4:
        alpha = pixels[:, 3:].astype(np.float32) / EIGHT_BITS
        pixels = np.rint(pixels[:, :3] * alpha + EIGHT_BITS * (1 - alpha)).astype(np.uint8)
    if options.channels is None and pixels.shape[1] == 3 and all_grey(pixels):
        pixels = np.ascontiguousarray(pixels[:, :1])
    channels = options.channels or pixels.shape[1]
    height, width = choose_size(np.array([pixels.shape[2:]]), options.size)
    form = Form(height, width, channels, options.fit, deep_max)
    if pixels.shape[1:] != (channels, height, width):
        pixels = np.stack([to_pixels(_picture(image), form) for image in pixels])
    if classes is not None:
        order = {name: i for i, name in enumerate(classes)}
        encoded = np.array([order[name] for name in names], np.int64)
        known = tuple(classes)
    else:
        encoded, known = encode_labels(names)
    check_classes(sorted(set(names)), where)
    part = np.concatenate([np.full(len(image), p, np.int8) for image, p in zip(images, parts, strict=True)])
    return Labelled(pixels, encoded, part, known, form)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _channels_first(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[3] in (1, 3, 4):
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] in (1, 3, 4):
        return array
    raise DataError(
        f"{where}: expected images of shape (n, height, width), (n, height, width, channels) or (n, channels, height,"
        f" width) with 1, 3 or 4 channels, got {array.shape}{': reshape the rows to images' if array.ndim == 2 else ''}"
    )


def _to_bytes(array: np.ndarray, deep_max: int, unit_floats: bool, where: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(EIGHT_BITS)
    if array.dtype.kind not in "iuf" or array.size and not np.isfinite(array).all():
        raise DataError(f"{where}: expected finite numbers as pixels, got {array.dtype}")
    low, high = float(array.min(initial=0)), float(array.max(initial=0))
    top = SIXTEEN_BITS if array.dtype.kind in "iu" else EIGHT_BITS
    if low < 0 or high > top:
        raise DataError(
            f"{where}: expected pixels of 0..255, 0..65535 (integers) or 0..1 (floats), got {low:g}..{high:g}: undo the"
            " standardisation, the network does it itself"
        )
    if array.dtype.kind == "f":
        scale = float(EIGHT_BITS) if unit_floats else 1.0
    else:
        scale = EIGHT_BITS / deep_max if high > EIGHT_BITS or deep_max != SIXTEEN_BITS else 1.0
    return np.ascontiguousarray(np.rint(array * scale).astype(np.uint8))


def _label_names(labels: np.ndarray, where: str, classes: Sequence[str] | None) -> list[str]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "iufb":
        if not ((labels == 0) | (labels == 1)).all() or not (labels.sum(1) == 1).all():
            raise DataError(f"{where}: labels of shape {labels.shape} must be one-hot: one 1 a row, else 0")
        labels = labels.argmax(1)
    if labels.ndim != 1:
        raise DataError(f"{where}: expected labels of shape (n,) or one-hot (n, classes), got {labels.shape}")
    if labels.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in labels.tolist()]
    if labels.dtype.kind == "U":
        missing = int(np.count_nonzero(np.char.strip(labels) == ""))
        if missing:
            raise DataError(f"{where}: {missing} labels are empty text")
        return [str(value) for value in labels]
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or not (labels == np.rint(labels)).all():
            raise DataError(f"{where}: labels must be whole numbers or text, got {labels.dtype} with fractions or NaN")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iub":
        raise DataError(f"{where}: expected labels as whole numbers or text, got {labels.dtype}")
    if classes is None:
        return [str(int(value)) for value in labels]
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(classes)):
        raise DataError(f"{where}: labels of {labels.min()}..{labels.max()}, but {len(classes)} class names")
    return [str(classes[value]) for value in labels.tolist()]


# --- scikit-learn's digits


def read_digits(options: Options) -> Labelled:
    """Returns scikit-learn's digits: 1,797 grey 8x8 images; their 17 levels become 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (EIGHT_BITS / 16)).astype(np.uint8)
    return from_arrays([images], [bunch.target], [UNASSIGNED], "digits", options)


# --- IDX

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_NAME = re.compile(r"(?=.*images?)(?=.*idx[34])", re.IGNORECASE)


def is_idx_images(path: Path) -> bool:
    """Whether a file is named as IDX images are (``train-images-idx3-ubyte``, ``t10k-images.idx3-ubyte.gz``)."""
    return bool(_IDX_NAME.match(path.name))


def read_idx(path: Path) -> np.ndarray:
    """Returns the array of an IDX file (LeCun's format), plain or gzipped.

    Raises:
        DataError: not IDX, or shorter than its header says.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise DataError(f"{path} is no IDX file: expected it to begin with 00 00, a type and a rank, got {data[:4]!r}")
    rank, dtype = data[3], np.dtype(_IDX_TYPES[data[2]])
    start = 4 + 4 * rank
    if len(data) < start:
        raise DataError(f"{path} ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", rank, 4))
    count = int(np.prod(shape, dtype=np.int64))
    if len(data) - start != count * dtype.itemsize:
        raise DataError(
            f"{path} says {shape}, so {count * dtype.itemsize} bytes, but holds {len(data) - start}: copy it again"
        )
    array = np.frombuffer(data, dtype, count, start).reshape(shape)
    return array if dtype.itemsize == 1 else array.astype(dtype.newbyteorder("="))


def _labels_beside(images: Path) -> Path:
    text = re.sub("idx[34]", lambda m: m.group().replace("3", "1").replace("4", "1"), images.name, flags=re.IGNORECASE)
    wanted = re.sub("image", lambda m: "Label" if m.group()[0].isupper() else "label", text, flags=re.IGNORECASE)
    plain = wanted.removesuffix(".gz")
    for name in (wanted, plain, f"{plain}.gz"):
        if (images.parent / name).is_file():
            return images.parent / name
    beside = [entry.name for entry in images.parent.iterdir()]
    raise DataError(f"{images} has no labels: expected {wanted} beside it{near(wanted, beside) if beside else ''}")


def _idx_part(path: Path) -> int:
    name = path.name.lower()
    if "t10k" in name or "test" in name:
        return TEST
    return VALIDATION if "val" in name or "dev" in name else TRAIN


def read_idx_files(
    files: Sequence[Path], where: str, options: Options, classes: Sequence[str] | None = None
) -> Labelled:
    """Returns labelled pictures from files of IDX images and the labels beside them.

    Args:
        files: Of images; a plain file wins over the same one gzipped.
        where: What to call them in errors.
        options: Size, channels, fit.
        classes: Names of the labels, or None.

    Raises:
        DataError: labels missing, files broken, several files for one part.
    """
    chosen: dict[str, Path] = {}
    for path in sorted(files):
        chosen.setdefault(path.name.removesuffix(".gz"), path)
    parts = [_idx_part(path) for path in chosen.values()]
    if len(set(parts)) < len(parts):
        raise DataError(
            f"{where} holds several sets of IDX images ({', '.join(sorted(chosen))}): name the file of images to use"
        )
    images = [read_idx(path) for path in chosen.values()]
    labels = [read_idx(_labels_beside(path)) for path in chosen.values()]
    return from_arrays(images, labels, parts, where, options, classes)


# --- NPZ

_PAIRS = (("x", "y"), ("images", "labels"), ("image", "label"), ("data", "target"), ("data", "targets"),
          ("data", "labels"), ("imgs", "labels"), ("x", "labels"))  # fmt: skip
_PART_TAGS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
_CLASS_KEYS = ("classes", "class_names", "label_names", "names")


def _npz_pairs(keys: Sequence[str]) -> list[tuple[str, str, int]]:
    """Returns (images key, labels key, part), those of parts if there are any, else the one pair."""
    by_lower = {key.lower(): key for key in keys}
    found: dict[int, tuple[str, str, int]] = {}
    for tag, part in _PART_TAGS.items():
        for x, y in _PAIRS:
            for images, labels in ((f"{x}_{tag}", f"{y}_{tag}"), (f"{tag}_{x}", f"{tag}_{y}")):
                if images in by_lower and labels in by_lower:
                    found.setdefault(part, (by_lower[images], by_lower[labels], part))
    if TRAIN in found:
        return list(found.values())
    for x, y in _PAIRS:
        if x in by_lower and y in by_lower:
            return [(by_lower[x], by_lower[y], UNASSIGNED)]
    return []


def read_npz(path: Path, options: Options) -> Labelled:
    """Returns labelled pictures from an ``.npz``.

    Raises:
        DataError: not an NPZ, keys that are none of those known, ragged arrays, labels missing.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds one array, not images and labels: save np.savez(path, x=..., y=...)")
            pairs = _npz_pairs(file.files)
            if not pairs:
                raise DataError(
                    f"{path}: expected arrays x and y, images and labels, or x_train, y_train (x_test, y_test);"
                    f" got {', '.join(file.files) or 'none'}"
                )
            arrays = {key: _member(file, key, path) for pair in pairs for key in pair[:2]}
            names = next((_member(file, key, path) for key in _CLASS_KEYS if key in file.files), None)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not a readable NPZ file: {error}") from error
    classes = None if names is None else [str(name) for name in names.tolist()]
    if classes is not None and any(arrays[pair[1]].dtype.kind in "US" for pair in pairs):
        classes = None
    return from_arrays(
        [arrays[pair[0]] for pair in pairs],
        [arrays[pair[1]] for pair in pairs],
        [pair[2] for pair in pairs],
        str(path),
        options,
        classes,
    )


def _member(file: Mapping[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    try:
        return np.atleast_1d(file[key])
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"{path}: {key!r} is ragged or of Python objects: images must have one size in an NPZ; give images of"
            " several sizes as a folder for each class"
        ) from error
