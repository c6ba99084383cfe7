"""How far each layer's answers have moved from the dense network's, after all that comes before it changed too."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from compression.network.capture import captured
from compression.network.graph import channel_axis, layers

IMAGES = 32


@torch.inference_mode()
def output_errors(dense: nn.Module, graph: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """‖y - y*‖ / ‖y*‖ of each layer's answers y without their mean over images and positions, each on its own inputs.

    From one pass of both networks over the first of `images` [n, C, H, W]. Layers that the compressed network does not
    have, or that have lost outputs, are left out.
    """
    with parametrize.cached():
        wanted, got = _answers(dense, images[:IMAGES]), _answers(graph, images[:IMAGES])
    shared = [name for name in got if name in wanted and wanted[name].shape == got[name].shape]
    return {name: float((got[name] - wanted[name]).norm() / wanted[name].norm().clamp_min(1e-12)) for name in shared}


def _answers(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each layer gives for `images`, centred, by name; the last time where it is called several times."""
    with captured(network, layers(network), lambda layer, _, y: _centred(layer, y)) as found:
        network(images)
    return {name: values[-1] for name, values in found.items()}


def _centred(layer: nn.Module, y: torch.Tensor) -> torch.Tensor:
    channel = channel_axis(layer) % y.dim()
    return y - y.mean([d for d in range(y.dim()) if d != channel], keepdim=True)
