"""ResNets for small images (He et al. 2016, section 4.2), with projections where a block changes its shape.

The paper pads with zero channels instead; projections cost 2% more weights and can be pruned like any convolution.
"""

import torch
from torch import nn

from compression.errors import InvalidSetting

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


def deepened(shallow: nn.Module, deep: nn.Module) -> nn.Module:
    """Gives `deep` the function of `shallow`, a ResNet of this module with fewer blocks in each stage, and returns it.

    A block that `shallow` lacks ends in a batch norm of zeros and so passes on what its shortcut brings, until it is
    trained (Chen et al. 2016, "Net2Net", section 2.4). Raises InvalidSetting where one network cannot grow into the
    other.
    """
    outer, inner = _stages(deep), _stages(shallow)
    unlike = InvalidSetting("A ResNet grows from another one of the same widths with no more blocks.")
    if len(outer) != len(inner) or any(len(fewer) > len(more) for more, fewer in zip(outer, inner, strict=True)):
        raise unlike
    try:
        for more, fewer in zip(outer, inner, strict=True):
            for grown, block in zip(more, fewer, strict=False):
                grown.load_state_dict(block.state_dict())
            for added in more[len(fewer) :]:
                nn.init.zeros_(added.get_parameter("bn2.weight"))
    except (RuntimeError, AttributeError) as error:
        raise unlike from error
    return deep


def _stages(network: nn.Module) -> list[list[nn.Module]]:
    """Stem, stages of blocks and head: a stage ends where a block has a projection."""
    stages: list[list[nn.Module]] = [[]]
    for layer in network.children():
        if isinstance(layer, Block) != (bool(stages[-1]) and isinstance(stages[-1][-1], Block)) or (
            isinstance(layer, Block) and not isinstance(layer.shortcut, nn.Identity)
        ):
            stages.append([])
        stages[-1].append(layer)
    return stages


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
