"""What a training consists of and tells: batches, losses, teachers, progress, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from compression.records.measurement import LearningPoint


@dataclass(frozen=True, eq=False)
class Batch:
    """`inputs` float32 [n, C, H, W], augmented and normalised; `labels` int64 [n].

    `indices` int64 [n] point into the training split, which has `of` images. `variant` numbers the augmentation: the
    same images of the same variant are the same inputs. `share` of all steps is done. `answers` is what the teacher
    says about the inputs, where there is one.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    of: int = 0
    variant: int = 0
    share: float = 0.0
    answers: Any = None


Loss = Callable[[Any, Batch], torch.Tensor]
"""(what the model returns, batch) → scalar. A loss that is a module may have parameters; they learn with the model."""


class Teacher(Protocol):
    """Answers about batches. What it remembers goes into checkpoints, so that a resumed training is the same one."""

    def answers(self, batch: Batch) -> Any:
        """What the loss wants to know, e.g. scores [n, classes]."""

    def state(self) -> dict[str, torch.Tensor]:
        """What it remembers."""

    def take_up(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from `state`."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands. `accuracy` in [0, 1] is the last one on validation, None before the first.

    `measured` is the same where it was measured just now, else None. `seconds_left` are those to the step at which it
    ends, be that before the last of `steps`.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None
    seconds_left: float
    measured: float | None = None

    @property
    def point(self) -> LearningPoint:
        """The same as a point of the learning curve."""
        return LearningPoint(self.step, self.steps, self.epoch, self.loss, self.measured, self.seconds_left)


@dataclass(frozen=True)
class Epoch:
    """What the steps up to an evaluation came to, usually an epoch's. `accuracy` on validation, in [0, 1]."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    step: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """The model that was best on validation (eval mode, on the CPU), and how it came about."""

    model: nn.Module
    best_epoch: int
    validation_accuracy: float
    history: tuple[Epoch, ...]
    best_step: int = 0


@dataclass(frozen=True, eq=False)
class Setting:
    """What a training consists of besides its config. `purpose` tells checkpoints of different trainings apart.

    `before_step` may change the model (masks, say) before each step: it gets the model, the step's number and how many
    there are, and must depend on nothing else. `keep_start` lets the untrained model win where it is the best; a state
    from before `eligible`, a share of all steps, is not chosen.
    """

    loss: Loss
    teacher: Teacher | None = None
    before_step: Callable[[nn.Module, int, int], None] | None = None
    purpose: str = ""
    keep_start: bool = False
    eligible: float = 0.0
