"""When a differentiable search collapses: skip connections win, because they train fastest, not because they are best.

Three signs, of which the first says that it has happened and the others that it is coming:

- the share of skip connections among the operations of the derived normal cells (Liang et al. 2019, DARTS+,
  arXiv:1909.06035; Chu et al. 2020, Fair DARTS, arXiv:1911.12126);
- the largest eigenvalue of the Hessian of the validation loss with respect to the logits (Zela et al. 2020,
  "Understanding and Robustifying Differentiable Architecture Search", arXiv:1909.09656);
- its growth, by which Zela et al. stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.space import Space

SKIPS = ("skip_connect", "skip")
"""Labels of an operation that is its input."""
REDUCTION = "reduce"
"""Name of the cell that is no normal one."""
COLLAPSED_SHARE = 0.5
"""Share of skip connections above which they dominate a cell."""
WINDOW, RATIO = 5, 0.75
"""Zela et al. 2020: evaluations that are averaged and looked back, and the ratio of averages below which to stop."""


@dataclass(frozen=True)
class Cell:
    """Operations of a derived cell.

    Attributes:
        skips: Skip connections.
        operations: All that could have been one.
    """

    skips: int
    operations: int


def cells(space: Space, architecture: Mapping[str, Any]) -> dict[str, Cell]:
    """Returns the cells of an architecture: the choices that could be a skip, by the first part of their key."""
    found: dict[str, list[bool]] = {}
    for key, value in architecture.items():
        if any(label in SKIPS for label in space.values(key)):
            found.setdefault(key.split(".")[0], []).append(value in SKIPS)
    return {name: Cell(sum(chosen), len(chosen)) for name, chosen in found.items()}


def can_skip(space: Space) -> bool:
    """Whether any choice of a space could be a skip connection."""
    return any(label in SKIPS for key in space.keys for label in space.values(key))


def skip_share(space: Space, architecture: Mapping[str, Any]) -> float:
    """Returns the share of skip connections among the operations of the normal cells, in 0..1; 0 without operations.

    Every cell that is not named ``reduce`` is a normal one.
    """
    normal = [cell for name, cell in cells(space, architecture).items() if name != REDUCTION]
    operations = sum(cell.operations for cell in normal)
    return sum(cell.skips for cell in normal) / operations if operations else 0.0


@dataclass(frozen=True)
class Verdict:
    """Whether a search has collapsed, and why it is said."""

    is_collapsed: bool
    why: str


def judge(share: float, eigenvalues: Sequence[float] = ()) -> Verdict:
    """Returns whether a search has collapsed.

    Args:
        share: Of skip connections in the derived normal cells.
        eigenvalues: Of the Hessian in the course of the search, or none. Growth of them is a warning, no verdict.
    """
    stop = stopping_point(eigenvalues)
    grew = "" if stop is None else f"; the eigenvalue grew past the limit of Zela et al. after evaluation {stop + 1}"
    if share > COLLAPSED_SHARE:
        return Verdict(True, f"skip connections are {share:.0%} of the normal cells, more than half{grew}")
    return Verdict(False, f"skip connections are {share:.0%} of the normal cells, at most half{grew}")


def stopping_point(eigenvalues: Sequence[float], window: int = WINDOW, ratio: float = RATIO) -> int | None:
    """Returns the evaluation to go back to, or None while there is no reason.

    At the first evaluation ``i`` with ``mean(i - window) / mean(i) < ratio``, means being over the last ``window``
    evaluations, it is ``i - window``.
    """
    for last in range(2 * window - 1, len(eigenvalues)):
        before = fmean(eigenvalues[last - 2 * window + 1 : last - window + 1])
        now = fmean(eigenvalues[last - window + 1 : last + 1])
        if now > 0 and before / now < ratio:
            return last - window
    return None


def dominant_eigenvalue(loss: Callable[[], Tensor], parameters: Sequence[Tensor], *, steps: int = 20) -> float:
    """Returns the largest eigenvalue of a loss's Hessian, by Lanczos' iteration.

    Power iteration needs as many products and finds none where two of opposite sign are about as large, which is common
    here. Exact (but for rounding) when ``steps`` is at least the number of parameters.

    Args:
        loss: Evaluated once; twice differentiable in the parameters.
        parameters: With respect to which.
        steps: Most Hessian-vector products; the first vector is random, of a fixed seed.
    """
    import torch

    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    if not flat.requires_grad:  # linear in the parameters
        return 0.0
    # Not ones, which may be orthogonal to what is looked for: a softmax does not change when all its logits do.
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(flat.shape, generator=generator, dtype=torch.float64).to(flat.device)
    basis: list[Tensor] = []
    alphas: list[float] = []
    betas: list[float] = []
    norm = float(vector.norm())
    while len(basis) < min(steps, len(flat)) and norm > 1e-9 * max(map(abs, alphas), default=1.0):
        if basis:
            betas.append(norm)
        basis.append(vector / norm)
        products = torch.autograd.grad(
            flat, parameters, basis[-1].to(flat), retain_graph=True, materialize_grads=True
        )
        vector = torch.cat([part.reshape(-1) for part in products]).double()
        alphas.append(float(basis[-1] @ vector))
        known = torch.stack(basis)
        for _ in range(2):  # once leaves what rounding has brought back of the vectors before
            vector = vector - known.T @ (known @ vector)
        norm = float(vector.norm())
    off = torch.tensor(betas, dtype=torch.float64)
    tridiagonal = torch.diag(torch.tensor(alphas, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    return float(torch.linalg.eigvalsh(tridiagonal)[-1])
