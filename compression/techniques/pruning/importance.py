"""What each weight is worth, and how much the network's answers depend on each output of each layer.

Losses are counted in the answers' own unit. To second order, changing the outputs of a layer by δ moves the answers by
a Kullback-Leibler divergence of ½ δᵀ F δ, F the Fisher information (Martens 2020, eq. 5). Its diagonal, summed over the
positions of a feature map, is what `sensitivity` gives for each output channel; it makes errors of different layers
comparable, which no scale of the weights does.
"""

from collections.abc import Iterator

import torch
from torch import fx, nn

from compression.calibration import Calibration
from compression.host.interruption import look
from compression.network.batches import batch_of
from compression.network.capture import captured, output
from compression.network.graph import answering, channel_axis, layers
from compression.network.parametrizations import original
from compression.network.strided import sliced_strides
from compression.solvers import moments
from compression.solvers.moments import Moments, levelled
from compression.techniques.pruning.patterns import Scores

IMAGES, BATCH = 256, 64
TAYLOR_BATCH = 8
"""Images whose gradients are added up with random signs before they are squared."""
FLOOR = 1e-6
"""Least sensitivity of an output, as a share of its layer's largest."""

Layer = nn.Conv2d | nn.Linear


def magnitude(graph: fx.GraphModule, calibration: Calibration) -> Scores:
    """|w| (Han et al. 2015)."""
    return {name: original(layer).detach().abs() for name, layer in layers(graph).items()}


def activation(graph: fx.GraphModule, calibration: Calibration) -> Scores:
    """|w|·‖x‖ / ‖y‖ (after Sun et al. 2024, "Wanda"): the weight's share in the size of its output."""
    known, scores = calibration.moments(graph), Scores()
    for name, layer in layers(graph).items():
        w, h = moments.grouped(layer, original(layer).detach()), known[name].h
        share = w.abs() * h.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()[:, None]
        size = (w * (w @ h)).sum(2, keepdim=True).clamp_min(1e-30).sqrt()
        scores[name] = (share / size).reshape(layer.weight.shape)
    return scores


def taylor(graph: fx.GraphModule, calibration: Calibration) -> Scores:
    """(w · ∂ℓ/∂w)², mean over images: first order in removing the weight (Molchanov et al. 2019, section 3).

    No labels are used. ℓ is the log-likelihood of answers drawn from the network itself, because the divergence from
    the dense answers has no gradient where nothing is removed yet; the mean estimates w² F (Theis et al. 2018).
    """
    found = {name: torch.zeros_like(layer.weight) for name, layer in layers(graph).items()}
    for scores in _gradients(graph, calibration.images[:IMAGES], TAYLOR_BATCH):
        scores.backward()
        for name, layer in layers(graph).items():
            weight = original(layer)
            found[name] += (weight * weight.grad).detach().square()  # type: ignore[operator]
    return found


def second_order(graph: fx.GraphModule, calibration: Calibration) -> Scores:
    """F · w² / (2 [H⁻¹]_qq): the loss once the others make up for it (Hassibi & Stork 1993, eq. 5).

    H are the second moments of the layer's inputs, F the sensitivity of the weight's output. Each weight is looked at
    as if it alone went, so that of two that replace each other both look cheap: at high sparsity `joint` is better.
    """
    known, sensitive, scores = calibration.moments(graph), sensitivity(graph, calibration), Scores()
    for name, layer in layers(graph).items():
        w, m = moments.grouped(layer, original(layer).detach()), known[name]
        inverse = torch.cholesky_inverse(moments.cholesky(damped(m))).diagonal(dim1=1, dim2=2)  # [g, d]
        loss = w.square() / (2 * inverse[:, None]) * sensitive[name].reshape(len(w), -1, 1)
        scores[name] = loss.reshape(layer.weight.shape)
    return scores


def damped(m: Moments) -> torch.Tensor:
    """H [g, d, d] with the solvers' ridge on its diagonal."""
    return m.h + m.ridge * torch.eye(m.h.shape[1])


def sensitivity(graph: fx.GraphModule, calibration: Calibration) -> dict[str, torch.Tensor]:
    """Diagonal Fisher information of each layer's outputs, summed over positions, mean over images: [out] by layer.

    What few images say of single outputs is chance in part, so they are drawn towards their layer's mean (`levelled`).
    """
    found, images, last_layers = dict[str, torch.Tensor](), calibration.images[:IMAGES], answering(graph)
    with captured(graph, layers(graph), output) as outputs:
        for scores in _gradients(graph, images, BATCH):
            last = {name: values[-1] for name, values in outputs.items()}  # of a layer that is called several times
            for name, gradient in zip(last, torch.autograd.grad(scores, list(last.values())), strict=True):
                axis = channel_axis(graph.get_submodule(name))
                squares = gradient.square().movedim(axis, 0).flatten(1).sum(1) / len(images)
                found[name] = found.get(name, 0) + squares
            outputs.clear()
    found = {name: levelled(values, len(images), answers=name in last_layers) for name, values in found.items()}
    return {name: values.maximum((FLOOR * values.max()).clamp_min(1e-30)) for name, values in found.items()}


def _gradients(graph: fx.GraphModule, images: torch.Tensor, batch: int) -> Iterator[torch.Tensor]:
    """For each batch a sum whose squared gradients have the Fisher information as their expectation.

    With p the answers and ε random signs, Σ ε √p log p over images and classes: all products of two different terms
    vanish in the mean, and what is left is Σ p (∂ log p)². Unlike labels drawn by p, every class counts every time.
    """
    generator = torch.Generator().manual_seed(0)
    weights = [original(layer) for layer in layers(graph).values()]
    for part in images.split(min(batch, batch_of(images))):
        look()
        with torch.enable_grad(), sliced_strides(graph):
            log_p = graph(part.to(memory_format=torch.channels_last)).log_softmax(1)
            signs = torch.randint(0, 2, log_p.shape, generator=generator).mul_(2).sub_(1)
            total = (signs * log_p.detach().div(2).exp() * log_p).sum()
        yield total
        for weight in weights:
            weight.grad = None
