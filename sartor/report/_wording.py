"""How figures and scores are called and written in the page."""

from __future__ import annotations

from sartor.supernets import INHERITED
from sartor.trials import Fidelity, Figure
from sartor.units import format_figure, of_device, unit_of

LABELS = {
    "latency_ms": "latency",
    "energy_mj": "energy",
    "peak_memory_bytes": "peak activation memory",
    "params": "parameters",
    "macs": "multiply-accumulates",
    "model_bytes": "model size",
}
SHORT = {"peak_memory_bytes": "peak memory", "macs": "MACs", "model_bytes": "size"}
"""Names of the same in narrow columns."""


def label(name: str) -> str:
    """Returns how a figure or metric is called in a sentence."""
    if name.startswith("test."):
        return f"test {label(name.removeprefix('test.'))}"
    figure, device = of_device(name)
    called = LABELS.get(figure, figure.replace("_", " "))
    return called if device is None else f"{called} on {device}"


def format_cost(name: str, figure: Figure) -> str:
    """Returns value and unit; figures of other devices than Sartor's carry their own unit."""
    if unit_of(name) is not None:
        return format_figure(name, figure.value)
    return f"{figure.value:.4g} {figure.unit}".strip()


def format_fidelity(fidelity: Fidelity) -> str:
    """Returns e.g. ``3.33 epochs``."""
    if fidelity == INHERITED:
        return "shared weights"
    return f"{round(fidelity.amount, 2):g} {fidelity.unit}"


def how_scored(fidelity: Fidelity) -> str:
    """Returns e.g. ``at 3.33 epochs``, or ``by shared weights``, as a sentence about a score goes on."""
    return f"{'by' if fidelity == INHERITED else 'at'} {format_fidelity(fidelity)}"


def format_metric(value: float) -> str:
    """Returns a score as people compare them: four decimals, or significant digits when large or tiny."""
    if abs(value) >= 100:
        return f"{value:.6g}"
    return f"{value:.4g}" if 0 < abs(value) < 0.01 else f"{value:.4f}"


def certainty(figure: Figure) -> str:
    """Returns how far a figure is known: ``exact``, ``measured ±4.1%``, ``estimated, error unknown``."""
    if figure.kind == "exact" and not figure.error:
        return "exact"
    if figure.error is None:
        return f"{figure.kind}, error unknown"
    percent = 100 * figure.error
    return f"{figure.kind} ±{percent:.0f}%" if percent >= 10 else f"{figure.kind} ±{percent:.2g}%"


def was_disturbed(figure: Figure) -> bool:
    """Whether a device says that other work on the machine disturbed its measurement."""
    return figure.kind == "measured" and any(word in figure.note.lower() for word in ("busy", "interfer", "unstable"))
