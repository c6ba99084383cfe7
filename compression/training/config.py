"""How to train, as data."""

from dataclasses import dataclass, field
from typing import Literal

from compression.data.augmentation import Augmentation
from compression.errors import InvalidSetting


@dataclass(frozen=True)
class TrainingConfig:
    """How to train: a linear warm-up and a cosine down to zero, weights averaged over time.

    The budget is `steps`, or where they are 0 whole `epochs`. Raises InvalidSetting for a value outside its bounds.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 0.1  # at the peak
    warmup: float = 0.1  # share of all steps
    momentum: float = 0.9  # Nesterov's; Adam's first decay rate
    weight_decay: float = 5e-4  # of weights with two or more dimensions; biases and batch norm go without
    label_smoothing: float = 0.05
    average_epochs: float = 1.0  # horizon of the exponential moving average of weights and buffers; 0 is off
    bfloat16: bool = True  # autocast where it is quicker; weights and optimizer stay in float32
    augmentation: Augmentation = field(default_factory=Augmentation)
    steps: int = 0
    evaluate_every: int = 0  # steps; 0 is once an epoch
    optimizer: Literal["sgd", "adam"] = "sgd"
    step_rate: float = 0.1  # rate of learned scales and codebooks relative to their size, as a share of learning_rate
    freeze_batch_norm: float = 1.0  # share of all steps after which statistics stay as they are; 1 is never
    until: int = 0  # stop after so many steps, as if cancelled there; 0 learns them all
    variants: int = 0  # augmentations of the training images before they come again; 0 is always new ones

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            if not low <= (value := getattr(self, name)) <= high:
                raise InvalidSetting(f"{name} is {value}; from {low} to {high} is allowed.")


_BOUNDS = (
    ("epochs", 1, 10_000), ("batch_size", 2, 65_536), ("learning_rate", 1e-8, 100.0), ("warmup", 0.0, 1.0),
    ("momentum", 0.0, 0.9999), ("weight_decay", 0.0, 1.0), ("label_smoothing", 0.0, 0.9),
    ("average_epochs", 0.0, 1e7), ("steps", 0, 10_000_000), ("evaluate_every", 0, 10_000_000),
    ("step_rate", 0.0, 1e6), ("freeze_batch_norm", 0.0, 1.0), ("variants", 0, 1000),
    ("until", 0, 10_000_000),
)  # fmt: skip
