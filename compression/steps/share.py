"""Settings of weight sharing."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compression.errors import InvalidRecipe
from compression.steps.quantize import Quantize
from compression.steps.settings import LayerNames, Step


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
            description="Number of different values per codebook; 16 values take 4 bits per weight. Entries are "
            "8-bit integers times a scale per channel, so integer kernels can be used.",
        ),
    ] = 16  # fmt: skip
    channels_per_book: Annotated[
        Literal[0, 8, 16, 32, 64, 128],
        Field(
            title="Channels per codebook",
            description="Output channels that share a codebook. 0: one codebook per layer. More codebooks fit "
            "better and take more bytes.",
        ),
    ] = 0  # fmt: skip
    weighting: Annotated[
        Literal["hessian", "magnitude", "none"],
        Field(
            title="Weighting",
            description="Weighting of the weights in k-means. hessian: by the effect on the layer's output; "
            "magnitude: by absolute value.",
        ),
    ] = "hessian"  # fmt: skip
    assignment: Annotated[
        Literal["second-order", "nearest"],
        Field(
            title="Assignment",
            description="second-order: later weights compensate for earlier ones, and entries are refitted to the "
            "outputs. nearest: uses no data.",
        ),
    ] = "second-order"  # fmt: skip
    exclude: LayerNames = ""

    def check_beside(self, steps: Mapping[str, Step]) -> None:
        """After it, quantize has only the values between layers left to round, and the layers that it excludes."""
        quantize = steps.get("quantize")
        if not isinstance(quantize, Quantize):
            return
        own = {f"layer_bits for {name}": bits for name, bits in quantize.overrides.items() if name not in self.excluded}
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
