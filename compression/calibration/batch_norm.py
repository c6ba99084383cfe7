"""Batch-norm statistics: measured anew on calibration images, and kept where that brings the answers nearer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from compression.calibration import Calibration, answers, divergence
from compression.network.batches import batch_of
from compression.recipe import Recipe


@torch.no_grad()
def reestimate_batch_norm_(graph: nn.Module, images: torch.Tensor) -> None:
    """Running statistics become the average of those of the batches of `images`; a single image has none."""
    alone = len(images) % batch_of(images) == 1
    if len(images) > alone:
        with _collecting(graph), parametrize.cached():
            answers(graph, images[: len(images) - alone])


@contextmanager
def _collecting(graph: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch and average its statistics; everything else stays as it is."""
    norms = [m for m in graph.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [(m.training, m.momentum) for m in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.training, norm.momentum = True, None
        yield
    finally:
        for norm, (training, momentum) in zip(norms, kept, strict=True):
            norm.training, norm.momentum = training, momentum


NOISE = 1e-7
"""Divergence, in nats, below which two networks answer alike: rounding alone gives a hundredth of it."""


@torch.no_grad()
def settle_batch_norm_(graph: fx.GraphModule, recipe: Recipe, calibration: Calibration) -> None:
    """Statistics of batch norms measured anew, for a network whose layers have changed their shape."""
    if recipe.batch_norm == "keep":
        return
    before = _statistics(graph)
    reestimate_batch_norm_(graph, calibration.images)
    if recipe.batch_norm == "auto":
        _keep_the_better_(graph, before, calibration)


def _statistics(graph: nn.Module) -> dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]]:
    norms = [m for m in graph.modules() if isinstance(m, nn.BatchNorm2d)]
    return {m: (m.running_mean.clone(), m.running_var.clone()) for m in norms}  # type: ignore[union-attr]


def _keep_the_better_(
    graph: fx.GraphModule, before: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]], calibration: Calibration
) -> None:
    """Batch-norm statistics `before` or those of now: whichever moves the answers on held-out images less."""
    if not before:
        return
    with parametrize.cached():
        after, distance = _statistics(graph), divergence(graph, calibration)
        _restore_(before)
        if divergence(graph, calibration) > distance + NOISE:
            _restore_(after)


def _restore_(statistics: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]]) -> None:
    for norm, (mean, variance) in statistics.items():
        norm.running_mean, norm.running_var = mean, variance
