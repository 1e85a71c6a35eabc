"""``sartor devices``: what there is, where its numbers are from, what this machine takes, how well it is predicted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from sartor.errors import InputError
from sartor.registry import specs

app = App(name="devices", help="List devices, show where their numbers come from, measure, calibrate.")


@app.default
@app.command(name="list")
def list_devices() -> None:
    """List the devices: cost models of this machine and targets described in files."""
    from sartor.devices.targets import load_target, target_names

    console = Console()
    table = Table("name", "figures and how", "source", box=None, header_style="bold", pad_edge=False)
    for spec in specs("devices").values():
        table.add_row(spec.name, spec.summary, spec.citation)
    for spec in specs("runtimes").values():
        table.add_row(f"cpu:{spec.name}", f"the same through {spec.summary}", spec.citation)
    console.print(table)
    console.print()
    targets = Table("target", "what it is", "estimated by roofline at", box=None, header_style="bold", pad_edge=False)
    for name in target_names():
        target = load_target(name)
        targets.add_row(name, target.title, ", ".join(target.peak) or "[dim]no reliable figure[/]")
    console.print(targets)


@app.command
def show(device: str, /) -> None:
    """Show a device: each number with its unit and where it comes from, each figure with its method and error.

    Parameters
    ----------
    device
        A name of sartor devices list, a .toml or .json file, or an address.
    """
    from sartor.devices.named import find_device
    from sartor.devices.targets import load_target, target_names

    console = Console()
    name = device.partition(":")[0]
    if name in target_names() or name.endswith(".toml"):
        target = load_target(name)
        console.print(f"[bold]{target.name}[/]  {target.title} ({target.kind})", highlight=False)
        table = Table("number", "value", "source", box=None, header_style="bold", pad_edge=False)
        for key, quantity in target.numbers():
            table.add_row(key, f"{quantity.value:g} {quantity.unit}", quantity.source)
        console.print(table)
        for line in filter(None, [target.notes, f"file: {target.file}"]):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if not target.peak:
            return
    found = find_device(device)
    console.print(f"device {found.label}: {found.device.name}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"figures: {', '.join(found.device.figures)}", highlight=False)
    describe = getattr(found.device, "describe", None)
    for line in describe() if describe is not None else ():
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command
def measure(
    file: Path, /, *, device: Annotated[list[str] | None, Parameter(name=["--device", "-d"], negative=())] = None
) -> None:
    """Measure an ONNX file on this machine, or on one where sartor measure serve runs.

    Parameters
    ----------
    file
        An ONNX file, e.g. of sartor export --to onnx.
    device
        cpu, or http://HOST:PORT; repeat for several. By default this machine's processor.
    """
    from sartor.devices.onnx_files import measure_file
    from sartor.units import format_figure

    if not file.is_file():
        raise InputError(f"no file {file} to measure")
    table = Table("device", "figure", "value", "error", "how", "note", box=None, header_style="bold", pad_edge=False)
    for name in device or ["cpu"]:
        for figure_name, figure in measure_file(file, name).items():
            error = "unknown" if figure.error is None else f"±{figure.error:.1%}"
            table.add_row(name, figure_name, format_figure(figure_name, figure.value), error, figure.kind, figure.note)
    Console().print(table)


@app.command
def calibrate(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("this-machine.json"),
    networks: Annotated[int, Parameter(name=["--networks", "-n"])] = 20,
    device: Annotated[str, Parameter(name=["--device", "-d"])] = "cpu",
    space: Annotated[list[str] | None, Parameter(negative=())] = None,
    image: Annotated[list[str] | None, Parameter(negative=())] = None,
    seed: int = 0,
) -> None:
    """Measure a few networks, learn to predict the rest, say how well; search then takes the file by --device.

    Interrupted, the same command goes on where it was.

    Parameters
    ----------
    out
        Device file to write, .json.
    networks
        How many networks to measure: about two seconds each.
    device
        What measures: cpu, cpu:RUNTIME, or http://HOST:PORT of sartor measure serve.
    space
        Ready-made space to draw networks from; repeat for several. By default all.
    image
        Image size and channels that networks are for, e.g. 28x1 or 32x3; repeat for several. By default these two.
    seed
        Of the networks.
    """
    from sartor._calibrate import FORMS
    from sartor._calibrate import calibrate as run_calibration
    from sartor.trials import Figure

    console = Console(stderr=True)

    def say(done: int, name: str, figure: Figure) -> None:
        busy = ", busy" if figure.note else ""
        console.print(f"{done + 1}/{networks}  {name}: {figure.value:.3g} ms{busy}", highlight=False, markup=False)

    found = run_calibration(
        out, networks=networks, device=device, seed=seed, names=space or (), on_network=say,
        forms=[_form(text) for text in image] if image else FORMS,
    )
    print(f"{found.file}: {found.device}")
    print(f"error: {found.validation}")
    if found.num_busy:
        print(f"{found.num_busy} of {networks} networks were measured beside other work: repeat when it is quiet")
    print(f"use it: sartor search ... --device {found.file}")


def _form(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x([13])", text)
    if not match:
        raise InputError(f"expected an image as SIDExCHANNELS, such as 28x1 or 32x3, got {text!r}")
    return int(match[1]), int(match[2])
