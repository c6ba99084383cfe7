"""The one table of datasets. No torch in here: pages list names before they load images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetSpec:
    """What is known about a dataset before it is loaded. `mean` and `std` are per channel, of pixels in [0, 1]."""

    name: str
    title: str
    input_shape: tuple[int, int, int]  # (channels, height, width)
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool  # a mirrored image keeps its class, so training may flip it


_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of photos on which networks that were trained on ImageNet are used; 224×224 is what such networks take."""

DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec("fashion-mnist", "Fashion-MNIST", (1, 28, 28), 10, (0.2860,), (0.3530,), True),
        DatasetSpec("digits", "Digits", (1, 8, 8), 10, (0.3053,), (0.3760,), False),
        DatasetSpec("mnist", "MNIST", (1, 28, 28), 10, (0.1307,), (0.3081,), False),
        DatasetSpec("cifar10", "CIFAR-10", (3, 32, 32), 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), True),
        DatasetSpec(
            "cifar100", "CIFAR-100", (3, 32, 32), 100, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), True
        ),
        DatasetSpec("svhn", "SVHN", (3, 32, 32), 10, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), False),
        DatasetSpec("stl10", "STL-10", (3, 96, 96), 10, (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713), True),
        DatasetSpec("eurosat", "EuroSAT", (3, 64, 64), 10, (0.3444, 0.3803, 0.4078), (0.2037, 0.1366, 0.1148), True),
        DatasetSpec("gtsrb", "GTSRB", (3, 32, 32), 43, (0.3403, 0.3121, 0.3214), (0.2724, 0.2608, 0.2669), False),
        DatasetSpec("flowers102", "Flowers-102", (3, 224, 224), 102, *_IMAGENET, True),
        DatasetSpec("oxford-pets", "Oxford-IIIT Pets", (3, 224, 224), 37, *_IMAGENET, True),
        DatasetSpec("food101", "Food-101", (3, 224, 224), 101, *_IMAGENET, True),
        DatasetSpec("imagenette", "Imagenette", (3, 224, 224), 10, *_IMAGENET, True),
    )
}
