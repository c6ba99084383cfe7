"""Settings of low-rank factorization."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compression.steps.settings import Step


class Factorize(Step):
    """Replace layers by products of smaller ones (Jaderberg et al. 2014, Zhang et al. 2016, Kim et al. 2016)."""

    kind: ClassVar[str] = "factorize"
    title: ClassVar[str] = "Factorize layers"
    goes_first: ClassVar[str] = "layers are split before single weights are changed"
    warm_up: ClassVar[Mapping[str, float]] = {"amount": 0.3}

    amount: Annotated[
        float,
        Field(
            ge=0.0, le=0.9, title="Removed", json_schema_extra={"unit": "%", "step": 0.01},
            description="Share of the network's multiply-accumulates that goes; at least this much is reached.",
        ),
    ] = 0.33  # fmt: skip
    rank: Annotated[
        Literal["macs", "energy"],
        Field(
            title="Ranks by",
            description="macs: the ranks that lose least in sum while so much of the work goes; energy: for each layer "
            "the cheapest product that keeps so much of its answers' variance.",
        ),
    ] = "macs"  # fmt: skip
    energy: Annotated[
        float,
        Field(
            ge=0.5, le=0.9999, title="Kept energy", json_schema_extra={"step": 0.001},
            description="Share of the variance of a layer's answers that its product keeps; used where ranks go by "
            "energy.",
        ),
    ] = 0.98  # fmt: skip
    form: Annotated[
        Literal["best", "spatial", "channel", "tucker"],
        Field(
            title="Form",
            description="spatial: k×1 and 1×k; channel: k×k and 1×1 in either order; tucker: 1×1, k×k, 1×1; best: in "
            "each layer what loses least for what it saves. Linear and 1×1 layers become two of their kind.",
        ),
    ] = "best"  # fmt: skip
    activation_aware: Annotated[
        bool,
        Field(
            title="Look at activations",
            description="Keep what the layer's answers on calibration images need, not what its weights look like.",
        ),
    ] = True  # fmt: skip
    round_to: Annotated[
        Literal[1, 4, 8, 16],
        Field(title="Multiple of", description="Ranks are multiples of this; odd numbers are slow."),
    ] = 8  # fmt: skip
    refit: Annotated[
        bool,
        Field(
            title="Refit",
            description="Fit all weights to the dense network's answers afterwards (least squares), layer by layer.",
        ),
    ] = True  # fmt: skip
