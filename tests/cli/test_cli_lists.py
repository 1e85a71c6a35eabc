"""The command that lists strategies says what each needs and when to use it."""

from __future__ import annotations

import pytest

from sartor.cli import main
from sartor.registry import specs


def test_strategies_are_listed_with_what_they_need_and_when_to_use_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["strategies"])
    printed = " ".join(capsys.readouterr().out.split())
    for spec in specs("strategies").values():
        for said in spec.name, spec.summary, spec.needs, spec.when, spec.citation:
            assert said in printed, (spec.name, said)
    for name in "random", "tpe", "bayesian", "asha":
        spec = specs("strategies")[name]
        assert spec.needs and spec.when
