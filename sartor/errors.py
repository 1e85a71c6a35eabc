"""The hierarchy of errors: each says what was expected, what came and what to do next.

Everything here is shown by the command line as one message with exit code 2; any other exception is a
defect of Sartor and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SartorError(Exception):
    """Base of all errors that a person can do something about."""


class InputError(SartorError, ValueError):
    """Something the person gave cannot be used: an option, a limit, a name."""


class DataError(InputError):
    """The data cannot be used as they are: missing, unreadable, too few, leaking between parts."""


class SpaceError(InputError):
    """A search space, or an architecture of it, is not well formed."""


class ShapesDifferError(SpaceError):
    """Alternatives cannot be summed, as their shapes differ.

    Attributes:
        keys: Of the choices between them.
    """

    def __init__(self, message: str, keys: Iterable[str]) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class BudgetError(InputError):
    """The time or the number of trials allows no result, or no architecture meets the limits."""


class RecordError(SartorError):
    """The record of runs cannot be read, written or continued."""


class ExportError(SartorError):
    """A network cannot be exported, or the exported file does not compute what the network does."""


class MissingExtraError(SartorError, ImportError):
    """A feature needs an optional package that is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f'{feature} needs the package {package!r}: install it with pip install "sartor[{extra}]"')
        self.feature, self.package, self.extra = feature, package, extra


class RemoteError(SartorError):
    """A machine that measures for this one does not answer, refuses, or went away; a search stops and can go on."""


class DivergedError(SartorError, ArithmeticError):
    """A loss or a gradient was not finite; raised before the step is taken."""


class DeadlineError(SartorError, TimeoutError):
    """A training was still going at its deadline; its checkpoint was kept, so that it can go on."""


def near(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for the closest known name, else the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


class UnsupportedNetworkError(SartorError):
    """What was asked for says nothing of this network: the layers that it looks at are not there."""
