"""Which parts another process can find."""

from __future__ import annotations

from sartor.errors import InputError


def check_reachable(target: str) -> None:
    """Raises when a worker process could not load ``target``, a name that ``registry.importable`` gave.

    Raises:
        InputError: it is defined in a notebook, on standard input or inside a function.
    """
    module, _, attribute = target.rpartition(":")
    name = attribute.rpartition(".")[2]
    if "<locals>" in attribute:
        where = "inside a function"
    elif module == "__main__":
        where = "in a notebook or on standard input"
    else:
        return
    raise InputError(
        f"{name} is defined {where}, where worker processes cannot find it: put it at the top of a file of its own, "
        "or use workers=0 to run everything in this process"
    )
