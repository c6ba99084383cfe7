"""Settings of weight sharing."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compression.errors import InvalidRecipe
from compression.steps.quantize import Quantize
from compression.steps.settings import Step


class Share(Step):
    """Let weights share few values, kept in a codebook (Han et al. 2016)."""

    kind: ClassVar[str] = "share"
    title: ClassVar[str] = "Share weights"
    goes_first: ClassVar[str] = "rounded weights have few values already, which a codebook would change again"
    warm_up: ClassVar[Mapping[str, float]] = {"entries": 16}

    entries: Annotated[
        int,
        Field(
            ge=2, le=256, title="Codebook entries", json_schema_extra={"unit": "values", "step": 1},
            description="How many different values the weights of a book may take; 16 cost 4 bits a weight. They "
            "are 8-bit whole numbers times a scale per channel, so that integer kernels can compute with them.",
        ),
    ] = 16  # fmt: skip
    channels_per_book: Annotated[
        Literal[0, 8, 16, 32, 64, 128],
        Field(
            title="Channels per book",
            description="Output channels that share a codebook; 0 gives each layer one book. More books, better fit, "
            "more bytes.",
        ),
    ] = 0  # fmt: skip
    weighting: Annotated[
        Literal["hessian", "magnitude", "none"],
        Field(
            title="Weights count by",
            description="What k-means looks at besides closeness: hessian, how much a change of the weight changes the "
            "layer's answers; magnitude, its size.",
        ),
    ] = "hessian"  # fmt: skip
    assignment: Annotated[
        Literal["second-order", "nearest"],
        Field(
            title="Assignment",
            description="second-order lets later weights make up for earlier ones and fits the entries to the answers; "
            "nearest does not look at the data.",
        ),
    ] = "second-order"  # fmt: skip

    def check_beside(self, steps: Mapping[str, Step]) -> None:
        """After it, quantize has only the values between layers left to round."""
        quantize = steps.get("quantize")
        if not isinstance(quantize, Quantize):
            return
        own = {f"layer_bits for {name}": bits for name, bits in quantize.overrides.items()}
        for setting, bits in {"weight_bits": quantize.bits, **own}.items():
            if bits < 8:
                raise InvalidRecipe(
                    f"quantize.{setting} must be 8 or more after the step 'share', not {bits}: the weights lie in "
                    "codebooks of 8-bit entries then, and share.entries says how many values they take."
                )
        for setting, usual in SETTLED.items():
            if (value := getattr(quantize, setting)) != usual:
                raise InvalidRecipe(
                    f"quantize.{setting} must be {usual} after the step 'share', not {value}: the weights lie in "
                    "codebooks then, and share's own settings say which values they take."
                )


SETTLED = {"scheme": "linear", "granularity": "channel", "rounding": "second-order", "allocation": "even"}
"""What quantize has no say in after share, and the value that it must keep."""
