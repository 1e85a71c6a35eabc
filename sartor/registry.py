"""How parts are found: each names itself by a light ``SPEC``; nothing heavy is imported to list them.

Built-ins are the modules of a package (``sartor.strategies``, ``sartor.devices``) or the folders of
``sartor.tasks``; others register an entry point of the group of the same name, whose value is a ``Spec``.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal

from sartor.errors import InputError, MissingExtraError, near

Kind = Literal["tasks", "strategies", "devices", "spaces"]


@dataclass(frozen=True)
class Spec:
    """A part by name.

    Attributes:
        name: What a person types.
        target: ``"package.module:attribute"``, imported when used.
        summary: One line for listings.
        extra: Optional dependency group that it needs, or None.
        citation: Paper or source.
        version: Part of a run's fingerprint; raise it when results change.
    """

    name: str
    target: str
    summary: str = ""
    extra: str | None = None
    citation: str = ""
    version: int = 1

    def load(self) -> Any:
        """Imports and returns the target.

        Raises:
            MissingExtraError: an optional package of ``extra`` is not installed.
        """
        try:
            return resolve(self.target)
        except ModuleNotFoundError as error:
            if self.extra and error.name and not error.name.startswith("sartor"):
                raise MissingExtraError(self.name, error.name, self.extra) from error
            raise


@dataclass(frozen=True)
class TaskSpec(Spec):
    """A task by name; ``options`` names a frozen dataclass of annotated fields, ``sources`` the named data sets."""

    options: str = ""
    sources: tuple[str, ...] = ()


def resolve(target: str) -> Any:
    """Imports ``"package.module:attribute"`` and returns the attribute (dots allowed in it)."""
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise InputError(f"expected module:Name, got {target!r}")
    value: Any = importlib.import_module(module)
    for name in attribute.split("."):
        value = getattr(value, name)
    return value


@cache
def specs(kind: Kind) -> dict[str, Spec]:
    """Returns name -> spec of all parts of a kind, built-ins first, sorted by name."""
    package = importlib.import_module(f"sartor.{kind}")
    found: dict[str, Spec] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            spec = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "SPEC", None)
            if spec is not None:
                found[spec.name] = spec
    for entry in entry_points(group=f"sartor.{kind}"):
        spec = entry.load()
        found.setdefault(spec.name, spec)
    return dict(sorted(found.items()))


def find(kind: Kind, name: str) -> Spec:
    """Returns the spec of that name.

    Raises:
        InputError: unknown; the message has the near name.
    """
    known = specs(kind)
    if name not in known:
        singular = {"tasks": "task", "strategies": "strategy", "devices": "device", "spaces": "space"}[kind]
        raise InputError(f"unknown {singular} {name!r}{near(name, known)}")
    return known[name]
