"""Codebooks: few values that all weights of a layer, or of a run of its channels, share.

Weights are divided by a scale per output channel first, so that one book serves channels of any size. The entries start
from k-means (Han et al. 2016, "Deep Compression", §3; weighted by the Hessian's diagonal: Choi et al. 2017, "Towards
the limit of network quantization", eq. 9). Then, in turns, each weight is assigned to an entry given what all others
do (`compression.solvers.rounding`), and the entries are fitted to the assignment by least squares.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

from compression.network.parametrizations import Codebook
from compression.solvers import moments, rounding
from compression.solvers.moments import Moments
from compression.solvers.rounding import Levels
from compression.steps import Share

TURNS = 3
"""How often entries are fitted and weights assigned anew, at most; once where it has to be fast."""

MANY = 64
"""From so many entries on there is nothing left to gain from turns."""

COARSE = 256
"""Places at which the first clusters may end; of many clusters, twice as many."""

LONGEST = 8
"""Times the average that a first cluster holds of these places, at most: they lie denser where clusters are smaller."""

ONE_HOTS = 20_000_000
"""Numbers in the assignments that entries are fitted to at most; of a larger layer every n-th row is looked at."""

DAMP = 1e-3


@dataclass(frozen=True)
class Codebooks:
    """entries [books, K] whole numbers, ascending, of 7 bits where `narrow`; scale [g, out/g]; keep [g, out/g, d] or
    None."""

    entries: torch.Tensor
    scale: torch.Tensor
    keep: torch.Tensor | None
    narrow: bool = False

    def levels(self) -> Levels:
        """As points to round to."""
        groups, rows = self.scale.shape
        each = self.entries.repeat_interleave(groups * rows // len(self.entries), 0)  # [out, K]
        return Levels.of(self.scale, each.reshape(groups, rows, -1), self.keep)

    def parametrization(self, keep: torch.Tensor | None) -> Codebook:
        """As torch computes with them; `keep` in the weight's shape."""
        return Codebook(self.entries.clone(), self.scale.flatten().clone(), keep=keep, narrow=self.narrow)


def fit(
    w: torch.Tensor,
    keep: torch.Tensor | None,
    m: Moments,
    share: Share,
    sign: torch.Tensor,
    *,
    turns: int = TURNS,
    narrow: bool = False,
) -> tuple[Codebooks, torch.Tensor]:
    """Books for w [g, out/g, d] and the weights that they give, same shape.

    sign [out]: ±1, of each channel's batch-norm scale; keep: which weights are not pruned; turns: how often the books
    are fitted to the choice, and the choice to the books; narrow: whether all entries must fit 7 bits.
    """
    books = _first(w, keep, m, share, sign, narrow)
    if share.assignment == "nearest" or share.entries >= 2 * MANY:
        return books, books.levels().round(w)
    size = books.scale.square()  # errors count in relation to their channel's size
    q = rounding.round_to(books.levels(), w, m, sweeps=1 if turns or keep is not None else 0)
    least = (moments.quadratic_loss(q, m) / size).sum()
    for _ in range(turns if share.entries < MANY else 0):
        turned = refit(books, q, m)
        turned_q = rounding.coordinate_descent(turned.levels(), turned.levels().round(q), m)
        error = (moments.quadratic_loss(turned_q, m) / size).sum()
        if error >= least:
            break
        books, q, least = turned, turned_q, error
    return books, q


def refit(books: Codebooks, q: torch.Tensor, m: Moments) -> Codebooks:
    """The books with the least error for the assignment that q [g, out/g, d] stands for, on whole numbers again.

    With A [d, K] the assignment of a row, s its scale and e its book's entries, q = s·A·e and the error relative to s
    is eᵀ(Σ AᵀHA)e - 2 eᵀ(Σ Aᵀg / s): a linear system for each book.
    """
    levels, count = books.levels(), books.entries.shape[1]
    index = levels.index(q)
    out, d = q.shape[0] * q.shape[1], q.shape[2]
    stride = max(1, out * d * count // ONE_HOTS)
    run = out // len(books.entries)
    fitted = []
    for begin, entries in zip(range(0, out, run), books.entries, strict=True):
        rows = torch.arange(begin, begin + run)[::stride]
        group, row = rows // q.shape[1], rows % q.shape[1]
        chosen = one_hot(index[group, row], count).to(q.dtype)  # [rows, d, K]
        if books.keep is not None:
            chosen = chosen * books.keep[group, row, :, None]
        square = (chosen.mT @ (m.h[group] @ chosen if len(m.h) > 1 else m.h @ chosen)).sum(0)  # [K, K]
        right = (chosen.mT @ (m.g[group, row] / books.scale[group, row, None])[..., None]).sum(0)[:, 0]
        ridge = DAMP * square.diagonal().mean().clamp_min(1e-10) * torch.eye(count)
        fitted.append(torch.linalg.solve(square + ridge, right + ridge @ entries))
    entries, scale = _whole(torch.stack(fitted), books.scale, books.narrow)
    values = entries.repeat_interleave(run, 0).gather(1, index.reshape(out, d)).reshape(q.shape)
    turned = values * scale[..., None] * (1 if books.keep is None else books.keep)
    return Codebooks(entries.sort(1).values, rounding.best_scale(turned, scale, m), books.keep, books.narrow)


def kmeans(values: torch.Tensor, weights: torch.Tensor, k: int, rounds: int = 200) -> torch.Tensor:
    """k centres [k] ascending of values [n] with little Σ weight · (value - nearest centre)²; all values if there are
    no more than k.

    Lloyd's algorithm on sorted values, where a cluster is a run and its mean a difference of sums. It starts from the
    best runs of all on a coarse grid; of very many, from where the theory has them.
    """
    distinct = values.unique()
    if len(distinct) <= k:
        return torch.cat([distinct, distinct[-1:].expand(k - len(distinct))])
    order = values.argsort()
    x, w = values[order].double(), weights[order].double().clamp_min(1e-12)
    mass, moment = _sums(w), _sums(w * x)
    if k < 2 * MANY:
        ends = torch.searchsorted(x, _spread(x, w, min(2 * COARSE, max(COARSE, 8 * k))))
        centres = _best_runs(torch.stack([mass, moment, _sums(w * x * x)]), ends, k)
    else:
        centres = _spread(x, w, k)
    for _ in range(rounds):
        ends = torch.searchsorted(x, (centres[1:] + centres[:-1]) / 2)
        ends = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), len(x))])
        held = mass[ends[1:]] - mass[ends[:-1]]
        moved = torch.where(held > 0, (moment[ends[1:]] - moment[ends[:-1]]) / held.clamp_min(1e-300), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres.to(values.dtype)


def _first(
    w: torch.Tensor, keep: torch.Tensor | None, m: Moments, share: Share, sign: torch.Tensor, narrow: bool
) -> Codebooks:
    """Books by k-means over the weights in units of their channel's root mean square."""
    kept = torch.ones_like(w) if keep is None else keep.to(w.dtype)
    scale = _sizes(w, kept, sign)
    x = w / scale[..., None]
    importance = {
        "hessian": m.h.diagonal(dim1=1, dim2=2)[:, None].expand_as(w),
        "magnitude": x.abs(),
        "none": torch.ones_like(w),
    }[share.weighting] * kept
    centres = _centres(x, importance, kept, _books(len(sign), share.channels_per_book), share.entries)
    return Codebooks(*_whole(centres, scale, narrow), keep, narrow)


@torch.no_grad()
def nearest(
    weight: torch.Tensor, keep: torch.Tensor, like: Codebook, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries [books, K], as many as `like` has, and scales [out] by k-means alone; weight, keep and counts [out, …].

    Squared errors of weights count `counts` times.
    """
    w, kept, importance = (t.flatten(1)[None].to(weight.dtype) for t in (weight, keep, counts))  # [1, out, d]
    scale = _sizes(w, kept, torch.where(like.scale < 0, -1.0, 1.0))
    centres = _centres(w / scale[..., None], importance * kept, kept, *like.entries.shape)
    entries, scale = _whole(centres, scale, like.narrow)
    return entries, scale[0]


def _sizes(w: torch.Tensor, kept: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Root mean square of each channel's weights that stay, with its sign: [g, out/g]."""
    power = (w * kept).square().sum(2) / kept.sum(2).clamp_min(1)
    return torch.where(power > 0, power.sqrt(), 1.0) * sign.reshape(power.shape)


def _centres(x: torch.Tensor, importance: torch.Tensor, kept: torch.Tensor, books: int, entries: int) -> torch.Tensor:
    """The best `entries` centres of each book's run of channels, ascending: [books, entries]."""
    parts = zip(*(t.reshape(books, -1) for t in (x, importance, kept)), strict=True)
    none = x.new_zeros(entries)
    return torch.stack([kmeans(a[k > 0], b[k > 0], entries) if k.any() else none for a, b, k in parts])


def _books(out: int, channels: int) -> int:
    """Number of books: of the least run of channels that is not shorter than asked for and divides the layer."""
    if not channels:
        return 1
    return out // next(n for n in range(min(channels, out), out + 1) if out % n == 0)


def _whole(entries: torch.Tensor, scale: torch.Tensor, narrow: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """entries [books, K] rounded to whole numbers, with the scale [g, out/g] that makes up for the change of unit."""
    top = Codebook.top_of(entries, narrow)
    ends = entries.abs().amax(1, keepdim=True)
    unit = torch.where(ends > 0, ends, top) / top  # [books, 1]; a book for nothing but pruned weights is all zeros
    each = unit.repeat_interleave(scale.numel() // len(unit), 0).reshape(scale.shape)
    return (entries / unit).round(), scale * each


def _sums(values: torch.Tensor) -> torch.Tensor:
    """Sums of the first 0, 1, …, n values."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])


def _best_runs(sums: torch.Tensor, ends: torch.Tensor, k: int) -> torch.Tensor:
    """Means [k] of the k runs with the least squared error in sum, if runs end at `ends` [m] only.

    sums [3, n+1]: of weight, weight·x and weight·x² over the first 0 … n values. Dynamic programming over the last run
    (Wang & Song 2011, "Ckmeans.1d.dp", eq. 1), none longer than `LONGEST` times the average.
    """
    ends = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), sums.shape[1] - 1)]).unique()
    longest = min(len(ends) - 1, LONGEST * len(ends) // k + 1)

    def behind(t: torch.Tensor, before: float) -> torch.Tensor:
        """The values at each place and at those where its last run may begin, itself last: [..., to, from]."""
        return torch.cat([t.new_full((*t.shape[:-1], longest), before), t], -1).unfold(-1, longest + 1, 1)

    sums = sums[:, ends]
    mass, moment, power = sums[..., None] - behind(sums, 0.0)
    error = (power - moment.square() / mass.clamp_min(1e-300)).clamp_min(0)  # an empty run costs none
    least, cuts = torch.full_like(mass[:, 0], float("inf")), []
    least[0] = 0
    for _ in range(k):
        least, cut = (behind(least, float("inf")) + error).min(1)
        cuts.append(cut)
    place, runs = len(ends) - 1, list[tuple[int, int]]()
    for cut in reversed(cuts):
        runs.append((place, int(cut[place])))
        place -= longest - runs[-1][1]
    to, begin = torch.tensor(runs, device=sums.device).T
    means = moment[to, begin] / mass[to, begin].clamp_min(1e-300)
    return torch.where(begin < longest, means, means.max()).sort().values


def _spread(x: torch.Tensor, w: torch.Tensor, k: int) -> torch.Tensor:
    """k points of ascending x [n] at equal shares of density^⅓: there the best centres lie (Panter & Dite 1951)."""
    bins = 2 * k
    place = ((x - x[0]) / (x[-1] - x[0]) * bins).long().clamp_max(bins - 1)
    density = x.new_zeros(bins).index_add_(0, place, w).pow(1 / 3).cumsum(0)
    shares = (torch.arange(k, dtype=x.dtype, device=x.device) + 0.5) / k * density[-1]
    return x[0] + (torch.searchsorted(density, shares) + 0.5) / bins * (x[-1] - x[0])
