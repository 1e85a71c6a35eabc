"""How parts are found: each names itself by a light ``SPEC``; nothing heavy is imported to list them.

Built-ins are the modules of a package (``sartor.strategies``, ``sartor.space.encodings``) or the folders of
``sartor.tasks``; others register an entry point of the group of the same name, whose value is a ``Spec``, or are named
by where they are: ``module:Name``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from sartor.errors import InputError, MissingExtraError, near

Kind = Literal[
    "tasks", "strategies", "devices", "runtimes", "exporters", "spaces", "encodings", "predictors", "proxies",
    "supernets", "tables", "compressors",
]
_PACKAGES = {
    "compressors": "sartor.compress.steps",
    "encodings": "sartor.space.encodings",
    "exporters": "sartor.export",
    "predictors": "sartor.estimators.predictors",
    "proxies": "sartor.estimators.proxies",
    "runtimes": "sartor.devices.runtimes",
    "tables": "sartor.estimators.tables",
}
"""Where built-ins of a kind live, when not in ``sartor.<kind>``."""


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
        needs: What must be there for it, in a sentence.
        when: When to use it, in a sentence.
        inherits: Whether a strategy's trials go on from weights of trials of other architectures, which are then kept.
        promotes: Whether a strategy goes from fidelity to fidelity itself, so that nothing else should around it.
        reads_scores: Whether a strategy takes training-free scores of some architectures, as an argument ``scored``.
        one_process: Whether a way of sharing weights keeps what the other processes of a training would have to see.
    """

    name: str
    target: str
    summary: str = ""
    extra: str | None = None
    citation: str = ""
    version: int = 1
    needs: str = ""
    when: str = ""
    promotes: bool = False
    one_process: bool = False
    inherits: bool = False
    reads_scores: bool = False

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
    """A task by name.

    Attributes:
        options: Names a frozen dataclass of annotated fields.
        sources: The named data sets.
        reader: ``"package.module:function"`` of (paths, description of an exported file) that gives a
            ``sartor.export.examples.Examples`` for each path; what ``describe()`` says under ``preprocess``. Without
            torch. A file that says another function is not obeyed.
    """

    options: str = ""
    sources: tuple[str, ...] = ()
    reader: str = ""


@dataclass(frozen=True)
class CompressorSpec(Spec):
    """A step of compression by name; ``options`` names a frozen dataclass of plain fields, all with defaults."""

    options: str = ""


def resolve(target: str) -> Any:
    """Imports ``"package.module:attribute"`` or ``"path/of/script.py:attribute"``; dots are allowed in the attribute.

    A script is run under another name than ``__main__``, so that what it guards by ``if __name__ == "__main__":`` is
    not started; in the process where it is the main script it is not run again.

    Raises:
        InputError: not of this form; no such script.
    """
    module, _, attribute = target.rpartition(":")
    if not module or not attribute:
        raise InputError(f"expected module:Name, got {target!r}")
    value: Any = _script(module, attribute) if module.endswith(".py") else importlib.import_module(module)
    for name in attribute.split("."):
        value = getattr(value, name)
    return value


def located(target: str, what: str, expected: str) -> Any:
    """Returns what a person names by where it is; modules of the working directory count.

    Args:
        target: See `resolve`.
        what: Is to be there, for the message.
        expected: How it should have been named.

    Raises:
        InputError: it is not there.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return resolve(target)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{what} {target}: {error}; expected {expected}") from error


def _main_file() -> Path | None:
    """Returns the file of the script that runs as ``__main__``, or None in a notebook, at a prompt, with ``-c``."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).resolve() if file and Path(file).is_file() else None


def _script(file: str, attribute: str) -> ModuleType:
    path = Path(file).resolve()
    if path == _main_file():
        return sys.modules["__main__"]
    name = f"sartor_script_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise InputError(f"expected a Python script with {attribute}, found none at {file}")
        # Known before it runs, as dataclasses and pickle look their module up.
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def importable(target: str) -> str:
    """Returns a name for ``module:attribute`` that other processes can resolve.

    ``__main__:Net`` becomes ``package.module:Net`` when started with ``-m``, else ``/path/of/script.py:Net``; where
    neither exists (a notebook, standard input) it stays.
    """
    module, _, attribute = target.rpartition(":")
    if module != "__main__":
        return target
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return f"{spec.name}:{attribute}"
    file = _main_file()
    return target if file is None else f"{file}:{attribute}"


@cache
def specs(kind: Kind) -> dict[str, Spec]:
    """Returns name -> spec of all parts of a kind, built-ins first, sorted by name."""
    package = importlib.import_module(_PACKAGES.get(kind, f"sartor.{kind}"))
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
    """Returns the spec of that name, or of a part of one's own that is named by where it is.

    Args:
        kind: Of the part.
        name: Of the spec; or ``module:Name`` or ``script.py:Name`` of a part, or of its ``Spec``, that nothing lists.

    Raises:
        InputError: unknown; the message has the near name.
    """
    known = specs(kind)
    if name in known:
        return known[name]
    singular = {"strategies": "strategy", "proxies": "proxy"}.get(kind, kind[:-1])
    if ":" not in name:
        raise InputError(f"unknown {singular} {name!r}{near(name, known)}")
    value = located(name, singular, "module:Name or script.py:Name")
    return dataclasses.replace(value, name=name) if isinstance(value, Spec) else Spec(name, name)
