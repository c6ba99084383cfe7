"""Convolutions of one pixel with a stride: trained as they are written, without what oneDNN does wrong."""

import pytest
import torch
from torch import nn

from compression.network.strided import sliced_strides


def gradients(layer: nn.Conv2d, images: torch.Tensor) -> list[torch.Tensor]:
    """The outputs, and the gradients of inputs and weights."""
    inputs = images.clone().requires_grad_()
    outputs = layer(inputs)
    return [outputs, *torch.autograd.grad(outputs.square().sum(), [inputs, layer.weight])]


@pytest.mark.parametrize("stride", [2, (2, 1), (1, 3)])
@pytest.mark.parametrize("channels", [1, 3, 4, 8])
def test_outputs_and_gradients_are_those_of_the_stride(channels: int, stride: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, images = nn.Conv2d(channels, 8, 1, stride), torch.randn(6, channels, 9, 8)
    expected = gradients(layer, images)  # of channels that lie first, which oneDNN has right
    with sliced_strides(layer):
        assert layer.stride == (1, 1)
        found = gradients(layer, images.to(memory_format=torch.channels_last))
    assert layer.stride == expected_stride(stride) and not layer._forward_pre_hooks
    torch.testing.assert_close(found, expected)


def expected_stride(stride: int | tuple[int, int]) -> tuple[int, int]:
    """As a pair."""
    return (stride, stride) if isinstance(stride, int) else stride


@pytest.mark.parametrize("layer", [
    nn.Conv2d(4, 8, 3, 2, padding=1), nn.Conv2d(4, 8, 1), nn.Conv2d(16, 8, 1, 2), nn.Conv2d(4, 8, 1, 2, padding=1),
])  # fmt: skip
def test_other_layers_run_as_they_are(layer: nn.Conv2d) -> None:
    before = layer.stride
    with sliced_strides(nn.Sequential(layer)):
        assert layer.stride == before and not layer._forward_pre_hooks


def test_a_layer_has_its_stride_again_after_an_error() -> None:
    layer = nn.Conv2d(4, 8, 1, 2)
    with pytest.raises(RuntimeError), sliced_strides(layer):
        layer(torch.zeros(1, 3, 4, 4))
    assert layer.stride == (2, 2) and not layer._forward_pre_hooks
