"""ResNets for small images (He et al. 2016, section 4.2), with projections where a block changes its shape.

The paper pads with zero channels instead; projections cost 2% more weights and can be pruned like any convolution.
"""

import torch
from torch import nn

_WIDTHS = (16, 32, 64)


def resnet20(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Three stages of three blocks: 272,000 parameters."""
    return _resnet(input_shape[0], classes, blocks=3)


def resnet56(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Three stages of nine blocks: 855,000 parameters."""
    return _resnet(input_shape[0], classes, blocks=9)


def resnet20_half(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """ResNet-20 with half of all channels: 69,000 parameters."""
    return _resnet(input_shape[0], classes, blocks=3, narrower=2)


def resnet20_quarter(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """ResNet-20 with a quarter of all channels: 17,600 parameters."""
    return _resnet(input_shape[0], classes, blocks=3, narrower=4)


def resnet8(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Three stages of one block: 77,000 parameters."""
    return _resnet(input_shape[0], classes, blocks=1)


def _resnet(channels: int, classes: int, *, blocks: int, narrower: int = 1) -> nn.Module:
    first, *_ = widths = [width // narrower for width in _WIDTHS]
    layers: list[nn.Module] = [nn.Conv2d(channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first)]
    layers.append(nn.ReLU())
    before = first
    for width in widths:
        for block in range(blocks):
            layers.append(Block(before, width, stride=2 if block == 0 and width != first else 1))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut: [n, before, H, W] → [n, width, H / stride, W / stride]."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes as in the class."""
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))
