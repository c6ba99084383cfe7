"""Settings of pruning single weights and patterns of them."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compression.errors import InvalidSetting
from compression.steps.settings import Step


class Prune(Step):
    """Set the least important weights to zero (unstructured; Han et al. 2015)."""

    kind: ClassVar[str] = "prune"
    title: ClassVar[str] = "Prune weights"
    goes_first: ClassVar[str] = "pruned weights must be rounded last"
    warm_up: ClassVar[Mapping[str, float]] = {"sparsity": 0.5}

    sparsity: Annotated[
        float,
        Field(
            ge=0.0, le=0.99, title="Sparsity", json_schema_extra={"unit": "%", "step": 0.01},
            description="Share of the weights that become zero. Zeros shrink the file; on a CPU they do not save time.",
        ),
    ] = 0.5  # fmt: skip
    criterion: Annotated[
        Literal["error", "magnitude", "activation", "taylor", "second-order"],
        Field(
            title="Importance",
            description="error: all zeros are chosen together, for the least error of the answers after the refit; "
            "magnitude: the smallest weights go; activation: those that add least to their output; taylor: those the "
            "answers' likelihood depends on least; second-order: those whose loss the others make up for best.",
        ),
    ] = "error"  # fmt: skip
    scope: Annotated[
        Literal["global", "layer"],
        Field(title="Compared", description="All weights of the network together, or each layer's among themselves."),
    ] = "global"
    pattern: Annotated[
        Literal["free", "2:4", "1:4", "4:8", "1x4", "4x1", "kernel"],
        Field(
            title="Pattern",
            description="N:M keeps N of every M neighbours in every layer, and sets the sparsity by itself. Blocks go "
            "as a whole: 1x4, four neighbouring inputs of one output; 4x1, one input of four neighbouring outputs; "
            "kernel, all taps between an input and an output channel.",
        ),
    ] = "free"  # fmt: skip
    refit: Annotated[
        bool,
        Field(title="Refit", description="Fit the weights that stay to the dense network's answers (least squares)."),
    ] = True
    by: Annotated[
        Literal["sparsity", "threshold"],
        Field(
            title="Limit",
            description="sparsity: that share of the weights goes; threshold: all weights below a magnitude go.",
        ),
    ] = "sparsity"  # fmt: skip
    threshold: Annotated[
        float,
        Field(
            ge=0.0, le=1.0, title="Threshold", json_schema_extra={"step": 0.001},
            description="Weights of smaller magnitude go, where the limit is a threshold.",
        ),
    ] = 0.05  # fmt: skip

    @model_validator(mode="after")
    def _a_threshold_is_a_magnitude(self) -> "Prune":
        if self.by == "threshold" and self.criterion != "magnitude":
            raise InvalidSetting(
                "prune.criterion must be magnitude where prune.by is threshold, not "
                f"{self.criterion}: a threshold is compared with the weights themselves."
            )
        if self.by == "threshold" and ":" in self.pattern:
            raise InvalidSetting(
                f"prune.by must be sparsity where prune.pattern is {self.pattern}, not threshold: "
                "the pattern says how many weights go."
            )
        return self
