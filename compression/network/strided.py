"""Convolutions of one pixel with a stride, trained without oneDNN's own code for them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

BLOCK = 16
"""Input channels of such a layer from which on oneDNN's gradient of its weights is right: 16 with AVX-512, else 8."""


@contextmanager
def sliced_strides(network: nn.Module) -> Iterator[None]:
    """Inside, `network` runs convolutions of 1×1 with a stride and fewer than `BLOCK` inputs on the pixels they read.

    The outputs are the same, and what has run inside may be differentiated outside. With the stride, the oneDNN of
    PyTorch 2.15 writes past its buffer where channels lie last (oneDNN issue 6035): the process ends, or the weights'
    gradient is wrong.
    """
    with ExitStack() as undone:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and _is_unsafe(layer):
                undone.callback(setattr, layer, "stride", layer.stride)
                undone.callback(layer.register_forward_pre_hook(_Sliced(layer.stride)).remove)
                layer.stride = (1, 1)
        yield


def _is_unsafe(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.padding in ((0, 0), 0, "valid")
        and layer.in_channels // layer.groups < BLOCK
    )


class _Sliced:
    """A hook: every stride-th row and column of the layer's input [n, C, H, W]."""

    def __init__(self, stride: tuple[int, ...]):
        self.rows, self.columns = stride

    def __call__(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[torch.Tensor]:
        return (inputs[0][..., :: self.rows, :: self.columns],)
