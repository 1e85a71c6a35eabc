"""A trained network made smaller for its limits, with the loss told.

``sartor compress`` runs steps one after another on a trained network, measures after each, and writes it all down.
A step is a module of `sartor.compress.steps` with a light ``SPEC`` (kind ``compressors``) whose target is

    def step(network: nn.Module, options: Options, context: StepContext) -> Outcome

``Options`` is a frozen dataclass of plain fields with defaults: ``--option prune.criterion=l2`` sets one. What a step
does in stages (`StepContext.stage`, `StepContext.fine_tune`) is kept as it goes, so that a killed compression goes on
where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.compress._contract import Outcome, StepContext
    from sartor.compress.pipeline import Compressed, compress, load_network, of_model, of_run

_HOME = {
    "Outcome": "sartor.compress._contract",
    "StepContext": "sartor.compress._contract",
    "Compressed": "sartor.compress.pipeline",
    "compress": "sartor.compress.pipeline",
    "load_network": "sartor.compress.pipeline",
    "of_model": "sartor.compress.pipeline",
    "of_run": "sartor.compress.pipeline",
}

__all__ = ["Compressed", "Outcome", "StepContext", "compress", "load_network", "of_model", "of_run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sartor.compress' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
