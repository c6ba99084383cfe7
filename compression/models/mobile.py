"""torchvision's two mobile networks at half width, with fewer halvings so that small images keep some extent."""

from torch import nn
from torchvision import models

# MobileNetV2 (Sandler et al. 2018, table 2): expansion, channels, repeats, stride. The paper also halves in the stem
# and in the third row.
_INVERTED_RESIDUALS = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 1],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def mobilenetv2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """MobileNetV2 ×0.5 with an eighth of the resolution at its end instead of a thirty-second: 700,000 parameters."""
    network = models.mobilenet_v2(width_mult=0.5, inverted_residual_setting=_INVERTED_RESIDUALS)
    stem = network.features[0][0]
    network.features[0][0] = nn.Conv2d(input_shape[0], stem.out_channels, 3, padding=1, bias=False)
    network.classifier = nn.Linear(network.last_channel, classes)
    return network


def shufflenetv2(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """ShuffleNetV2 ×0.5 (Ma et al. 2018) without its first two halvings: 352,000 parameters."""
    network = models.shufflenet_v2_x0_5()
    stem = network.conv1[0]
    network.conv1[0] = nn.Conv2d(input_shape[0], stem.out_channels, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    network.fc = nn.Linear(network.fc.in_features, classes)
    return network
