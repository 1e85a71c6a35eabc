"""What a person says to a search."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Annotated, Any

from cyclopts import Parameter

from sartor.cli import DEFAULT_OUT
from sartor.cli._runs import Out, _search_run
from sartor.errors import InputError, near
from sartor.runs import Record
from sartor.space import Space


def steer(
    run: str = "latest",
    /,
    *,
    like: Annotated[list[int] | None, Parameter(negative=())] = None,
    dislike: Annotated[list[int] | None, Parameter(negative=())] = None,
    narrow: Annotated[list[str] | None, Parameter(negative=())] = None,
    clear: Annotated[bool, Parameter(negative=())] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Steer a search that is running or will be resumed: it heeds this before its next proposal.

    Parameters
    ----------
    run
        Run id, or "latest".
    like
        Number of a trial: architectures like it are to be looked for; repeat for several.
    dislike
        Number of a trial: architectures like it are to be avoided; repeat for several.
    narrow
        Values that a choice keeps, e.g. stage1.kernel=3,5; * stands for anything, e.g. stage*.kernel=3.
    clear
        Take back all that was said before.
    out
        Folder of results that holds the record.
    """
    from sartor._steering import said, say
    from sartor.engine import open_task
    from sartor.strategies._steered import Act, check_acts

    record = Record(out, read_only=True)
    info = record.run(_search_run(record, run))
    if info.kind != "search":
        raise InputError(f"{info.id} is no search (its kind is {info.kind}): nothing to steer")
    if info.state == "complete":
        raise InputError(f"{info.id} is complete: nothing more is proposed; sartor search --transfer begins with it")
    space = open_task(info.config["task"]).space()
    trials = {trial.number: trial for trial in record.trials(info.id)}
    acts = [Act("clear", {})] if clear else []
    for kind, numbers in (("like", like), ("dislike", dislike)):
        for number in numbers or ():
            if number not in trials:
                raise InputError(f"{info.id} has no trial {number}; it has {len(trials)}, from 0")
            acts.append(Act.from_json({"kind": kind, "value": dict(trials[number].architecture)}))
    acts += [Act("narrow", _values(space, text)) for text in narrow or ()]
    if not acts:
        raise InputError("expected --like, --dislike, --narrow or --clear")
    check_acts(space, [*said(record, info), *acts])
    say(record, info, acts)
    for act in acts:
        print(act.words)
    print(f"{info.id} heeds it {'before its next proposal' if info.state == 'running' else 'once it is resumed'}")


def _values(space: Space, text: str) -> dict[str, Any]:
    """Returns the values of ``key=value,value`` by key, as the space has them."""
    pattern, equals, listed = text.partition("=")
    keys = [key for key in space.keys if fnmatchcase(key, pattern.strip())]
    if not equals or not listed.strip():
        raise InputError(f"expected KEY=VALUE,VALUE, got --narrow {text}")
    if not keys:
        raise InputError(f"no choice has the key {pattern!r}{near(pattern, space.keys)}")
    return {key: [_label(space, key, each.strip()) for each in listed.split(",")] for key in keys}


def _label(space: Space, key: str, text: str) -> Any:
    """Returns the value that the text stands for; the text where there is none, as that is said later."""
    return next((label for label in space.values(key) if text in (str(label), json.dumps(label))), text)
