"""VGG-11 with batch norm at half width and one linear layer (Simonyan & Zisserman 2015, configuration A)."""

from torch import nn

_STAGES = ((32,), (64,), (128, 128), (256, 256), (256, 256))  # channels of the convolutions; a halving after each stage
_SMALLEST_HALVED = 6  # pixels; a smaller map is not halved any more


def vgg11(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Eight 3×3 convolutions, global average pooling, one linear layer: 2.3 million parameters."""
    channels, side = input_shape[0], min(input_shape[1:])
    layers: list[nn.Module] = []
    for stage in _STAGES:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        if side >= _SMALLEST_HALVED:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
