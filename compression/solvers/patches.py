"""Patches of a layer's input, which it multiplies its weights by, and its answers to them, at places drawn for good."""

import torch
from torch import nn

from compression.network.graph import channel_axis, padding_of

PATCHES, LEAST_PATCHES, PATCHES_PER_INPUT = 16_384, 2_048, 28
"""Patches that a layer's moments are averaged over: so many for each input of a patch, within bounds."""


def wanted(layer: nn.Conv2d | nn.Linear) -> int:
    """How many patches are drawn for a layer."""
    return min(PATCHES, max(LEAST_PATCHES, PATCHES_PER_INPUT * layer.weight[0].numel()))


def answers_of(layer: nn.Conv2d | nn.Linear, y: list[torch.Tensor]) -> torch.Tensor:
    """`layer`'s answers y [n, …], in batches, at the places where its patches are drawn: [m, out]."""
    limit = wanted(layer) // len(y)
    return torch.cat([rows[_places(len(rows), limit, layer)] for rows in (flat(layer, part) for part in y)])


def rows_of(layer: nn.Conv2d | nn.Linear, x: list[torch.Tensor]) -> torch.Tensor:
    """The patches of `layer`'s inputs x [n, …], in batches: [g, m, d], see `drawn`."""
    limit = wanted(layer) // len(x)
    return torch.cat([drawn(layer, part, limit) for part in x], 1)


def flat(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Values that `layer` reads or gives, a row of channels for each place."""
    return values.movedim(channel_axis(layer), -1).flatten(0, -2)


def drawn(layer: nn.Conv2d | nn.Linear, x: torch.Tensor, limit: int) -> torch.Tensor:
    """At most `limit` patches of one batch x, [g, m, d]; those of a convolution go position by position, see `order`.

    Feature maps are read in channels-last order, so that a position's channels are one piece of memory.
    """
    if isinstance(layer, nn.Linear):
        rows = flat(layer, x)
        return rows[_places(len(rows), limit, layer)][None]
    left, right, above, below = padding_of(layer)
    n, channels, height, width = x.shape
    (kh, kw), (dh, dw), (sh, sw) = layer.kernel_size, layer.dilation, layer.stride
    down = (height + above + below - (kh - 1) * dh - 1) // sh + 1
    across = (width + left + right - (kw - 1) * dw - 1) // sw + 1
    pick = _places(n * down * across, limit, layer)
    image, row, column = pick // (down * across), pick // across % down, pick % across
    rows = ((row * sh - above)[:, None] + torch.arange(kh) * dh)[:, :, None]  # [m, kh, 1]
    columns = ((column * sw - left)[:, None] + torch.arange(kw) * dw)[:, None]  # [m, 1, kw]
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)  # [m, kh, kw]
    lines = image[:, None, None] * height + rows.clamp(0, height - 1)
    at = lines * width + columns.clamp(0, width - 1)
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)[at.flatten()]  # [m·kh·kw, c]
    pixels[outside.flatten()] = 0
    chosen = pixels.view(len(pick), kh * kw, layer.groups, -1)  # [m, kh·kw, g, c/g]
    return chosen.permute(2, 0, 1, 3).flatten(2)


def order(layer: nn.Conv2d | nn.Linear) -> torch.Tensor | None:
    """Where each input of a weight row (channel, position) stands in a row of `drawn` (position, channel): [d]."""
    if isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1):
        return None
    channels, kh, kw = layer.weight.shape[1:]
    return torch.arange(kh * kw * channels).view(kh * kw, channels).T.flatten()


def some(count: int, limit: int) -> torch.Tensor:
    """Which of `count` places are drawn, always the same: all, or `limit` at random, in order."""
    if count <= limit:
        return torch.arange(count)
    return torch.randint(count, (limit,), generator=torch.Generator().manual_seed(0)).sort().values


def _places(count: int, limit: int, layer: nn.Conv2d | nn.Linear) -> torch.Tensor:
    """`some` of the places of `layer`; those of a linear layer are mixed, and none is drawn twice."""
    if isinstance(layer, nn.Linear):
        return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:limit]
    return some(count, limit)
