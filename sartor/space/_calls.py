"""When a partial is called, and what its arguments are named."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from sartor.errors import SpaceError, near
from sartor.space._nodes import Repeat, name_of


def signature_of(function: Any) -> inspect.Signature | None:
    """Returns the signature of a callable, None where it publishes none."""
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):  # some built-in callables publish none
        return None


def argument_names(node: partial[Any]) -> list[str]:
    """Returns the key of each positional argument: its parameter's name, its position among ``*args``."""
    signature = signature_of(node.func)
    parameters = list(signature.parameters.values()) if signature else []
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    extra = len(node.args) - len(positional)
    return positional[: len(node.args)] + [str(index) for index in range(max(extra, 0))]


def is_complete(signature: inspect.Signature | None, arguments: list[Any], keywords: dict[str, Any]) -> bool:
    """Whether all required arguments are there, so that ``build`` calls it rather than handing it over."""
    if signature is None:
        return True
    try:
        signature.bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def check_call(node: partial[Any]) -> None:
    """Refuses, where the space is defined, arguments that the function does not take.

    Raises:
        SpaceError: An unknown argument (with the near name), one given twice, or too many.
    """
    signature = signature_of(node.func)
    if signature is None:
        return
    parameters = signature.parameters.values()
    name = name_of(node.func)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        for keyword in node.keywords:
            if keyword not in known:
                raise SpaceError(f"{name} takes no argument {keyword!r}{near(keyword, known)}")
    if any(isinstance(argument, Repeat) for argument in node.args):
        return  # how many there are is known when it is built
    try:
        signature.bind_partial(*node.args, **node.keywords)
    except TypeError as error:
        raise SpaceError(f"{name}{signature} cannot be called so: {error}") from error
