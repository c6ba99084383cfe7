"""Learned rounding (AdaRound, Nagel et al. 2020): up or down, by gradient descent on a relaxed choice."""

import torch

from compression.errors import InvalidSetting
from compression.solvers import moments
from compression.solvers.moments import Moments
from compression.solvers.rounding import Grid

STEPS, RATE, WARM_UP, SHARPEST, SOFTEST = 400, 0.03, 0.2, 2.0, 20.0
"""Of adaptive rounding: steps, learning rate, share before the choice is forced, last and first exponent β."""


STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
"""Between which the sigmoid of adaptive rounding is stretched before it is cut to [0, 1]: ζ and γ there."""


@torch.enable_grad()
def adaptive(grid: Grid, w: torch.Tensor, m: Moments) -> torch.Tensor:
    """Learns for each weight whether it goes up or down (Nagel et al. 2020, AdaRound, eq. 20-25).

    q = scale · (⌊w/scale⌋ + h(V)), h a sigmoid stretched and cut to [0, 1]; the error of the layer's answers plus
    Σ 1 - |2h - 1|^β is minimised with Adam, β falling from 20 to 2, until h is 0 or 1. The error is that of the
    moments, so a step costs one product with H.
    """
    if grid.powers:
        raise InvalidSetting("Adaptive rounding needs a grid of equal steps; powers of two are not.")
    scale = grid.scale[..., None] if grid.multipliers is None else grid.scale[..., None] * grid.multipliers
    low, top, offset = grid.low[..., None], grid.top[..., None], grid.offset[..., None]
    steps = w / scale - offset
    floor = steps.floor()
    share = ((steps - floor) - STRETCH_LOW) / (STRETCH_HIGH - STRETCH_LOW)
    v = torch.logit(share.clamp(1e-4, 1 - 1e-4)).detach().requires_grad_()
    optimizer = torch.optim.Adam([v], lr=RATE)
    worst = float((moments.quadratic_loss(grid.round(w), m) - moments.quadratic_loss(w, m)).sum().clamp_min(1e-12))

    def points(up: torch.Tensor) -> torch.Tensor:
        q = torch.minimum(torch.maximum(floor + up + offset, low), top) * scale
        return q if grid.keep is None else q * grid.keep

    for step in range(STEPS):
        h = (torch.sigmoid(v) * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW).clamp(0, 1)
        loss = moments.quadratic_loss(points(h), m).sum() / worst
        done = (step / STEPS - WARM_UP) / (1 - WARM_UP)
        if done > 0:
            beta = SHARPEST + (SOFTEST - SHARPEST) * (1 - done)
            loss = loss + (1 - (2 * h - 1).abs().pow(beta)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return points((v > 0).to(w.dtype)).detach()
