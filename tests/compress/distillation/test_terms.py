from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sartor.compress.distillation.attention import AttentionTransfer
from sartor.compress.distillation.hints import Hints
from sartor.compress.distillation.logits import Logits
from sartor.compress.distillation.relational import Relational
from sartor.compress.distillation.terms import Pair, Seen, as_map
from sartor.errors import InputError

PAIR = Pair("a", "b")


def seen(name: str, features: Tensor, classes: int = 5, seed: int = 0) -> Seen:
    logits = torch.randn(len(features), classes, generator=torch.Generator().manual_seed(seed))
    return Seen(logits, {name: features})


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_logits_are_hintons_divergence_times_the_squared_temperature() -> None:
    student, teacher = seen("a", maps(6, 2), seed=1), seen("b", maps(6, 2), seed=2)
    wanted = 9 * functional.kl_div(
        (student.logits / 3).log_softmax(1), (teacher.logits / 3).softmax(1), reduction="batchmean"
    )
    torch.testing.assert_close(Logits(3.0)(student, teacher), wanted)
    assert float(Logits(3.0)(teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_gradients_of_logits_keep_their_size_at_high_temperatures() -> None:
    teacher = seen("b", maps(64, 2), seed=2)
    sizes = []
    for temperature in (10.0, 20.0):
        logits = seen("a", maps(64, 2), seed=1).logits.requires_grad_()
        Logits(temperature)(Seen(logits, {}), teacher).backward()
        assert logits.grad is not None
        sizes.append(float(logits.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_a_hint_is_the_relative_error_of_the_regressed_map() -> None:
    student, teacher = seen("a", maps(4, 3, 6, 6)), seen("b", maps(4, 7, 3, 3, seed=1))
    term = Hints([PAIR], student, teacher, seed=0)
    regressor = term.regressors[0]
    ours = regressor(functional.avg_pool2d(student.features["a"], 2))
    theirs = teacher.features["b"]
    torch.testing.assert_close(
        term(student, teacher), (ours - theirs).square().mean() / theirs.square().mean(), rtol=1e-4, atol=0
    )
    again = Hints([PAIR], student, teacher, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(term.parameters(), again.parameters(), strict=True))


def test_attention_is_that_of_the_paper() -> None:
    first, second = maps(4, 3, 5, 5), maps(4, 8, 5, 5, seed=1)

    def attention(value: Tensor) -> Tensor:
        flat = value.pow(2).mean(1).view(len(value), -1)
        return flat / flat.norm(dim=1, keepdim=True)

    wanted = (attention(first) - attention(second)).pow(2).mean()
    torch.testing.assert_close(AttentionTransfer([PAIR])(seen("a", first), seen("b", second)), wanted)


def test_relations_are_those_of_loops_over_pairs_and_triples() -> None:
    ours, theirs = maps(5, 4), maps(5, 6, seed=1)

    def loops(rows: Tensor) -> tuple[Tensor, Tensor]:
        n = len(rows)
        apart = torch.tensor([[float((rows[i] - rows[j]).norm()) for j in range(n)] for i in range(n)])
        apart = apart / apart[~torch.eye(n, dtype=torch.bool)].mean()
        angles = torch.zeros(n, n, n)
        for i in range(n):
            for j in range(n):
                for k in range(n):
                    if i not in (j, k):
                        first, second = rows[j] - rows[i], rows[k] - rows[i]
                        angles[i, j, k] = first @ second / (first.norm() * second.norm())
        return apart, angles

    (d1, a1), (d2, a2) = loops(ours), loops(theirs)
    wanted = 25 * functional.smooth_l1_loss(d1, d2) + 50 * functional.smooth_l1_loss(a1, a2)
    term = Relational(PAIR)
    torch.testing.assert_close(term(seen("a", ours), seen("b", theirs)), wanted)
    scaled = seen("b", 3 * ours @ torch.linalg.qr(maps(4, 4, seed=3))[0])
    assert float(term(seen("a", ours), scaled)) == pytest.approx(0, abs=1e-4)  # turned and scaled: the same relations


def test_relations_of_equal_rows_have_finite_gradients() -> None:
    rows = torch.ones(4, 3, requires_grad=True)
    Relational(PAIR)(seen("a", rows), seen("b", maps(4, 3))).backward()
    assert rows.grad is not None and bool(torch.isfinite(rows.grad).all())


def test_tokens_become_maps() -> None:
    tokens = maps(2, 10, 5)
    assert torch.equal(as_map(tokens, "x")[:, :, 1, 2], tokens[:, 6])  # the first is a class token
    assert as_map(maps(2, 9, 5), "x").shape == (2, 5, 3, 3)
    assert as_map(maps(2, 7, 5), "x").shape == (2, 5, 1, 7)
    assert as_map(maps(2, 7), "x").shape == (2, 7, 1, 1)
    with pytest.raises(InputError, match=r"x: expected maps .* got shape \(2,\)"):
        as_map(maps(2), "x")


@pytest.mark.parametrize("weight", [-1.0, math.inf])
def test_weights_and_temperatures_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(InputError, match="weight"):
        Logits(weight=weight)
    with pytest.raises(InputError, match="temperature"):
        Logits(weight)
