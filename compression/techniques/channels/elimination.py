"""Backward elimination of the inputs of one layer, unit by unit, the rest refitted each time."""

import torch

from compression.solvers.moments import cholesky
from compression.techniques.channels.coupling import Member
from compression.techniques.channels.refit import Rows

PENDING = 128
"""Columns of updates that are kept beside the matrices until they are applied to them in one product."""

COMPACT = 0.8
"""The matrices drop what has left once at most this share of their units is there."""


class Elimination:
    """The inverse second moments A and the weights W of one reader while units leave it (`scores.by_error`).

    With V = A[:, S] L⁻ᵀ, L Lᵀ = A[S, S] and M = L⁻¹ W[S] for the inputs S of the unit that leaves, A becomes A - V Vᵀ
    and W becomes W - V M. Both are applied for many units at once, as a product of matrices; until then only the
    diagonal blocks of A and of W Wᵀ, which the losses need, are up to date. W is scaled by the square roots of its
    outputs' worth, so that the worth of an error is a sum of squares.
    """

    def __init__(self, rows: Rows, member: Member, information: torch.Tensor, damping: float):
        gram = rows.gram.clone()
        gram.diagonal().add_(damping * gram.diagonal().mean() + 1e-8)
        factor = cholesky(gram)
        share = 1 / (rows.variance.sum() + 1e-12)
        worth = (share * information).sqrt()  # of an output's error: [out]
        taps = len(gram) // rows.width
        order = member.unit.argsort(stable=True)
        self.units = int(member.unit.max()) + 1
        index = member.index[order].reshape(self.units, -1)  # [units, inputs per unit]
        columns = (index[..., None] * taps + torch.arange(taps)).flatten(1)  # [units, c]
        self.c = columns.shape[1]
        sequence = columns.flatten()  # unit by unit, its c columns side by side
        inverse, weight = torch.cholesky_inverse(factor), torch.cholesky_solve(rows.cross, factor)
        self.inverse = inverse[sequence][:, sequence]  # [units·c, units·c]
        self.weight = (weight * worth.sqrt())[sequence]  # [units·c, out]
        self.there = torch.arange(self.units)  # units that the matrices hold, in their order
        self.place = torch.arange(self.units)  # of each unit among them
        self.left = torch.ones(self.units, dtype=torch.bool)
        self._begin()

    def losses(self) -> torch.Tensor:
        """What the error of losing each unit next counts: [units]; of no meaning for units that have left."""
        known = self.squares / self.blocks if self.c == 1 else torch.linalg.solve_ex(self.blocks, self.squares)[0]
        found = torch.zeros(self.units)
        found[self.there] = known.diagonal(dim1=1, dim2=2).sum(1)
        return found

    def remove_(self, unit: int) -> None:
        """Refits the remaining weights without `unit` and takes it out of the inverse."""
        c, done = self.c, self.done
        mine = slice(int(self.place[unit]) * c, (int(self.place[unit]) + 1) * c)
        lower = torch.linalg.cholesky(self.blocks[self.place[unit]])
        across = self.inverse[mine].T - self.across[:, :done] @ self.across[mine, :done].T
        across = torch.linalg.solve_triangular(lower, across.T, upper=False).T  # V: [units·c, c]
        weight = self.weight[mine] - self.across[mine, :done] @ self.gone[:done]
        weight = torch.linalg.solve_triangular(lower, weight, upper=False)  # M: [c, out]
        shared = self.weight @ weight.T - self.across[:, :done] @ (self.gone[:done] @ weight.T)
        by_unit, shared = across.unflatten(0, (-1, c)), shared.unflatten(0, (-1, c))
        mixed = by_unit @ shared.mT
        self.squares += by_unit @ (weight @ weight.T) @ by_unit.mT - mixed - mixed.mT
        self.blocks -= by_unit @ by_unit.mT
        self.left[unit] = False
        self._neutralize(self.place[unit])
        self.across[:, done : done + c], self.gone[done : done + c] = across, weight
        self.done += c
        if self.done + c > self.across.shape[1]:
            self._apply()

    def _apply(self) -> None:
        """Brings the matrices up to date; those that hold many units that have left lose them."""
        self.inverse.addmm_(self.across[:, : self.done], self.across[:, : self.done].T, alpha=-1)
        self.weight.addmm_(self.across[:, : self.done], self.gone[: self.done], alpha=-1)
        kept = self.left[self.there]
        if kept.any() and kept.sum() <= COMPACT * len(kept):
            rows = kept.repeat_interleave(self.c).nonzero()[:, 0]
            self.inverse, self.weight = self.inverse[rows][:, rows], self.weight[rows]
            self.there = self.there[kept]
            self.place[self.there] = torch.arange(len(self.there))
        self._begin()

    def _begin(self) -> None:
        """Nothing is pending, and the blocks are those of the matrices."""
        rows = torch.arange(len(self.inverse)).unflatten(0, (-1, self.c))
        self.blocks = self.inverse[rows[:, :, None], rows[:, None, :]]  # [units there, c, c]
        by_unit = self.weight.unflatten(0, (-1, self.c))
        self.squares = by_unit @ by_unit.mT  # [units there, c, c]
        self._neutralize(~self.left[self.there])
        self.done = 0
        self.across = torch.zeros(len(self.inverse), max(PENDING, self.c))
        self.gone = torch.zeros(max(PENDING, self.c), self.weight.shape[1])

    def _neutralize(self, places: torch.Tensor) -> None:
        """Units that have left stay solvable."""
        self.blocks[places] = torch.eye(self.c)
        self.squares[places] = 0
