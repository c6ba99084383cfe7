"""Settings of low-rank factorization."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compression.steps.settings import LayerNames, Step


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
            description="Share of the network's MACs to remove. At least this much is removed.",
        ),
    ] = 0.33  # fmt: skip
    rank: Annotated[
        Literal["macs", "energy"],
        Field(
            title="Rank selection",
            description="macs: the ranks with the smallest total error for the MACs to remove. energy: for each "
            "layer the cheapest factorization that keeps the given share of its output variance.",
        ),
    ] = "macs"  # fmt: skip
    energy: Annotated[
        float,
        Field(
            ge=0.5, le=0.9999, title="Kept energy", json_schema_extra={"step": 0.001},
            description="Share of a layer's output variance to keep. Used when ranks are selected by energy.",
        ),
    ] = 0.98  # fmt: skip
    form: Annotated[
        Literal["best", "spatial", "channel", "tucker"],
        Field(
            title="Form",
            description="spatial: k×1 and 1×k. channel: k×k and 1×1 in either order. tucker: 1×1, k×k, 1×1. best: "
            "the best trade-off in each layer. Linear and 1×1 layers become two layers of the same "
            "kind.",
        ),
    ] = "best"  # fmt: skip
    activation_aware: Annotated[
        bool,
        Field(
            title="Activation-aware",
            description="Minimises the output error on calibration images instead of the weight error.",
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
            description="Refits all weights layer by layer to the dense network's outputs (least squares).",
        ),
    ] = True  # fmt: skip
    exclude: LayerNames = ""
