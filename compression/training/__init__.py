"""The one training loop. What is learned differs by the model, the loss and the teacher that are passed in."""

from compression.training.config import TrainingConfig
from compression.training.evaluation import accuracy, device, scores
from compression.training.parts import Batch, Epoch, Loss, Progress, Setting, Teacher, Trained
from compression.training.run import smoothed_cross_entropy, train

__all__ = [
    "Batch", "Epoch", "Loss", "Progress", "Setting", "Teacher", "Trained", "TrainingConfig", "accuracy", "device",
    "scores", "smoothed_cross_entropy", "train",
]  # fmt: skip
