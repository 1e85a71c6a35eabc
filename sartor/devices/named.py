"""Devices as people name them: what ``--device`` takes.

| text | device |
|---|---|
| ``cpu``, ``cpu:openvino`` | this machine's processor, measured, through a runtime of ``sartor.devices.runtimes`` |
| ``counts`` | exact counts |
| ``raspberry-pi-4``, ``edge-tpu:int8`` | a shipped target by its roofline, at a precision |
| ``board.toml`` | a target of your own |
| ``laptop.json`` | what ``sartor devices calibrate`` or ``sartor.devices.lookup`` wrote |
| ``http://pi:8790`` | a machine where ``sartor measure serve`` runs |
| ``module:Class``, ``file.py:Class`` | a device of your own |

``NAME=TEXT`` calls it by a name of your choice, which is what limits and objectives on one of several devices say:
``latency@NAME``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sartor.devices.targets import target_names
from sartor.errors import InputError, near
from sartor.registry import find, resolve, specs
from sartor.trials import Figure
from sartor.units import on_device

if TYPE_CHECKING:
    from sartor.contracts import Candidate, Device

__all__ = ["NamedDevice", "OnDevice", "find_device", "several"]

FORMAT = "sartor-device-1"
"""What a JSON device file says under ``format``."""
_FILES = {"predictor": "sartor.devices.predictor:PredictedLatency", "lookup": "sartor.devices.lookup:LookupTable"}
"""Kind of a JSON device file -> its class, made with ``file`` and ``sha256``."""
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class NamedDevice:
    """A device by what makes it again in another process.

    Attributes:
        label: How figures of one of several devices are told apart.
        target: ``module:Class``.
        options: JSON keyword arguments.
    """

    label: str
    target: str
    options: Mapping[str, Any]

    @cached_property
    def device(self) -> Device:
        """The device, made when first read.

        Raises:
            InputError: it cannot be made of these options.
        """
        device: Device = resolve(self.target)(**self.options)
        return device

    @property
    def reference(self) -> tuple[str, Mapping[str, Any]]:
        """What the engine takes."""
        return self.target, self.options


def find_device(text: str) -> NamedDevice:
    """Returns the device that a text names; only files are read, nothing is measured.

    Raises:
        InputError: no such device; the message has the near name.
    """
    label, equals, rest = text.partition("=")
    if equals and not text.startswith(("http://", "https://")):
        if not _LABEL.fullmatch(label):
            raise InputError(f"expected a name of letters, digits, '.', '_', '-' before =, got {label!r}")
    else:
        label, rest = "", text
    found = _find(rest)
    return NamedDevice(label or found.label, found.target, found.options)


def _find(text: str) -> NamedDevice:
    if text.startswith(("http://", "https://")):
        host = urlsplit(text).hostname
        if not host:
            raise InputError(f"expected an address such as http://pi:8790, got {text!r}")
        return NamedDevice(_clean(host), "sartor.devices.remote:Remote", {"url": text.rstrip("/")})
    if text.endswith(".json"):
        return _file(Path(text))
    name, colon, option = text.partition(":")
    if name.endswith(".toml") or name in target_names():
        options: dict[str, Any] = {"target": name, **({"precision": option} if colon else {})}
        if name.endswith(".toml"):
            from sartor.devices.roofline import file_sha256
            from sartor.devices.targets import load_target

            target = load_target(name)
            options |= {"target": str(Path(name).resolve()), "sha256": file_sha256(name)}
            name = target.name
        return NamedDevice(_clean(name), "sartor.devices.roofline:Roofline", options)
    known = specs("devices")
    if name in known:
        if colon and name != "cpu":
            raise InputError(f"device {name} takes no option, got {text!r}")
        if colon:
            find("runtimes", option)
        return NamedDevice(_clean(text), known[name].target, {"runtime": option} if colon else {})
    if colon and (name.endswith(".py") or "." in name):
        return NamedDevice(_clean(option), text, {})
    raise InputError(
        f"unknown device {text!r}{near(name, [*known, *target_names()])}; else a .toml or .json file, an address"
        " http://HOST:PORT, or module:Class"
    )


def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")


def _file(path: Path) -> NamedDevice:
    from sartor.devices.roofline import file_sha256

    content = read_device_file(path)
    options = {"file": str(path.resolve()), "sha256": file_sha256(path)}
    return NamedDevice(_clean(path.stem), _FILES[content["kind"]], options)


def read_device_file(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """Returns the content of a JSON device file.

    Args:
        path: The file.
        sha256: Of the file, when it must be the one that was there before.

    Raises:
        InputError: it cannot be read, is not one, or is another one.
    """
    from sartor.devices.roofline import check_unchanged

    check_unchanged(path, sha256)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the device file {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"the device file {path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("kind") not in _FILES:
        raise InputError(
            f"{path} is no device file: expected what sartor devices calibrate writes (format {FORMAT!r}, kind one of"
            f" {', '.join(_FILES)})"
        )
    return content


class OnDevice:
    """A device whose figures carry its name, ``latency_ms@pi``, so that those of two devices do not collide.

    Args:
        label: The name.
        target: ``module:Class`` of the device.
        options: Keyword arguments that it is made with.
    """

    def __init__(self, label: str, target: str, options: Mapping[str, Any]) -> None:
        self._device: Device = resolve(target)(**options)
        self._label = label
        self.name = self._device.name
        self.figures: tuple[str, ...] = tuple(on_device(figure, label) for figure in self._device.figures)
        self.needs: Literal["architecture", "network", "trained"] = self._device.needs

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns the figures of the device, under names that carry its label."""
        return {on_device(name, self._label): figure for name, figure in self._device.cost(candidate).items()}


def several(names: Sequence[str]) -> tuple[NamedDevice, ...]:
    """Returns the devices of a search: exact counts first, and where more than one gives costs, each under its name.

    Raises:
        InputError: an unknown device, or two of one name.
    """
    found = [find_device(name) for name in dict.fromkeys(names)]
    counts = [each for each in found if each.target == find("devices", "counts").target]
    others = [each for each in found if each not in counts]
    labels = [each.label for each in others]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"two devices are called {label!r}: name them apart by NAME=DEVICE")
    if len(others) > 1:
        wrapper = f"{OnDevice.__module__}:{OnDevice.__qualname__}"
        others = [
            NamedDevice(e.label, wrapper, {"label": e.label, "target": e.target, "options": dict(e.options)})
            for e in others
        ]
    return (*counts, *others)
