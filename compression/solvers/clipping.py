"""How much of what was seen a grid should cover: all of it, or less, so that what is common gets finer steps.

Every function works on a histogram of magnitudes or values; its bins are equally wide.
"""

import torch

BINS = 2048
SHARES = torch.linspace(0.3, 1.0, 36)
"""Shares of a range that are tried."""

FLOOR = 1e-7
"""Stands for nothing where a logarithm is taken."""


def percentile_share(counts: torch.Tensor, share: float) -> float:
    """The end, as a share of the range of `counts` [bins], below which `share` of all values lie."""
    below = counts.cumsum(0) / counts.sum().clamp_min(1)
    return float((below < share).sum() + 1) / len(counts)


def mse_share(counts: torch.Tensor, levels: int) -> float:
    """The end, as a share of the range, with the least squared error of `levels` equal steps from 0 to it."""
    centres = (torch.arange(len(counts)) + 0.5) / len(counts)
    ends = SHARES[:, None]  # [shares, 1]
    step = ends / levels
    rounded = torch.minimum((centres / step).round() * step, ends)
    errors = (counts * (rounded - centres).square()).sum(1)
    return float(SHARES[errors.argmin()])


def entropy_share(counts: torch.Tensor, levels: int) -> float:
    """The end, as a share of the range, for which `levels` steps keep the distribution best.

    The Kullback-Leibler divergence of the rounded distribution from the one cut off at the end, whose last bin holds
    all that lies beyond (Migacz 2017, "8-bit inference with TensorRT").
    """
    ends = [int(end) for end in (SHARES * len(counts)).round().int() if end >= levels]
    if not ends:
        return 1.0
    found = torch.stack([_divergence(counts, end, levels) for end in ends])
    return ends[int(found.argmin())] / len(counts)


def _divergence(counts: torch.Tensor, end: int, levels: int) -> torch.Tensor:
    cut = counts[:end].clone()
    cut[-1] += counts[end:].sum()
    step = (torch.arange(end) * levels // end).long()  # which step each bin falls in: [end]
    filled = (counts[:end] > 0).to(counts.dtype)
    total = torch.zeros(levels).index_add_(0, step, counts[:end])
    bins = torch.zeros(levels).index_add_(0, step, filled)
    spread = (total / bins.clamp_min(1))[step] * filled  # a step's count, evenly over its bins that are not empty
    p = (cut / cut.sum()).clamp_min(FLOOR)
    q = (spread / spread.sum().clamp_min(1)).clamp_min(FLOOR)
    return (p * (p / q).log()).sum()
