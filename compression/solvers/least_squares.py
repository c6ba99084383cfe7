"""Least squares over the weights that are kept, by the factorised moments or by conjugate gradients."""

import torch

from compression.solvers.moments import Moments

ROUNDS, QUICK_ROUNDS, TOLERANCE = 60, 12, 1e-9
"""Of conjugate gradients: how many at most, and the squared residual, relative to the right side, that is enough."""

WIDE, RIGHT = 1024, 1e-4
"""Of layers with more inputs it is looked first whether anything is to be solved: whether the answers lack more than
this share of themselves, which rounding explains. To solve takes seconds there: d³ against d² for each row.
"""


def refit(w: torch.Tensor, keep: torch.Tensor | None, m: Moments, *, rounds: int = ROUNDS) -> torch.Tensor:
    """Least squares over the kept weights, with a ridge towards w: (H + λI) w' = g + λw on each row's kept entries.

    w, keep [g, out/g, d]; entries that are not kept are zero. With keep=None one system serves all rows, and wide
    layers that answer as they should stay as they are.
    """
    if keep is None and w.shape[2] > WIDE and (w @ m.h - m.g).norm() <= RIGHT * m.g.norm():
        return w
    right = m.g + m.ridge * w
    if keep is None:
        return right @ m.inverse_cholesky.mT @ m.inverse_cholesky
    unit = m.unit
    return _conjugate_gradients(w, keep.to(w.dtype), m.h / unit, right / unit, m.ridge / unit, rounds)


def _conjugate_gradients(
    w: torch.Tensor, k: torch.Tensor, h: torch.Tensor, right: torch.Tensor, ridge: torch.Tensor, rounds: int
) -> torch.Tensor:
    """K (H + λI) K w' = K right for every row at once, from w on, with the diagonal as preconditioner.

    Each row has a mask k of its own, so a factorisation for each would cost d times as much as these products.
    """
    diagonal = h.diagonal(dim1=1, dim2=2)[:, None] + ridge  # [g, 1, d]
    x = w * k
    r = (right - x @ h - ridge * x) * k
    z = r / diagonal
    p, rz, least = z, (r * z).sum(2, keepdim=True), TOLERANCE * (right * k).square().sum(2).clamp_min(1e-20)
    for _ in range(rounds):
        if (r.square().sum(2) <= least).all():
            break
        ap = (p @ h) * k + ridge * p
        step = rz / (p * ap).sum(2, keepdim=True).clamp_min(1e-30)
        x, r = x + step * p, r - step * ap
        z = r / diagonal
        rz, before = (r * z).sum(2, keepdim=True), rz
        p = z + rz / before.clamp_min(1e-30) * p
    return x
