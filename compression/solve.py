"""The mathematics that layer-wise methods share: second moments, masked least squares, rounding against a Hessian.

A layer computes y = W x with x [d] one patch of its input. Over many patches H = Σ x xᵀ [d, d] and G = Σ y* xᵀ [out, d]
with y* the answers that it should give. The error of any W is then, up to a constant, tr(W H Wᵀ) - 2 tr(W Gᵀ).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

POSITIONS = 24_576
"""Patches per layer that moments are summed over; more change the third digit only."""

DAMP = 0.01


@dataclass(frozen=True)
class Moments:
    """One group's H [d, d] and, where targets were given, G [out, d] and the patches counted."""

    h: torch.Tensor
    g: torch.Tensor | None


def patches(layer: nn.Conv2d | nn.Linear, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """Inputs as rows of the layer's weight matrix: [groups, n, d]; of each image's positions every `stride`-th."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)[::stride][None]
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    windows = F.pad(x, _padding(layer)).unfold(2, (kh - 1) * dh + 1, sh).unfold(3, (kw - 1) * dw + 1, sw)
    windows = windows[..., ::dh, ::dw]  # [images, channels, rows, columns, kh, kw]
    n, c, rows, columns = windows.shape[:4]
    groups = layer.groups
    split = windows.reshape(n, groups, c // groups, rows, columns, kh, kw).permute(1, 0, 3, 4, 2, 5, 6)
    return split.flatten(1, 3)[:, ::stride].flatten(2)  # [groups, n·rows·columns / stride, c/groups·kh·kw]
