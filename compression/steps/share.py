"""Settings of weight sharing."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compression.steps.settings import Settings


class Share(Settings):
    """Let weights share few values, kept in a codebook (Han et al. 2016)."""

    kind: ClassVar[str] = "share"
    title: ClassVar[str] = "Share weights"

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
