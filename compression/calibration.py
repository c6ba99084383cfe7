"""What unlabelled training images tell about a network: ranges of its values and statistics of its batch norms.

The images come from the training split (`Dataset.calibration`); what is chosen between is judged on unlabelled
validation images by how far the answers move from the dense network's. The test split is never seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from compression.data import Dataset
from compression.export.qdq import quantized_values

HELD_OUT = 512
RANGE_IMAGES = 256
SAMPLES = 16_384
"""Values kept per range, evenly spaced, to fit a scale to."""


@dataclass(frozen=True)
class Calibration:
    """images and held_out: float32 [n, C, H, W], normalised; answers: the dense network's scores on `held_out`."""

    images: torch.Tensor
    held_out: torch.Tensor
    answers: torch.Tensor


@dataclass(frozen=True)
class Range:
    """Lowest and highest value seen, and an evenly spaced sample [≤ 16,384] of all of them."""

    low: float
    high: float
    sample: torch.Tensor


@torch.no_grad()
def calibrate(graph: fx.GraphModule, data: Dataset, *, images: int, seed: int) -> Calibration:
    """Draws `images` training images by `seed` and asks the dense network for its answers on held-out ones."""
    drawn = data.normalize(data.calibration(images, seed))
    generator = torch.Generator().manual_seed(seed)
    held_out = data.normalize(
        data.validation.images[torch.randperm(len(data.validation), generator=generator)[:HELD_OUT]]
    )
    return Calibration(drawn, held_out, graph(held_out))


class _Observer(fx.Interpreter):
    """Runs a graph and keeps the range of every value in `names`."""

    def __init__(self, graph: fx.GraphModule, names: set[str]):
        super().__init__(graph)
        self.names, self.ranges = names, dict[str, Range]()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.names:
            self.ranges[n.name] = _range(value)
        return value


@torch.no_grad()
def observe(graph: fx.GraphModule, images: torch.Tensor) -> dict[str, Range]:
    """Ranges of all values that the 8-bit rule names (`export.qdq.quantized_values`), on float [n, C, H, W]."""
    observer = _Observer(graph, set(quantized_values(graph).values()))
    with parametrize.cached():
        observer.run(images[:RANGE_IMAGES])
    return observer.ranges


def settle_batch_norm_(graph: fx.GraphModule, calibration: Calibration, choice: str) -> bool:
    """Re-estimates batch-norm statistics on the calibration images ('reestimate'), keeps them ('keep'), or does what
    moves the answers on held-out images less ('auto'). Returns whether they were re-estimated.
    """
    norms = [m for m in graph.modules() if isinstance(m, nn.BatchNorm2d)]
    if choice == "keep" or not norms:
        return False
    before = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]  # type: ignore[union-attr]
    distance = divergence(graph, calibration) if choice == "auto" else float("inf")
    reestimate_batch_norm_(graph, calibration.images)
    if choice == "auto" and divergence(graph, calibration) > distance:
        for norm, (mean, variance) in zip(norms, before, strict=True):
            norm.running_mean, norm.running_var = mean, variance
        return False
    return True


@torch.no_grad()
def reestimate_batch_norm_(graph: nn.Module, images: torch.Tensor) -> None:
    """Running statistics become the plain statistics over `images` (as one batch where memory allows)."""
    with _collecting(graph), parametrize.cached():
        for part in images.split(1024):
            graph(part)


@torch.inference_mode()
def divergence(graph: nn.Module, calibration: Calibration) -> float:
    """Mean Kullback-Leibler divergence of the answers from the dense network's, on held-out images, in nats."""
    with parametrize.cached():
        scores = graph(calibration.held_out)
    log_p, log_q = calibration.answers.log_softmax(1), scores.log_softmax(1)
    return float(F.kl_div(log_q, log_p, reduction="batchmean", log_target=True))


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


def _range(value: torch.Tensor) -> Range:
    flat = value.detach().flatten()
    low, high = flat.aminmax()
    return Range(float(low), float(high), flat[:: max(1, len(flat) // SAMPLES)].clone())
