"""How each model of the zoo is trained: one recipe an architecture, fitted to the dataset."""

from dataclasses import replace

from compression.data.augmentation import Augmentation
from compression.data.dataset import Dataset
from compression.errors import UnknownName
from compression.training import TrainingConfig

_SMALL_DATASET = 10_000  # training images
_LEAST_HORIZONS = 12  # in a training: the average of a short one must forget its large learning rates too

# The statistics of averaged weights are not the average of statistics: with depthwise layers that shows, and a long
# average answers by chance until the learning rate is small.
RECIPES: dict[str, TrainingConfig] = {
    "lenet300": TrainingConfig(epochs=40, learning_rate=0.05, label_smoothing=0.0, average_epochs=3.0, bfloat16=False),
    "lenet5": TrainingConfig(epochs=30, learning_rate=0.03, weight_decay=1e-3, average_epochs=2.0, bfloat16=False),
    "vgg11": TrainingConfig(epochs=20, learning_rate=0.08),
    "resnet20": TrainingConfig(epochs=36, learning_rate=0.12),
    "resnet56": TrainingConfig(epochs=28, learning_rate=0.1),
    "resnet20_half": TrainingConfig(epochs=36, learning_rate=0.12),
    "resnet20_quarter": TrainingConfig(epochs=36, learning_rate=0.12, weight_decay=2e-4),
    "resnet8": TrainingConfig(epochs=36, learning_rate=0.12),
    "mobilenetv2": TrainingConfig(epochs=18, learning_rate=0.08, weight_decay=2e-4, average_epochs=0.1),
    "shufflenetv2": TrainingConfig(
        epochs=18, learning_rate=0.08, weight_decay=2e-4, average_epochs=0.1, bfloat16=False
    ),
}

_EPOCHS = {
    ("resnet20", "cifar10"): 24,
    ("resnet8", "cifar10"): 24,
}  # where a dataset is given another number than its architecture


def recipe(name: str, data: Dataset, *, epochs: int | None = None) -> TrainingConfig:
    """The architecture's recipe with the augmentation that the dataset bears; small sets get smaller batches.

    Raises UnknownName.
    """
    if name not in RECIPES:
        raise UnknownName("model", name, RECIPES)
    config = replace(RECIPES[name], augmentation=augmentation(name, data))
    if len(data.train) < _SMALL_DATASET:
        config = replace(config, epochs=40, batch_size=32, learning_rate=config.learning_rate / 2, bfloat16=False)
    epochs = epochs or _EPOCHS.get((name, data.name), config.epochs)
    return replace(config, epochs=epochs, average_epochs=min(config.average_epochs, epochs / _LEAST_HORIZONS))


def augmentation(name: str, data: Dataset) -> Augmentation:
    """Mirrored where that keeps the class; shifted by an eighth (colour) or a fourteenth of the side; a quarter erased.

    The networks without convolutions or with few of them are too small to gain from erased squares.
    """
    channels, height, width = data.input_shape
    shift = min(height, width) // (8 if channels > 1 else 14)
    if name == "lenet300":
        return Augmentation(flip=data.mirror)
    if name == "lenet5":
        return Augmentation(flip=data.mirror, shift=shift // 2)
    return Augmentation(flip=data.mirror, shift=shift, erase=min(height, width) // 4)
