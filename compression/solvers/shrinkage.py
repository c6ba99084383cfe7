"""How much of what few images say about the correlations of a layer's inputs is chance, and drawing it towards 0."""

import torch

FEW = 4
"""Rows for each input of a layer below which `share_of_few` is above 0."""

COMPARED = 1_024
"""Inputs of a layer that are compared between halves of the images, at most."""

TAKEN = (0.0, 0.25, 0.5, 1.0)
"""Parts of the share of chance, of which one is chosen."""

RIDGE = 0.01
"""Added to inputs of unit variance where some are predicted from others."""


def shrunk(h: torch.Tensor, g: torch.Tensor, w: torch.Tensor, share: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """H [g, d, d] and G [g, out/g, d], drawn by `share` [g] towards diag H, and towards what w gives for such inputs.

    Unchanged where `share` is 0 everywhere, or w is of another shape.
    """
    if w.shape != g.shape or not share.any():
        return h, g
    diagonal, part = h.diagonal(dim1=1, dim2=2), share[:, None, None]
    drawn = (1 - part) * h
    drawn.diagonal(dim1=1, dim2=2).add_(share[:, None] * diagonal)
    return drawn, (1 - part) * g + part * w * diagonal[:, None]


def share_of_few(h: torch.Tensor, rows: int) -> torch.Tensor:
    """For H [g, d, d] of so many rows that are independent, each image one of a classifier behind a global pool: [g].

    The oracle approximating shrinkage of the correlations (Chen et al. 2010, eq. 23). 0 from FEW rows an input on.
    """
    d = h.shape[1]
    if rows >= FEW * d:
        return h.new_zeros(len(h))
    alike = _correlations(h, h).square().sum((1, 2))  # tr R² of the correlations R; tr R is d
    share = ((1 - 2 / d) * alike + d * d) / ((rows + 1 - 2 / d) * (alike - d)).clamp_min(1e-9)
    return share.clamp(0, 1)


def share_between_halves(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """For centred rows whose first half is of other images than the second, from XᵀX of each, `gram.of_halves`: [g].

    The places of one image are alike, and what the two halves do not share is chance. Drawing correlations towards 0 by
    the share of their squares that is chance has the least squared error; how much of that is taken is what predicts
    best: of the inputs in one half of the rows every second one from the others, as fitted in the other half. Of more
    than COMPARED inputs, as many at equal distances stand for all.
    """
    step = -(-first.shape[2] // COMPARED)
    halves = [half[:, ::step, ::step] for half in (first, second)]
    first, second = (_correlations(half, halves[0] + halves[1]) * 2 for half in halves)
    alike, chance = _off_diagonal(first + second), _off_diagonal(first - second)
    share = (chance / alike.clamp_min(1e-9)).clamp(0, 1)
    of_half = 2 * share / (1 + share)  # half as many images bring twice as much chance
    errors = [
        _error_of_prediction(first, second, part * of_half) + _error_of_prediction(second, first, part * of_half)
        for part in TAKEN
    ]
    return torch.tensor(TAKEN)[torch.stack(errors).argmin(0)] * share


def _correlations(h: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
    """h [g, d, d] in units in which the diagonal of `variances` [g, d, d] is 1."""
    scale = variances.diagonal(dim1=1, dim2=2).clamp_min(1e-20).rsqrt()
    return (h * scale[:, :, None]).mul_(scale[:, None])


def _off_diagonal(m: torch.Tensor) -> torch.Tensor:
    """The sum of the squares beside the diagonals of m [g, d, d]: [g]."""
    squares = m.square()
    return squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)


def _error_of_prediction(fitted: torch.Tensor, judged: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Of every second input from the others under correlations `judged`, by weights for those `fitted`: [g].

    Both [g, d, d]. `fitted` is drawn towards the unit matrix by `share` [g]. Less a constant.
    """
    part = (1 - share)[:, None, None]
    known = part * fitted[:, ::2, ::2]
    known.diagonal(dim1=1, dim2=2).add_(share[:, None] + RIDGE)
    weights = torch.linalg.solve(known, part * fitted[:, ::2, 1::2])
    return (weights * (judged[:, ::2, ::2] @ weights - 2 * judged[:, ::2, 1::2])).sum((1, 2))
