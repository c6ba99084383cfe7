"""Pruning of single weights: which of them become zero.

Global magnitude after Han et al. 2015; |w|·‖x‖ after Sun et al. 2024 (Wanda); N:M patterns after Mishra et al. 2021. The
values of the weights that stay are fitted anew by `compression.reconstruct`.
"""

import torch
from torch import fx, nn

from compression import solve
from compression.calibration import Calibration
from compression.graph import layers
from compression.parametrizations import Mask, attach, original
from compression.steps import Prune


@torch.no_grad()
def prune_(graph: fx.GraphModule, settings: Prune, calibration: Calibration) -> None:
    """Masks exactly round(sparsity · n) of n weights - of the network's or of each layer's - or N of every M.

    The least important go first; among equals, the one that stands first.
    """
    found = layers(graph)
    moments = calibration.moments(graph) if settings.criterion == "activation" else {}
    scores = {name: _importance(layer, moments.get(name)) for name, layer in found.items()}
    if settings.pattern != "free":
        n, m = map(int, settings.pattern.split(":"))
        keeps = {name: _n_of_m(score, n, m) for name, score in scores.items()}
    elif settings.scope == "layer":
        keeps = {
            name: _largest(score.flatten(), settings.sparsity).reshape(score.shape) for name, score in scores.items()
        }
    else:
        together = _largest(torch.cat([s.flatten() for s in scores.values()]), settings.sparsity)
        parts = together.split([s.numel() for s in scores.values()])
        keeps = {name: part.reshape(s.shape) for (name, s), part in zip(scores.items(), parts, strict=True)}
    for name, layer in found.items():
        attach(layer, Mask(keeps[name]))


def _importance(layer: nn.Conv2d | nn.Linear, moments: solve.Moments | None) -> torch.Tensor:
    """|w|, or |w|·‖x‖ / ‖y‖: the weight's share in its output's size. Same shape as the weight."""
    weight = original(layer)
    if moments is None:
        return weight.abs()
    w = solve.grouped(layer, weight)
    share = w.abs() * moments.h.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()[:, None]
    size = (w * (w @ moments.h)).sum(2, keepdim=True).clamp_min(1e-12).sqrt()
    return (share / size).reshape(weight.shape)


def _largest(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Which of scores [n] stay when round(sparsity · n) of them go: bool [n]."""
    keep = torch.ones_like(scores, dtype=torch.bool)
    keep[scores.argsort(stable=True)[: round(sparsity * len(scores))]] = False
    return keep


def _n_of_m(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """The n largest of every m neighbours in each row of scores [out, …]; the last group of a row may be shorter."""
    rows = scores.flatten(1)
    padded = torch.nn.functional.pad(rows, (0, -rows.shape[1] % m), value=-1.0).unflatten(
        1, (-1, m)
    )  # [out, groups, m]
    keep = torch.zeros_like(padded, dtype=torch.bool).scatter_(2, padded.topk(n, dim=2).indices, True)
    return keep.flatten(1)[:, : rows.shape[1]].reshape(scores.shape)
