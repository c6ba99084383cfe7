"""Second moments of a layer's inputs and targets, and the layer's output error under them."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from compression.errors import Unsupported
from compression.solvers import patches, shrinkage
from compression.solvers.gram import gram

DAMP = 0.01
"""Ridge towards the given weights, as a share of H's mean diagonal."""


ALIKE = 16
"""Images that it takes to tell the outputs of a layer apart. EfficientNet-Lite1 at 50% zeros, by what 32 images say of
them: 7.6 points are lost on 250 photos, 9.6 where that is believed as it is."""

FAR = 30
"""Binary orders of magnitude: squares of numbers so far from one begin to leave those that 32 bits hold."""


@dataclass(frozen=True)
class Moments:
    """h [g, d, d], g [g, out/g, d], mean_x [g, d] and mean_y [out] of one layer's patches and target answers.

    var_y [out] is the variance of those answers, where somebody needs it. `found` keeps what is computed from h.
    """

    h: torch.Tensor
    g: torch.Tensor
    mean_x: torch.Tensor
    mean_y: torch.Tensor
    var_y: torch.Tensor | None = None
    found: MutableMapping[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    def repeated(self, times: int) -> "Moments":
        """The same for a layer in which all rows stand `times` times."""
        return replace(self, g=torch.cat([self.g] * times, 1))

    @property
    def ridge(self) -> torch.Tensor:
        """λ = DAMP · mean(diag H), [g, 1, 1]."""
        return DAMP * self.power.clamp_min(1e-20)

    @property
    def power(self) -> torch.Tensor:
        """mean(diag H), [g, 1, 1]."""
        return self.h.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]

    @property
    def unit(self) -> torch.Tensor:
        """The power of two nearest to `power` where that is far from one, else 1; squares of H by it fit 32 bits."""
        exponent = self.power.clamp(1e-20, 1e36).log2().round()
        return torch.where(exponent.abs() > FAR, exponent, 0.0).exp2()

    @property
    def inverse_cholesky(self) -> torch.Tensor:
        """The upper U with UᵀU = (H + λI)⁻¹, [g, d, d]: what least squares and GPTQ work with. Computed once."""
        if "root" in self.found:
            return self.found["root"]
        lower = cholesky(self.h + self.ridge * torch.eye(self.h.shape[2]))
        root = self.found["root"] = cholesky(torch.cholesky_inverse(lower), upper=True)
        return root


def cholesky(square: torch.Tensor, *, upper: bool = False) -> torch.Tensor:
    """The lower L [..., d, d] with L Lᵀ = `square` (or the upper U with UᵀU), positive definite but for rounding.

    Where it is not, as much as it takes is added to its diagonal. Raises `Unsupported` for numbers that are infinite.
    """
    factor, failed = torch.linalg.cholesky_ex(square, upper=upper)
    mean = square.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp_min(1e-20)
    for share in (1e-6, 1e-4, 1e-2, 1.0):
        if not failed.any():
            return factor
        factor, failed = torch.linalg.cholesky_ex(square + share * mean * torch.eye(square.shape[-1]), upper=upper)
    if failed.any() or not factor.isfinite().all():
        raise Unsupported("Inside the network are numbers too large to be squared in 32 bits, above about 1e+18.")
    return factor


def moments(layer: nn.Conv2d | nn.Linear, x: list[torch.Tensor], y: list[torch.Tensor]) -> Moments:
    """Moments of `layer`'s inputs x [n, …] and target answers y [n, …], in batches, both before any activation."""
    return moments_of(layer, x, patches.answers_of(layer, y))


def moments_of(layer: nn.Conv2d | nn.Linear, x: list[torch.Tensor], answers: torch.Tensor) -> Moments:
    """The same from `patches.answers_of` the dense network, which depend on nothing else and can be kept."""
    return moments_of_rows(layer, patches.rows_of(layer, x), answers)


def moments_of_rows(layer: nn.Conv2d | nn.Linear, rows: torch.Tensor, answers: torch.Tensor) -> Moments:
    """The same from `patches.rows_of` the inputs, [g, m, d], whose memory is used for something else then."""
    mean_x, mean_y = rows.mean(1), answers.mean(0)
    rows.sub_(mean_x[:, None])
    centred = answers - mean_y
    targets = centred.unflatten(1, (len(rows), -1)).transpose(0, 1)  # [g, m, out/g]
    n, order = rows.shape[1], patches.order(layer)
    h, g = gram(rows).div_(n), (targets.mT @ rows).div_(n)
    if order is not None:
        h, g, mean_x = h[:, order][:, :, order], g[..., order], mean_x[:, order]
    h, g = shrinkage.shrunk(h, g, grouped(layer, layer.weight.detach()), shrinkage.share_of_few(h, n))
    return Moments(h, g, mean_x, mean_y, centred.square().mean(0))


def levelled(values: torch.Tensor, images: int, *, answers: bool = False) -> torch.Tensor:
    """What each output of a layer is worth by so many images, [out], drawn towards the mean of the layer.

    What few images say of single outputs is chance in part: the mean counts ALIKE / (ALIKE + images). Where outputs are
    the network's `answers`, it counts at least their number by that of the images: of many classes, most are in none.
    """
    share = ALIKE / (ALIKE + images)
    if answers:
        share = max(share, min(1.0, len(values) / images))
    return (1 - share) * values + share * values.mean()


def thinned(
    layer: nn.Conv2d | nn.Linear, dense: Moments, inputs: torch.Tensor | None, outputs: torch.Tensor | None
) -> Moments:
    """Moments of `layer`, which has only some `inputs` [in] and `outputs` [out] (bool) of the one with `dense` moments.

    Mean answers are the layer's own: its batch norm has been told already by how much they moved. What does not fit
    stays `dense`.
    """
    h, g, mean_x, var_y, groups = dense.h, dense.g, dense.mean_x, dense.var_y, len(dense.h)
    if outputs is not None:
        g, var_y = g.flatten(0, 1)[outputs], None if var_y is None else var_y[outputs]
        if groups > 1:  # depthwise: a group goes with its output
            left = outputs.view(groups, -1).any(1)
            h, mean_x, groups = h[left], mean_x[left], int(left.sum())
        g = g.unflatten(0, (groups, -1))
    if inputs is not None and groups == 1:
        wide = inputs.repeat_interleave(h.shape[1] // len(inputs))
        h, g, mean_x = h[:, wide][:, :, wide], g[..., wide], mean_x[:, wide]
    w = grouped(layer, layer.weight.detach())
    if w.shape != g.shape:
        return dense
    means = (w @ mean_x[..., None]).flatten() + (0 if layer.bias is None else layer.bias.detach())
    return Moments(h, g, mean_x, means, var_y)


def grouped(layer: nn.Conv2d | nn.Linear, weight: torch.Tensor) -> torch.Tensor:
    """weight [out, …] as [g, out/g, d]."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def quadratic_loss(w: torch.Tensor, m: Moments) -> torch.Tensor:
    """tr(W H Wᵀ) - 2 tr(W Gᵀ) row by row: [g, out/g]; lower is better."""
    return (w * (w @ m.h - 2 * m.g)).sum(2)
