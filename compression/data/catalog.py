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
    )
}
