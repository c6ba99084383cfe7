"""Which weights stay when each has a score: single ones, blocks, or N of every M.

N:M patterns after Mishra et al. 2021; blocks after Gray et al. 2017 ("GPU kernels for block-sparse weights").
"""

import numpy as np
import torch
import torch.nn.functional as F

from compression.steps import Prune

Scores = dict[str, torch.Tensor]
"""One number ≥ 0 for each weight, in the weight's shape, by layer."""


def kept(scores: Scores, settings: Prune) -> dict[str, torch.Tensor]:
    """Masks (bool, the weights' shapes) of the weights that stay; those with the highest scores do.

    Of n weights round(sparsity · n) go, or with blocks as many blocks as fit into that; with `by='threshold'` all whose
    score is below the threshold. A block's score is the mean of its weights' scores. Among equals the first goes first.
    """
    if ":" in settings.pattern:
        n, m = map(int, settings.pattern.split(":"))
        return {name: _n_of_m(score, n, m) for name, score in scores.items()}
    blocks = {name: _blocks(score, settings.pattern) for name, score in scores.items()}
    if settings.by == "threshold":
        chosen = {name: mean >= settings.threshold for name, (mean, _) in blocks.items()}
    elif settings.scope == "layer":
        chosen = {name: _largest(mean, size, settings.sparsity) for name, (mean, size) in blocks.items()}
    else:
        means, sizes = (torch.cat([part.flatten() for part in parts]) for parts in zip(*blocks.values(), strict=True))
        together = _largest(means, sizes, settings.sparsity).split([mean.numel() for mean, _ in blocks.values()])
        chosen = {name: part.reshape(blocks[name][0].shape) for name, part in zip(blocks, together, strict=True)}
    return {name: _spread(chosen[name], score, settings.pattern) for name, score in scores.items()}


def _blocks(score: torch.Tensor, pattern: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean score and number of weights of each block, both [rows, blocks]; the last of a row may be smaller."""
    lines, length = _lines(score, pattern), _length(score, pattern)
    if length == 1:
        return lines, torch.ones((), dtype=torch.int16).expand_as(lines)
    sizes = _runs(torch.ones_like(lines), length).sum(2)
    narrow = torch.int16 if length < 2**15 else torch.int32  # there may be one for each of 10⁸ weights
    return _runs(lines, length).sum(2) / sizes, sizes.to(narrow)


def _spread(chosen: torch.Tensor, score: torch.Tensor, pattern: str) -> torch.Tensor:
    """Blocks [rows, blocks] back to the shape of the weights."""
    lines = chosen.repeat_interleave(_length(score, pattern), 1)[:, : _lines(score, pattern).shape[1]]
    return (lines.T if pattern == "4x1" else lines).reshape(score.shape)


def _lines(score: torch.Tensor, pattern: str) -> torch.Tensor:
    """Weights in rows along which blocks lie: those of one output, or one input of all outputs."""
    return score.flatten(1).T if pattern == "4x1" else score.flatten(1)


def _length(score: torch.Tensor, pattern: str) -> int:
    """Weights in one block."""
    return {"free": 1, "kernel": score[0, 0].numel()}.get(pattern, 4)


def _runs(lines: torch.Tensor, length: int) -> torch.Tensor:
    """lines [a, d] in runs, the last filled up with zeros: [a, ⌈d/length⌉, length]."""
    return F.pad(lines, (0, -lines.shape[1] % length)).unflatten(1, (-1, length))


def _largest(scores: torch.Tensor, sizes: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Which blocks stay when the least go, as many as do not exceed round(sparsity · weights): bool like `scores`."""
    flat, weights = scores.flatten(), sizes.flatten()
    if (weights == weights[0]).all():
        return _all_but(flat, int(round(sparsity * int(weights.sum())) // int(weights[0]))).reshape(scores.shape)
    order = flat.argsort(stable=True)
    gone = weights[order].cumsum(0) <= round(sparsity * int(weights.sum()))
    keep = torch.ones_like(flat, dtype=torch.bool)
    keep[order[gone]] = False
    return keep.reshape(scores.shape)


def _all_but(scores: torch.Tensor, gone: int) -> torch.Tensor:
    """Which of scores [n] stay when the `gone` least go; no more is sorted than that takes."""
    if gone == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    border = float(np.partition(scores.numpy(), gone - 1)[gone - 1])
    keep, equal = scores > border, (scores == border).nonzero()[:, 0]
    keep[equal[gone - int((scores < border).sum()) :]] = True
    return keep


def _n_of_m(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """The n largest of every m neighbours in each row of scores [out, …]; the last group of a row may be shorter.

    Filters that read fewer than m channels (of depthwise convolutions, or of the image) stay whole: hardware has no
    sparse products for them, they have few weights, and half of a depthwise kernel is much to lose.
    """
    if scores.dim() == 4 and scores.shape[1] < m:
        return torch.ones_like(scores, dtype=torch.bool)
    rows = scores.flatten(1)
    padded = F.pad(rows, (0, -rows.shape[1] % m), value=-1.0).unflatten(1, (-1, m))  # [out, groups, m]
    keep = torch.zeros_like(padded, dtype=torch.bool).scatter_(2, padded.topk(n, dim=2).indices, True)
    return keep.flatten(1)[:, : rows.shape[1]].reshape(scores.shape)
