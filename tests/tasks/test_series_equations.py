"""Paths, solvers and controlled differential equations against formulas, other libraries, and one another."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor, nn

from sartor.errors import DivergedError, ExportError, InputError
from sartor.tasks.series.cde import DiagonalCDE, LowRankField, NonlinearField, SolvedCDE, diagonal_states
from sartor.tasks.series.gru import DecayGRU
from sartor.tasks.series.network import SeriesNetwork
from sartor.tasks.series.paths import Path, make_path
from sartor.tasks.series.solvers import DormandPrince, FixedSteps

ROWS, CHANNELS, HIDDEN = 11, 3, 4


def series(num: int = 5, missing: float = 0.5) -> tuple[Tensor, Tensor]:
    """Returns times and values in float64, each series with its own times, the last without its second channel."""
    rng = np.random.default_rng(0)
    time = np.cumsum(rng.uniform(0.1, 1.0, (num, ROWS)), 1)
    values = rng.normal(size=(num, ROWS, CHANNELS))
    values[rng.random(values.shape) < missing] = np.nan
    values[-1, :, 1] = np.nan
    return torch.from_numpy(time), torch.from_numpy(values)


def held(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns values with the nearest one before the first and behind the last, and where these or others are."""
    values, known = values.copy(), np.flatnonzero(~np.isnan(values))
    values[: known[0]], values[known[-1] :] = values[known[0]], values[known[-1]]
    return values, ~np.isnan(values)


# --- paths


def test_each_channel_is_a_natural_spline_through_its_own_observations() -> None:
    time, values = series()
    path = make_path(time, values, "cubic")
    ends = path.knots()
    for i, j in np.ndindex(len(time), CHANNELS):
        if values[i, :, j].isnan().all():
            assert not ends[i, :, 1 + j].any()
            continue
        filled, known = held(values[i, :, j].numpy())
        t = time[i].numpy()
        spline = CubicSpline(t[known], filled[known], bc_type="natural")
        for u in (0.0, 0.3, 0.8, 1.0):
            found = (ends[i, :-1] + path.rise(u)[i])[:, 1 + j].numpy()
            np.testing.assert_allclose(found, spline(t[:-1] + u * np.diff(t)), atol=1e-10)
            slope = path.derivative(u)[i, :, 1 + j].numpy() / np.diff(t)
            np.testing.assert_allclose(slope, spline(t[:-1] + u * np.diff(t), 1), atol=1e-9)


def test_splines_of_long_series_are_as_exact() -> None:
    rng = np.random.default_rng(1)
    t, x = np.cumsum(rng.gamma(0.5, 1.0, 700) + 1e-3), rng.normal(size=700)
    path = make_path(torch.from_numpy(t)[None], torch.from_numpy(x)[None, :, None], "cubic")
    middle = CubicSpline(t, x, bc_type="natural")((t[1:] + t[:-1]) / 2)
    found = (path.knots()[:, :-1] + path.rise(0.5))[0, :, 1].numpy()
    np.testing.assert_allclose(found, middle, rtol=1e-9, atol=1e-9 * np.abs(middle).max())


def test_the_rectilinear_path_passes_time_and_then_jumps() -> None:
    nan = torch.nan
    time = torch.tensor([[0.0, 1.0, 3.0, 3.0]])
    values = torch.tensor([[[nan], [5.0], [nan], [nan]]])
    path = make_path(time, values, "rectilinear", counts=2.0)
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 5, 0.5, 2.5], [3, 5, 0.5, 2.5], [3, 5, 0.5, 2.5]]
    torch.testing.assert_close(path.knots()[0, :5], torch.tensor(expected))
    assert path.width.tolist() == [[1, 1, 1, 1, 0, 0]] and not path.slope[:, 4:].any()


@pytest.mark.parametrize("interpolation", ["cubic", "rectilinear"])
def test_a_path_does_not_depend_on_what_it_is_batched_with(interpolation: Any) -> None:
    time, values = series()
    alone = make_path(time[1:2, :6], values[1:2, :6], interpolation, 1.0)
    time, values = time.clone(), values.clone()
    time[1, 6:], values[1, 6:] = time[1, 5], torch.nan
    found = make_path(time, values, interpolation, 1.0)
    pieces = alone.slope.shape[1]
    torch.testing.assert_close(found.slope[1, :pieces], alone.slope[0])
    assert not found.slope[1, pieces:].any()


def test_splines_are_those_of_torchcde() -> None:
    torchcde = pytest.importorskip("torchcde", reason="torchcde is an oracle that the package does not need")
    time, values = series()
    for i in range(len(time)):
        theirs = torchcde.CubicSpline(torchcde.natural_cubic_coeffs(values[i], time[i]), time[i])
        ours = make_path(time[i : i + 1], values[i : i + 1], "cubic")
        middle = time[i, :-1] + 0.4 * time[i].diff()
        expected = torch.stack([theirs.evaluate(t) for t in middle])
        torch.testing.assert_close((ours.knots()[:, :-1] + ours.rise(0.4))[0, :, 1:], expected)


# --- solvers


def equation(interpolation: Any = "cubic") -> tuple[nn.Module, Tensor, Path]:
    torch.manual_seed(0)
    time, values = series()
    field = NonlinearField(HIDDEN, 1 + CHANNELS, width=8).double()
    return field, torch.randn(len(time), HIDDEN, dtype=torch.float64), make_path(time, values, interpolation)


@pytest.mark.parametrize("interpolation", ["cubic", "rectilinear"])
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_fixed_steps_converge_at_their_order(interpolation: Any, method: Any, order: int) -> None:
    field, state, path = equation(interpolation)
    with torch.no_grad():
        exact = FixedSteps("rk4", 64).final(field, state, path)
        errors = [(FixedSteps(method, n).final(field, state, path) - exact).abs().max() for n in (8, 16)]
    assert float(torch.log2(errors[0] / errors[1])) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("interpolation", ["cubic", "rectilinear"])
def test_the_adaptive_solver_keeps_to_its_tolerance(interpolation: Any) -> None:
    field, state, path = equation(interpolation)
    with torch.no_grad():
        exact = FixedSteps("rk4", 64).final(field, state, path)
        for tolerance in (1e-4, 1e-6, 1e-8):
            # Errors of steps add up, over some tens of them.
            error = (DormandPrince(tolerance).final(field, state, path) - exact).abs().max()
            assert float(error) < 1000 * tolerance


def test_a_linear_equation_has_its_exponential() -> None:
    # dz = A z dt over a time of 2, whatever is observed in between.
    matrix = torch.tensor([[-0.3, 1.0], [-1.0, -0.2]], dtype=torch.float64)
    time = torch.tensor([[0.0, 0.5, 2.0]], dtype=torch.float64)
    path = make_path(time, torch.zeros(1, 3, 1, dtype=torch.float64), "rectilinear")
    state = torch.tensor([[1.0, 2.0]], dtype=torch.float64)

    class Linear(nn.Module):
        def forward(self, z: Tensor, dx: Tensor) -> Tensor:
            return z @ matrix.T * dx[:, :1]

    expected = state @ torch.linalg.matrix_exp(2 * matrix).T
    for solver in (FixedSteps("rk4", 20), DormandPrince(1e-8)):
        torch.testing.assert_close(solver.final(Linear(), state, path), expected, atol=1e-6, rtol=1e-6)


def test_solutions_are_those_of_torchcde() -> None:
    torchcde = pytest.importorskip("torchcde", reason="torchcde is an oracle that the package does not need")
    field, state, path = equation()
    time, values = series()
    for i in range(2):
        both = torch.cat((time[i].unsqueeze(-1), values[i]), -1)
        spline = torchcde.CubicSpline(torchcde.natural_cubic_coeffs(both, time[i]), time[i])

        class Theirs(nn.Module):
            def forward(self, t: Tensor, z: Tensor) -> Tensor:
                return torch.stack([field(z[None], e[None])[0] for e in torch.eye(1 + CHANNELS).double()], -1)

        with torch.no_grad():
            z = torchcde.cdeint(
                spline, Theirs(), state[i], time[i][[0, -1]], adjoint=False, method="dopri5", rtol=1e-8, atol=1e-8
            )
            torch.testing.assert_close(
                DormandPrince(1e-8).final(field, state, path)[i], z[-1], atol=1e-5, rtol=1e-5
            )


def gradients(solver: Any, interpolation: Any = "cubic") -> Tensor:
    field, state, path = equation(interpolation)
    state.requires_grad_()
    solver.final(field, state, path).square().sum().backward()
    return torch.cat([each.grad.flatten() for each in (state, *field.parameters())])


@pytest.mark.parametrize("interpolation", ["cubic", "rectilinear"])
def test_both_ways_find_the_same_gradients(interpolation: Any) -> None:
    exact = gradients(FixedSteps("rk4", 32), interpolation)
    for solver, error in (
        (FixedSteps("rk4", 16, adjoint=True), 1e-3), (FixedSteps("midpoint", 16, adjoint=True), 5e-2),
        (DormandPrince(1e-7), 1e-3), (DormandPrince(1e-7, adjoint=True), 1e-3),
    ):  # fmt: skip
        assert float((gradients(solver, interpolation) - exact).norm() / exact.norm()) < error


def kept_bytes(solver: Any, rows: int) -> int:
    """Returns the bytes that are kept for the backward pass, the path left out."""
    time = torch.linspace(0, 3, rows).repeat(2, 1)
    path = make_path(time, torch.sin(time.unsqueeze(-1) * torch.tensor([1.0, 2.0])), "cubic")
    field = NonlinearField(HIDDEN, 3, width=8)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = solver.final(field, torch.zeros(2, HIDDEN, requires_grad=True), path).sum()
    loss.backward()
    return sum(kept.values())


@pytest.mark.parametrize("make", [partial(FixedSteps, "rk4"), partial(DormandPrince, 1e-3)])
def test_what_the_adjoint_keeps_does_not_grow_with_the_length(make: Callable[..., Any]) -> None:
    assert kept_bytes(make(adjoint=True), 320) == kept_bytes(make(adjoint=True), 20)
    if isinstance(make(), FixedSteps):
        assert kept_bytes(make(), 320) > 10 * kept_bytes(make(), 20)


def test_what_an_adaptive_solver_says_of_a_series_does_not_depend_on_others() -> None:
    field, state, path = equation()
    alone = Path(*(each[:1] if isinstance(each, Tensor) else each for each in path))
    with torch.no_grad():
        both = DormandPrince(1e-3).final(field, state, path)[:1], DormandPrince(1e-3).final(field, state[:1], alone)
    torch.testing.assert_close(*both)


def test_an_equation_that_diverges_stops_with_what_to_do() -> None:
    class Explodes(nn.Module):
        def forward(self, z: Tensor, dx: Tensor) -> Tensor:
            return 50 * z.square() * dx[:, :1]

    _, state, path = equation()
    with pytest.raises(DivergedError, match="dopri5 with tolerance 0.001 stopped at .*allow a larger tolerance"):
        DormandPrince(1e-3).final(Explodes(), state.abs() + 1, path)


def test_the_adjoint_refuses_a_path_that_learns() -> None:
    field, state, path = equation()
    path = path._replace(slope=path.slope.clone().requires_grad_())
    with pytest.raises(InputError, match="no gradients of the path"):
        FixedSteps("rk4", adjoint=True).final(field, state, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedSteps("rk5"), "no solver 'rk5'; did you mean 'rk4'"),  # type: ignore[arg-type]
        (lambda: FixedSteps("rk4", 0), "at least 1"),
        (lambda: DormandPrince(0.0), "between 0 and 1"),
    ],
)
def test_solvers_refuse_what_makes_no_sense(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


# --- equations


@pytest.mark.parametrize("interpolation", ["cubic", "rectilinear"])
def test_the_closed_form_of_diagonal_equations_is_what_a_solver_finds(interpolation: Any) -> None:
    torch.manual_seed(0)
    time, values = series()
    path = make_path(time, values, interpolation, 5.0)
    channels, half = path.slope.shape[2], 3
    forget = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)
    turn = 0.3 * torch.randn(half, channels, dtype=torch.float64)
    drive = torch.randn(2 * half, channels, dtype=torch.float64)
    start = torch.randn(len(time), 2 * half, dtype=torch.float64)

    class Field(nn.Module):
        def forward(self, z: Tensor, dx: Tensor) -> Tensor:
            z = torch.complex(*z.chunk(2, -1))
            change = z * torch.complex(-forget * dx[:, :1], dx @ turn.T)
            return torch.cat((change.real, change.imag), -1) + dx @ drive.T

    expected = FixedSteps("rk4", 64).along(Field(), start, path)
    torch.testing.assert_close(
        diagonal_states(start, forget, turn, drive, path), expected, atol=1e-4 * float(expected.abs().max()), rtol=0
    )


def test_a_low_rank_equation_turns_and_forgets_but_never_grows() -> None:
    torch.manual_seed(0)
    field = LowRankField(6, 4, rank=2)
    with torch.no_grad():
        field.drive.weight.zero_()
        z, dx = torch.randn(50, 6), torch.randn(50, 4)
        dx[:, 0] = dx[:, 0].abs()
        assert bool(((z * field(z, dx)).sum(-1) <= 1e-5).all())
        dx[:, 0] = 0
        torch.testing.assert_close((z * field(z, dx)).sum(-1), torch.zeros(50), atol=1e-4, rtol=0)


def test_a_gru_with_decay_is_its_equations() -> None:
    torch.manual_seed(0)
    gru = DecayGRU(2, 3.0, hidden=3)
    with torch.no_grad():
        gru.value_decay.fill_(0.7)
        nan = torch.nan
        time, values = torch.tensor([[0.0, 0.5, 2.0]]), torch.tensor([[[1.0, nan], [nan, 2.0], [nan, nan]]])
        state, last, since = torch.zeros(1, 3), torch.zeros(1, 2), torch.zeros(1, 2)
        for i in range(3):
            x, mask = values[:, i].nan_to_num(), (~values[:, i].isnan()).float()
            gap = time[0, i] - since
            read = mask * x + (1 - mask) * torch.exp(-0.7 * gap) * last
            state = torch.exp(-torch.relu(gru.state_decay(gap))) * state
            state = gru.cell(torch.cat((read, mask), 1), state)
            last, since = torch.where(mask > 0, x, last), torch.where(mask > 0, time[0, i], since)
        torch.testing.assert_close(gru(time, values), state)


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "solved, on a spline": partial(
        SolvedCDE, field=partial(NonlinearField, width=8), solver=FixedSteps("midpoint"), hidden=4
    ),
    "diagonal, causal": partial(DiagonalCDE, hidden=8, features=4, counts=True, interpolation="rectilinear"),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_exported_network_takes_missing_values_and_shorter_series(kind: str, tmp_path: Any) -> None:
    runtime = pytest.importorskip("onnxruntime")
    from sartor.export.onnx import export_onnx

    torch.manual_seed(0)
    network = SeriesNetwork(CHANNELS, 2, 5.0, encoder=ENCODERS[kind]).eval()
    time, values = (each[:, :4].float() for each in series(num=3))
    time[1, 3:], values[1, 3:] = time[1, 2], torch.nan
    inputs = (time[:1], values[:1].nan_to_num())
    export_onnx(network, inputs, tmp_path / "a.onnx", description={})
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"))
    with torch.no_grad():
        for i in range(3):
            given = time[i : i + 1], values[i : i + 1]
            feeds = {entry.name: each.numpy() for entry, each in zip(session.get_inputs(), given, strict=True)}
            np.testing.assert_allclose(session.run(None, feeds)[0], network(*given).numpy(), atol=1e-4)


def test_an_adaptive_solver_is_not_exported_and_is_named(tmp_path: Any) -> None:
    pytest.importorskip("onnxruntime")
    from sartor.export.onnx import convert_to_measure, export_onnx

    encoder = partial(SolvedCDE, field=NonlinearField, solver=DormandPrince(1e-2), hidden=4)
    network = SeriesNetwork(CHANNELS, 2, 5.0, encoder=encoder).eval()
    inputs = torch.linspace(0, 1, 5)[None], torch.zeros(1, 5, CHANNELS)
    with pytest.raises(ExportError, match="the solver dopri5 .*solver: euler, midpoint or rk4"):
        export_onnx(network, inputs, tmp_path / "a.onnx", description={})
    with pytest.raises(ExportError, match="the solver dopri5"):
        convert_to_measure(network, inputs, "a test")
