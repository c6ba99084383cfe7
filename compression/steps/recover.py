"""Settings of recovery by training."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compression.errors import InvalidRecipe, InvalidSetting
from compression.steps.settings import Step


class Recover(Step):
    """Train the compressed network to answer like the dense one again (distillation; Hinton et al. 2015)."""

    kind: ClassVar[str] = "recover"
    title: ClassVar[str] = "Recover by training"

    steps: Annotated[
        int,
        Field(
            ge=1, le=1_000_000, title="Steps", json_schema_extra={"unit": "steps"},
            description="Number of training steps (batches). The app converts minutes to steps at the measured "
            "speed.",
        ),
    ] = 500  # fmt: skip
    method: Annotated[
        Literal["distill", "fine-tune", "hint", "attention", "relational", "decoupled"],
        Field(
            title="Method",
            description="distill: the teacher's softened outputs. fine-tune: the labels only. hint, attention, "
            "relational: also the teacher's feature maps, attention maps, or distances between images. "
            "decoupled: target-class and other-class outputs separately.",
        ),
    ] = "distill"  # fmt: skip
    temperature: Annotated[
        float,
        Field(
            ge=1.0, le=20.0, title="Temperature", json_schema_extra={"step": 0.5},
            description="Softens the teacher's outputs: 1 leaves them unchanged, 20 makes them nearly uniform.",
        ),
    ] = 4.0  # fmt: skip
    alpha: Annotated[
        float,
        Field(
            ge=0.0, le=1.0, title="Teacher weight (alpha)", json_schema_extra={"step": 0.05},
            description="Weight of the teacher in the loss. The labels have the remaining weight.",
        ),
    ] = 0.9  # fmt: skip
    labels: Annotated[
        bool,
        Field(
            title="Use labels",
            description="Off: labels are used neither for training nor for model selection; the teacher's outputs "
            "replace them.",
        ),
    ] = True  # fmt: skip
    images: Annotated[
        Literal["training", "calibration"],
        Field(title="Images", description="Train on all training images, or only on the calibration images."),
    ] = "training"
    teacher: Annotated[
        Literal[
            "self", "resnet56", "resnet20", "resnet20_half", "resnet20_quarter", "resnet8", "vgg11", "mobilenetv2",
            "shufflenetv2", "lenet5", "lenet300",
        ],
        Field(
            title="Teacher",
            description="self: the uncompressed network. The others are networks of the zoo trained on the same "
            "dataset.",
        ),
    ] = "self"  # fmt: skip
    assistant: Annotated[
        Literal[
            "none", "resnet56", "resnet20", "resnet20_half", "resnet20_quarter", "resnet8", "vgg11", "mobilenetv2",
            "shufflenetv2", "lenet5", "lenet300",
        ],
        Field(
            title="Assistant",
            description="A network between teacher and student that teaches the first half of the steps (Mirzadeh "
            "et al. 2020).",
        ),
    ] = "none"  # fmt: skip
    batch_size: Annotated[
        int, Field(ge=2, le=4096, title="Batch size", description="Images per training step.")
    ] = 128  # fmt: skip
    learning_rate: Annotated[
        float,
        Field(
            ge=1e-6, le=1.0, title="Learning rate", json_schema_extra={"step": 0.0005},
            description="Peak learning rate of Adam, after a short warm-up, with cosine decay to zero.",
        ),
    ] = 0.001  # fmt: skip
    schedule: Annotated[
        Literal["none", "cubic", "rewind"],
        Field(
            title="Pruning schedule",
            description="none: prunes once, before training. cubic: increases sparsity during the first two thirds "
            "of training (Zhu & Gupta 2017), then rounds or shares weights. rewind: prunes once, then "
            "trains from the dense network's weights (Renda et al. 2020).",
        ),
    ] = "none"  # fmt: skip
    freeze_batch_norm: Annotated[
        Literal["off", "late", "on"],
        Field(
            title="Freeze batch norm",
            description="Freezes batch-norm statistics: never, for the last quarter, or throughout.",
        ),
    ] = "off"  # fmt: skip
    learned_steps: Annotated[
        bool,
        Field(title="Learn scales", description="Trains scales and codebooks together with the weights (LSQ)."),
    ] = True  # fmt: skip
    until: Annotated[
        int,
        Field(
            ge=0, le=1_000_000, title="Stop after", json_schema_extra={"step": 1},
            description="Stops after this many steps, as if cancelled, and keeps the best network so far. 0 runs "
            "all steps.",
        ),
    ] = 0  # fmt: skip

    @property
    def teachers(self) -> tuple[str, ...]:
        """The networks of the zoo that teach, besides the dense one itself."""
        named = () if self.method == "fine-tune" else (self.teacher, self.assistant)
        return tuple(name for name in named if name not in ("self", "none"))

    @property
    def end(self) -> int:
        """The step after which it ends."""
        return min(self.until or self.steps, self.steps)

    def check_beside(self, steps: Mapping[str, Step]) -> None:
        """A schedule of masks needs masks."""
        if self.schedule != "none" and "prune" not in steps:
            raise InvalidRecipe(
                f"recover.schedule must be none without the step 'prune', not {self.schedule}: it says when weights "
                "are pruned."
            )

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> "Recover":
        if self.method == "fine-tune" and not self.labels:
            raise InvalidSetting(
                "recover.labels must be true where recover.method is 'fine-tune', not False: without labels there is "
                "nothing to learn from but a teacher."
            )
        if self.assistant != "none" and self.method not in ("distill", "decoupled"):
            raise InvalidSetting(
                f"recover.assistant must be none where recover.method is {self.method!r}, not {self.assistant!r}: an "
                "assistant teaches by its answers, as in 'distill' and 'decoupled'."
            )
        return self


def steps_for(minutes: float, seconds_per_step: float) -> int:
    """How many steps fit into a user's minutes at the measured speed: at least 1. The recipe holds these."""
    return max(1, min(1_000_000, int(minutes * 60 / seconds_per_step)))
