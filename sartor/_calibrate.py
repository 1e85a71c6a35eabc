"""Calibrating a device: networks of the ready-made spaces are measured and profiled, a predictor is fitted, validated.

What was measured is kept as it comes, so that an interrupted calibration goes on where it was.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args, runtime_checkable

import numpy as np

from sartor._environment import cpu_name, environment
from sartor._threads import one_thread
from sartor.contracts import Device
from sartor.devices._profile import Timed, profile
from sartor.devices.cpu import CpuLatency
from sartor.devices.kernels import kernels_of
from sartor.devices.named import FORMAT, find_device
from sartor.devices.predictor import Measured, Validation, fit, validate
from sartor.errors import InputError, near
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sartor.space import Architecture, Space

FORMS = ((28, 1), (32, 3))
"""Side and channels of the images that networks are drawn for by default."""
NUM_CLASSES = 10
FEWEST_NETWORKS, MOST_NETWORKS = 8, 1000
"""A fifth is held out in turn, and the rest must still do."""


@dataclass(frozen=True)
class Drawn:
    """A network of a ready-made space.

    Attributes:
        space: Name.
        side, channels: Of the images that the space was fitted to.
        architecture: Of the space.
        number: In the order drawn.
    """

    space: str
    side: int
    channels: int
    architecture: Architecture
    number: int

    @property
    def name(self) -> str:
        return f"{self.space} {self.number} for {self.side}x{self.side}x{self.channels}"

    def build(self, spaces: SpaceTable) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """Returns the network in eval mode, its weights by its number, and its input."""
        import torch

        side = int(self.architecture.get("data.resolution", self.side))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.number)
            network: nn.Module = spaces(self.space, self.side, self.channels).build(self.architecture)
            return network.eval(), (torch.rand(1, self.channels, side, side),)


class SpaceTable:
    """The ready-made spaces of the images task, made once each."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int, int], Space] = {}

    def __call__(self, name: str, side: int, channels: int) -> Space:
        from sartor.tasks.images.preprocess import Form
        from sartor.tasks.images.space import make_space

        key = (name, side, channels)
        if key not in self._made:
            self._made[key] = make_space(name, Form(side, side, channels), NUM_CLASSES)  # type: ignore[arg-type]
        return self._made[key]


def space_names() -> tuple[str, ...]:
    """Returns the names of the ready-made spaces."""
    from sartor.tasks.images.options import SpaceName

    return get_args(SpaceName)


def draw(
    count: int, seed: int, spaces: SpaceTable, *, names: Sequence[str] = (), forms: Sequence[tuple[int, int]] = FORMS
) -> list[Drawn]:
    """Returns random networks, the spaces and forms in turn.

    Args:
        count: How many.
        seed: The network of a number depends on it and the number alone.
        spaces: Made spaces.
        names: Of the spaces; all when empty.
        forms: Side and channels of images.
    """
    names = names or space_names()
    drawn = []
    for number in range(count):
        name, (side, channels) = names[number % len(names)], forms[number // len(names) % len(forms)]
        rng = np.random.default_rng([seed, number])
        drawn.append(Drawn(name, side, channels, spaces(name, side, channels).sample(rng, 1)[0], number))
    return drawn


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        file: The device file.
        device: What was measured.
        validation: On networks held out.
        num_busy: Measurements beside other work on the machine.
    """

    file: Path
    device: str
    validation: Validation
    num_busy: int


def calibrate(
    file: str | Path,
    *,
    networks: int = 20,
    device: str = "cpu",
    seed: int = 0,
    names: Sequence[str] = (),
    forms: Sequence[tuple[int, int]] = FORMS,
    on_network: Callable[[int, str, Figure], None] | None = None,
) -> Calibration:
    """Measures networks on a device, fits a predictor and writes it as a device file.

    Each network costs about two seconds on this machine. What was measured is kept beside the file until it is written,
    so that the same call goes on after an interruption.

    Args:
        file: Where to write, ``.json``.
        networks: How many to measure, at least 8: random ones, the spaces and forms in turn.
        device: What measures, as ``sartor.devices.named`` names it; operators are profiled where it is this machine's
            ONNX Runtime.
        seed: Of the networks.
        names: Ready-made spaces to draw from; all when empty.
        forms: Side and channels of images.
        on_network: Called after each with its number, name and latency.

    Raises:
        InputError: the options cannot be used, or the device gives no measured latency.
    """
    path = Path(file)
    if path.suffix != ".json" or not path.parent.is_dir():
        raise InputError(f"expected a .json file in a folder that exists, got {path}")
    if not FEWEST_NETWORKS <= networks <= MOST_NETWORKS:
        raise InputError(f"expected {FEWEST_NETWORKS} to {MOST_NETWORKS} networks, got {networks}")
    known = space_names()
    for name in names:
        if name not in known:
            raise InputError(f"unknown space {name!r}{near(name, known)}")
    measuring = find_device(device).device
    if not isinstance(measuring, Measures):
        raise InputError(f"device {device} does not measure: calibrate on cpu or on http://HOST:PORT")
    spaces, shapes = SpaceTable(), dict[Any, Any]()
    drawn = draw(networks, seed, spaces, names=names, forms=forms)
    kernels = [kernels_of(*each.build(spaces), shapes) for each in drawn]
    head = {"device": measuring.name, "seed": seed, "names": list(names), "forms": [list(form) for form in forms]}
    kept = _Kept(path, head)
    measured = []
    with one_thread():
        for done, each in enumerate(drawn):
            entry = kept.get(each.name)
            if entry is None:
                entry = kept.add(each.name, _measure(each, spaces, measuring))
            figure = Figure.from_json(entry["latency"])
            measured.append(
                Measured(each.name, kernels[done], figure.value, tuple(map(Timed.from_json, entry["profile"])))
            )
            if on_network is not None:
                on_network(done, each.name, figure)
    validation = validate(measured, seed=seed)
    entries = [kept.get(network.name) or {} for network in measured]
    num_busy = sum("busy" in entry["latency"]["note"] for entry in entries)
    content = {
        "format": FORMAT,
        "kind": "predictor",
        "device": measuring.name,
        "predictor": fit(measured).to_json(),
        "validation": vars(validation),
        "networks": [network.name for network in measured],
        "busy": num_busy,
        "seed": seed,
        "environment": environment(),
        "date": time.strftime("%Y-%m-%d"),
    }
    write_device_file(path, content)
    kept.remove()
    return Calibration(path, measuring.name, validation, num_busy)


@runtime_checkable
class Measures(Device, Protocol):
    """A device that measures any network."""

    def measure(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]: ...


def _measure(each: Drawn, spaces: SpaceTable, device: Measures) -> dict[str, Any]:
    module, inputs = each.build(spaces)
    own = isinstance(device, CpuLatency) and device.runtime == "onnxruntime"
    figure = device.measure(module, inputs)["latency_ms"]
    timed = profile(module, inputs) if own else ()
    return {"latency": {**figure.to_json(), "raw": []}, "profile": [entry.to_json() for entry in timed]}


def write_device_file(path: Path, content: dict[str, Any]) -> None:
    """Writes a device file, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


class _Kept:
    """Measurements beside the file, one a line, until it is written."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self._path = path.with_name(f".{path.name}.measured")
        self._found: dict[str, dict[str, Any]] = {}
        head = {**head, "cpu": cpu_name()}
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        if lines and json.loads(lines[0]) == head:
            for line in lines[1:]:
                try:
                    name, entry = json.loads(line)
                except ValueError:
                    break  # cut off by a kill
                self._found[name] = entry
        self._path.write_text("\n".join([json.dumps(head), *map(json.dumps, self._found.items())]) + "\n")

    def get(self, name: str) -> dict[str, Any] | None:
        return self._found.get(name)

    def add(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        self._found[name] = entry
        with open(self._path, "a") as file:
            file.write(json.dumps([name, entry]) + "\n")
        return entry

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
