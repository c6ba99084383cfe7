"""LeNet-300-100 and LeNet-5, the networks that Deep Compression reports on (LeCun et al. 1998; Han et al. 2016)."""

import math

from torch import nn

_SMALL_SIDE = 16  # pixels; below it LeNet-5's convolutions keep the size, or nothing would be left to look at


def lenet300(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two hidden layers of 300 and 100 units: 266,610 parameters on 28×28."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 300), nn.ReLU(),
        nn.Linear(300, 100), nn.ReLU(),
        nn.Linear(100, classes),
    )  # fmt: skip


def lenet5(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Caffe's LeNet: 431,080 parameters on 28×28, and no non-linearity after a convolution but the pooling."""
    channels, height, width = input_shape
    padding = 2 if min(height, width) < _SMALL_SIDE else 0
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5, padding=padding), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5, padding=padding), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * _pooled(height, padding) * _pooled(width, padding), 500), nn.ReLU(),
        nn.Linear(500, classes),
    )  # fmt: skip


def _pooled(side: int, padding: int) -> int:
    """What two rounds of a 5-wide convolution and a halving leave of `side`."""
    for _ in range(2):
        side = (side + 2 * padding - 4) // 2
    return side
