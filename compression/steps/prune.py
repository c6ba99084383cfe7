"""Settings of pruning single weights and patterns of them."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compression.errors import InvalidSetting
from compression.steps.settings import LayerNames, Step


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
            description="Share of the weights set to zero, in all layers that are not excluded. Reduces the file size, "
            "not the latency on a CPU.",
        ),
    ] = 0.5  # fmt: skip
    criterion: Annotated[
        Literal["error", "magnitude", "activation", "taylor", "second-order"],
        Field(
            title="Importance",
            description="How the weights to prune are chosen. error: jointly, for the smallest output error after "
            "refitting; magnitude: smallest absolute value; activation: smallest contribution to the "
            "output (Wanda); taylor: smallest effect on the likelihood (first order); second-order: "
            "smallest error after the other weights compensate (OBS).",
        ),
    ] = "error"  # fmt: skip
    scope: Annotated[
        Literal["global", "layer"],
        Field(
            title="Scope",
            description="global: compares all weights of the network. layer: compares the weights within each layer.",
        ),
    ] = "global"
    pattern: Annotated[
        Literal["free", "2:4", "1:4", "4:8", "1x4", "4x1", "kernel"],
        Field(
            title="Pattern",
            description="N:M keeps N of every M neighbouring weights in every layer whose filters read at least M "
            "channels, and determines the sparsity. Blocks are pruned as a whole: 1x4 (four neighbouring inputs of one "
            "output), 4x1 (one input of four neighbouring outputs), kernel (all taps between an input and an output "
            "channel).",
        ),
    ] = "free"  # fmt: skip
    refit: Annotated[
        bool,
        Field(
            title="Refit", description="Refits the remaining weights to the dense network's outputs (least squares)."
        ),
    ] = True
    by: Annotated[
        Literal["sparsity", "threshold"],
        Field(
            title="Prune by",
            description="sparsity: prunes the given share of the weights. threshold: prunes all weights below a "
            "magnitude.",
        ),
    ] = "sparsity"  # fmt: skip
    threshold: Annotated[
        float,
        Field(
            ge=0.0, le=1.0, title="Threshold", json_schema_extra={"step": 0.001},
            description="Weights with a smaller magnitude are pruned. Used when pruning by threshold.",
        ),
    ] = 0.05  # fmt: skip
    exclude: LayerNames = ""

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
