"""One image file to the network's input: the same in training and behind an exported network. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import DataError, MissingExtraError, near
from sartor.export.examples import Examples

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ModuleNotFoundError as error:
    if error.name != "PIL":
        raise
    raise MissingExtraError("reading images", "pillow", "images") from error

PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for files that it cannot decode (broken PNG chunks are a SyntaxError)."""

EIGHT_BITS = 255
SIXTEEN_BITS = 65535


@dataclass(frozen=True)
class Form:
    """What every image is brought to.

    Attributes:
        height, width: In pixels.
        channels: 1 (grey) or 3 (RGB).
        fit: ``pad`` scales the whole image inside and leaves black around it, ``crop`` fills and cuts the middle
            out, ``stretch`` ignores the aspect.
        deep_max: What is white in images of more than 8 bits.
    """

    height: int
    width: int
    channels: int
    fit: str = "pad"
    deep_max: int = SIXTEEN_BITS

    def describe(self) -> dict[str, Any]:
        """Returns JSON that ``from_description`` reads, with what is the same for all networks of the task."""
        return {
            **dataclasses.asdict(self),
            "layout": "NCHW",
            "dtype": "float32",
            "range": [0.0, 1.0],
            "resample": "bilinear",
            "transparency": "white",
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Form:
        """Reads the ``input`` of a task's description.

        Raises:
            DataError: it is not there, or lacks a field.
        """
        found = description.get("input")
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(found, Mapping) or any(name not in found for name in names):
            raise DataError(
                f"expected a description whose 'input' has {', '.join(names)}, got {found!r}: was it exported by the"
                " images task?"
            )
        return cls(**{name: found[name] for name in names})


def is_deep(mode: str) -> bool:
    """Whether a Pillow mode holds integers of more than 8 bits."""
    return mode == "I" or mode.startswith("I;16")


def is_grey(image: Image.Image) -> bool:
    """Whether a picture is grey by its mode or palette (an RGB one may be grey by its pixels)."""
    if image.mode == "P":
        colours = np.asarray(image.getpalette() or [], np.uint8).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La") or is_deep(image.mode)


def to_pixels(image: Image.Image, form: Form) -> np.ndarray:
    """Returns a picture in that form: uint8, shape ``(channels, height, width)``.

    Raises:
        ValueError: a mode that has no byte scale (floating point), or a broken file.
        OSError: the file is broken.
    """
    if image.format == "JPEG":
        # Decodes at a half, quarter or eighth, still at least twice the size wanted.
        side = 2 * max(form.height, form.width)
        image.draft(None, (side, side))
    image = ImageOps.exif_transpose(image)
    if is_deep(image.mode):
        deep = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(np.rint(deep * (EIGHT_BITS / form.deep_max)), 0, EIGHT_BITS).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known white: save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (EIGHT_BITS,) * 4)
        image = Image.alpha_composite(white, image)
    image = image.convert("L" if form.channels == 1 else "RGB")
    pixels = np.asarray(_scaled(image, form))
    return pixels[None] if form.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _scaled(image: Image.Image, form: Form) -> Image.Image:
    wanted = (form.width, form.height)
    if image.size == wanted:
        return image
    bilinear = Image.Resampling.BILINEAR
    if form.fit == "stretch":
        return image.resize(wanted, bilinear)
    if form.fit == "crop":
        return ImageOps.fit(image, wanted, bilinear)
    return ImageOps.pad(image, wanted, bilinear, color=0)


def load_image(path: str | Path, description: Mapping[str, Any]) -> np.ndarray:
    """Returns the input of an exported network for one image file.

    Args:
        path: PNG, JPEG or whatever Pillow reads; any size and mode.
        description: What ``Images.describe()`` gave, as the exported file carries it.

    Returns:
        float32, shape ``(1, channels, height, width)``, values 0..1.

    Raises:
        DataError: no such file (with the near name), or not a readable image.
    """
    form = Form.from_description(description)
    path = Path(path)
    if not path.exists():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"no image {path}{near(path.name, beside) if len(beside) < 1000 else ''}")
    try:
        with Image.open(path) as image:
            pixels = to_pixels(image, form)
    except PILLOW_ERRORS as error:
        raise DataError(f"{path} is not a readable image: {reason(error)}") from error
    return pixels[None].astype(np.float32) / EIGHT_BITS


def read(paths: Sequence[Path], description: Mapping[str, Any]) -> Iterator[Examples]:
    """Gives each image file as the network takes it, for ``sartor.export.predict``; see ``load_image``."""
    for path in paths:
        yield Examples(path, (load_image(path, description),))


def reason(error: Exception) -> str:
    """Returns what Pillow said in few words, without the path that it repeats."""
    if isinstance(error, UnidentifiedImageError):
        return "no image format that Pillow knows"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
