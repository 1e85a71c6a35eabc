"""NAS-Bench-Macro's chains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.spaces import nasbench_macro
from sartor.spaces.nasbench_macro import from_digits
from sartor.testing.spaces import check_space


def test_the_space_keeps_what_every_space_promises() -> None:
    check_space(nasbench_macro.nasbench_macro(3, 10, width=4, features=16), samples=10, build=3)
    assert nasbench_macro.wired().count() == 6561


def test_networks_and_wiring_have_equal_architectures() -> None:
    built, wired = nasbench_macro.nasbench_macro(3, 10), nasbench_macro.wired()
    assert built.keys == wired.keys and built.sample(np.random.default_rng(0)) in wired


@pytest.mark.parametrize(("digits", "params"), [("00000000", 387_882), ("00000001", 791_594), ("11111111", 1_588_874)])
def test_networks_have_the_published_number_of_parameters(digits: str, params: int) -> None:
    with torch.device("meta"):
        network = nasbench_macro.nasbench_macro(3, 10).build(from_digits(digits))
    assert sum(each.numel() for each in network.parameters()) == params


def test_an_identity_that_keeps_the_shape_may_stand_anywhere_in_its_stage() -> None:
    graph = nasbench_macro.graph
    assert graph(from_digits("00102000")) == graph(from_digits("00120000"))
    assert graph(from_digits("00102000")) != graph(from_digits("00100002"))
    assert graph(from_digits("00000000")).labels[1] == "conv1x1 width=2 stride=2"


def test_other_texts_are_refused() -> None:
    for text in ("0000000", "00000003"):
        with pytest.raises(InputError, match="expected 8 digits from 0 to 2"):
            from_digits(text)
