"""Layers as products of smaller ones: which products there are, what they cost, what of the answers they lose.

| kind    | layers in place of a k×k convolution of i channels to o                  | after |
| output  | k×k of i to r, 1×1 of r to o (a linear layer: i to r, r to o)            | Zhang et al. 2016, §3.1 |
| input   | 1×1 of i to r, k×k of r to o                                             | |
| spatial | k×1 of i to r, 1×k of r to o                                             | Jaderberg et al. 2014, §2 |
| tucker  | 1×1 of i to r, k×k of r to s, 1×1 of s to o                              | Kim et al. 2016, §3 |

What counts is the error of the answers W x, not of the weights W. With H the second moments of patches x (d = i·k·k),
the best rank-r product that ends in a 1×1 layer projects the answers on the r main axes of W H Wᵀ: what is lost are the
other eigenvalues. The others begin with a layer whose axes come from a singular value decomposition of the weights
times a root of the moments of what is contracted; all that follows is then the exact least-squares fit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from compression.network.graph import LAYERS, padded, padding_of
from compression.solvers.moments import cholesky

Layer = nn.Conv2d | nn.Linear


RANKS = 8
"""Ranks that are looked at for each kind, at most, evenly spread over those that save something."""


RIDGE = 1e-3
"""Share of the mean diagonal that is added to moments."""


SAVES = 0.95
"""A product has to cost less than this share of the layer's multiply-accumulates."""


@dataclass(frozen=True)
class Split:
    """A product in place of a layer: its multiply-accumulates, and the share of the answers' variance that it loses."""

    kind: str
    ranks: tuple[int, ...]
    macs: int
    error: float


@dataclass(frozen=True)
class Place:
    """Height and width of a layer's input and output; (1, positions) for linear layers."""

    inputs: tuple[int, int]
    outputs: tuple[int, int]


@dataclass(frozen=True)
class _Fitted:
    """axes [R, a]: the first layer, the most important row first; lower [R·b, R·b] and answers [o, R·b]: `_fit_all`."""

    axes: torch.Tensor
    lower: torch.Tensor
    answers: torch.Tensor
    taps: int


class Problem:
    """One layer that may be split.

    h [d, d]: moments of its patches, without their mean [d], None where nothing was looked at; importance [o]: what
    each answer counts.
    """

    def __init__(
        self, layer: Layer, h: torch.Tensor, importance: torch.Tensor, place: Place, mean: torch.Tensor | None = None
    ):
        self.layer, self.place, self.importance, self.mean = layer, place, importance, mean
        weight = layer.weight.detach()
        self.weight = weight if weight.dim() == 4 else weight[..., None, None]  # [o, i, kh, kw]
        self.h = h + RIDGE * h.diagonal().mean() * torch.eye(len(h))
        self.scaled = importance[:, None] * self.weight.flatten(1)  # [o, d]
        self.covariance = self.scaled @ self.h @ self.scaled.T
        self._known: dict[str, _Fitted] = {}
        self.variance = float(self.covariance.trace().clamp_min(1e-20))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer as it is."""
        return self.weight.numel() * math.prod(self.place.outputs)

    def splits(self, round_to: int, kinds: tuple[str, ...]) -> list[Split]:
        """All products of these kinds that save multiply-accumulates, with ranks that are multiples of `round_to`.

        Linear and 1×1 layers become two of their kind whatever is asked for.
        """
        if not float(self.covariance.trace()) > 0:  # it reads or answers zeros only
            return []
        pointwise = self.weight.shape[2:] == (1, 1)
        usable = ("output",) if pointwise else kinds
        found = [split for kind in usable for split in _SPLITS[kind](self, round_to)]
        return [split for split in found if split.macs < SAVES * self.macs]

    def factors(self, split: Split) -> tuple[torch.Tensor, ...]:
        """The weights [out, in, kh, kw] of the product's layers, first to last."""
        if split.kind == "output":
            return self._projected(self.weight, self.output_axes[1][:, : split.ranks[0]])
        first, rest = self._first(split.kind, split.ranks[0])
        if split.kind != "tucker":
            return first, rest
        axes = self.answers(split.kind, split.ranks[0])[1][:, : split.ranks[1]]
        return first, *self._projected(rest, axes)

    def product(self, split: Split) -> torch.Tensor:
        """The weights [o, i, kh, kw] of the one layer that answers as the product does."""
        factors = [*self.factors(split)]
        if split.kind in ("output", "tucker"):
            last = factors.pop()
            factors[-1] = torch.einsum("or,rikl->oikl", last[..., 0, 0], factors[-1])
        if split.kind == "output":
            return factors[0]
        first, rest = factors
        if split.kind == "spatial":
            return torch.einsum("orl,rik->oikl", rest[:, :, 0], first[..., 0])
        return torch.einsum("orkl,ri->oikl", rest, first[..., 0, 0])

    def bias(self, split: Split) -> torch.Tensor | None:
        """The bias [o] with which the product's mean answers are the layer's; what is projected varies about them."""
        bias = None if self.layer.bias is None else self.layer.bias.detach()
        if self.mean is None:
            return bias
        lost = (self.weight - self.product(split)).flatten(1) @ self.mean
        return lost if bias is None else bias + lost

    @cached_property
    def output_axes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Variances along the main axes of the answers, descending, and the axes [o, o]."""
        return _main_axes(self.covariance)

    def lost(self, eigenvalues: torch.Tensor, rank: int) -> float:
        """Share of the variance outside the first `rank` axes."""
        return float(eigenvalues[rank:].clamp_min(0).sum()) / self.variance

    def fit(self, kind: str, rank: int) -> float:
        """Share of the answers' variance that is lost behind the first layer of `kind`, where the rest is fitted."""
        return max(0.0, 1 - float(self._answers(kind, rank).square().sum()) / self.variance)

    def answers(self, kind: str, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Variances along the main axes of the answers that are fitted behind the first layer, and those axes."""
        root = self._answers(kind, rank)
        return _main_axes(root @ root.T)

    def _answers(self, kind: str, rank: int) -> torch.Tensor:
        """Y [o, r·b], where Y Yᵀ is the covariance of the answers that are fitted behind the first layer."""
        fitted = self._fitted(kind)
        return self.importance[:, None] * fitted.answers[:, : rank * fitted.taps]

    def _first(self, kind: str, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of the first layer, and of one that follows it, fitted by least squares."""
        fitted, (o, i, kh, kw) = self._fitted(kind), self.weight.shape
        first, size = fitted.axes[:rank], rank * fitted.taps
        lower = fitted.lower[:size, :size]
        rest = torch.linalg.solve_triangular(lower, fitted.answers[:, :size], upper=False, left=False)
        if kind == "spatial":
            return first.reshape(rank, i, kh, 1), rest.reshape(o, rank, 1, kw)
        return first.reshape(rank, i, 1, 1), rest.reshape(o, rank, kh, kw)

    def _fitted(self, kind: str) -> "_Fitted":
        """What follows the first layer, for all ranks of it at once. Tucker products begin like those of kind input."""
        view = "spatial" if kind == "spatial" else "input"
        if view not in self._known:
            self._known[view] = self._fit_all(view)
        return self._known[view]

    def _fit_all(self, kind: str) -> "_Fitted":
        """With T the first layer and b the taps behind it: S = T H Tᵀ = L Lᵀ, G = W H Tᵀ, Y = G L⁻ᵀ.

        The first r·b rows and columns of S are those of rank r, and so are those of L and the columns of Y.
        """
        axes, (weight, h) = self._contracted(kind), self._views(kind)
        (rank, a), b = axes.shape, weight.shape[2]
        through = (axes @ h.reshape(a, -1)).reshape(rank * b, a, b)  # T H
        square = torch.einsum("nab,ra->nrb", through, axes).reshape(rank * b, rank * b)
        answers = (weight.flatten(1) @ self.h).reshape(-1, a, b)  # W H
        right = torch.einsum("oab,ra->orb", answers, axes).reshape(-1, rank * b)
        lower = cholesky(square + 1e-6 * square.diagonal().mean() * torch.eye(rank * b))
        return _Fitted(axes, lower, torch.linalg.solve_triangular(lower, right.T, upper=False).T, b)

    def _contracted(self, kind: str) -> torch.Tensor:
        """Uᵀ L⁻¹ [R, a], where L Lᵀ are the moments of what the first layer reads and U S Vᵀ = Lᵀ W."""
        weight, h = self._views(kind)
        lower = cholesky(torch.einsum("abcb->ac", h) / h.shape[1])
        wide = (self.importance[:, None, None] * weight).permute(1, 0, 2).flatten(1)  # [a, o·b]
        u = torch.linalg.svd(lower.T @ wide, full_matrices=False).U
        useful = u[:, : math.ceil(self.macs / self._row_macs(kind))]  # more rows save nothing
        return torch.linalg.solve_triangular(lower.T, useful, upper=True).T

    def _row_macs(self, kind: str) -> int:
        """Multiply-accumulates of one row of the first layer, at least."""
        i, kh = self.weight.shape[1:3]
        if kind == "input":
            return i * math.prod(self.place.inputs)
        o, kw = self.weight.shape[0], self.weight.shape[3]
        return i * kh * self.place.outputs[0] * self.place.inputs[1] + o * kw * math.prod(self.place.outputs)

    def _views(self, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights [o, a, b] and moments [a, b, a, b]; the first layer contracts a: channels, or channels and rows."""
        o, i, kh, kw = self.weight.shape
        a, b = (i * kh, kw) if kind == "spatial" else (i, kh * kw)
        return self.weight.reshape(o, a, b), self.h.reshape(a, b, a, b)

    def _projected(self, weight: torch.Tensor, axes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """weight [o, …] as a layer to the axes [o, r] of the answers, and a 1×1 layer back."""
        down = torch.einsum("or,oikl->rikl", self.importance[:, None] * axes, weight)
        return down, (axes / self.importance[:, None])[..., None, None]


def _main_axes(covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values, axes = torch.linalg.eigh(covariance)
    return values.flip(0), axes.flip(1)


def _output(p: Problem, round_to: int) -> Iterator[Split]:
    o, d = p.scaled.shape
    each = (d + o) * math.prod(p.place.outputs)
    for r in _ranks(p.macs / each, min(o, d), round_to):
        yield Split("output", (r,), r * each, p.lost(p.output_axes[0], r))


def _input(p: Problem, round_to: int) -> Iterator[Split]:
    o, i, kh, kw = p.weight.shape
    each = i * math.prod(p.place.inputs) + kh * kw * o * math.prod(p.place.outputs)
    for r in _ranks(p.macs / each, i, round_to):
        yield Split("input", (r,), r * each, p.fit("input", r))


def _spatial(p: Problem, round_to: int) -> Iterator[Split]:
    o, i, kh, kw = p.weight.shape
    each = i * kh * p.place.outputs[0] * p.place.inputs[1] + o * kw * math.prod(p.place.outputs)
    for r in _ranks(p.macs / each, min(i * kh, o * kw), round_to):
        yield Split("spatial", (r,), r * each, p.fit("spatial", r))


def _tucker(p: Problem, round_to: int) -> Iterator[Split]:
    o, i, kh, kw = p.weight.shape
    inside, outside = math.prod(p.place.inputs), math.prod(p.place.outputs)
    for r in _ranks(p.macs / (i * inside), i, round_to):
        lost, (values, _) = p.fit("input", r), p.answers("input", r)
        for s in _ranks((p.macs - r * i * inside) / ((r * kh * kw + o) * outside), o, round_to):
            macs = r * i * inside + s * (r * kh * kw + o) * outside
            yield Split("tucker", (r, s), macs, lost + p.lost(values, s))


_SPLITS = {"output": _output, "input": _input, "spatial": _spatial, "tucker": _tucker}


def _ranks(saving: float, full: int, round_to: int) -> list[int]:
    """Multiples of `round_to` below `full` and below `saving`, from where on nothing is saved; RANKS at most."""
    found = [r for r in range(round_to, full, round_to) if r < SAVES * saving]
    every = -(-len(found) // RANKS) or 1
    return found[::-1][::every][::-1]


def modules(
    layer: Layer, factors: tuple[torch.Tensor, ...], kind: str, bias: torch.Tensor | None = None
) -> list[Layer]:
    """The layers of a product, first to last; the last one has the bias [o]: the layer's own where none is given."""
    if bias is None and layer.bias is not None:
        bias = layer.bias.detach()
    made: list[Layer] = []
    for number, weight in enumerate(factors):
        own = bias.clone() if bias is not None and number == len(factors) - 1 else None
        made.append(_linear(weight, own) if isinstance(layer, nn.Linear) else _conv(layer, weight, own, kind, number))
    return made


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(linear, weight[..., 0, 0], bias)  # type: ignore[return-value]


def _conv(layer: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None, kind: str, number: int) -> nn.Conv2d:
    """The layer number `number` of a product; of stride, padding and dilation it takes what belongs to its taps."""
    square = number == (0 if kind == "output" else 1)
    takes = [number == axis if kind == "spatial" else square for axis in (0, 1)]
    stride, dilation = ((s[0] if takes[0] else 1, s[1] if takes[1] else 1) for s in (layer.stride, layer.dilation))
    left, right, above, below = padding_of(layer)
    conv = nn.Conv2d(
        weight.shape[1], weight.shape[0], (weight.shape[2], weight.shape[3]), stride, dilation=dilation,
        bias=bias is not None,
    )  # fmt: skip
    across, down = (left, right) if takes[1] else (0, 0), (above, below) if takes[0] else (0, 0)
    conv = padded(conv, (*across, *down))
    return _filled(conv, weight, bias)  # type: ignore[return-value]


def _filled(layer: Layer, weight: torch.Tensor, bias: torch.Tensor | None) -> Layer:
    layer.weight = nn.Parameter(weight.detach().clone().contiguous())
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def splittable(layer: nn.Module) -> bool:
    """True for layers that read all their inputs at once."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1
    return isinstance(layer, LAYERS)
