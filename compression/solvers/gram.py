"""XᵀX of rows X, of all of them and of each half: what correlations are made of."""

import torch

COLUMNS = 192
"""Columns of XᵀX at once: only the half that is on and above the diagonal is computed."""


def gram(rows: torch.Tensor) -> torch.Tensor:
    """rowsᵀ · rows, [g, d, d], of rows [g, m, d]."""
    d = rows.shape[2]
    if d <= COLUMNS:
        return rows.mT @ rows
    h = rows.new_empty(len(rows), d, d)
    for begin in range(0, d, COLUMNS):
        end = begin + COLUMNS
        h[:, begin:end, begin:] = rows[..., begin:end].mT @ rows[..., begin:]
        h[:, end:, begin:end] = h[:, begin:end, end:].mT
    return h


def of_halves(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`gram` of the first and of the second half of the m rows; their sum is that of all."""
    first, second = rows.tensor_split(2, 1)
    return gram(first), gram(second)
