"""Settings of structured pruning."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compression.steps.settings import LayerNames, Step


class Channels(Step):
    """Remove whole channels, filters, neurons and attention heads (Li et al. 2017, Fang et al. 2023)."""

    kind: ClassVar[str] = "channels"
    title: ClassVar[str] = "Remove channels"
    goes_first: ClassVar[str] = "channels are removed before anything else changes the layers"
    warm_up: ClassVar[Mapping[str, float]] = {"amount": 0.3}

    amount: Annotated[
        float,
        Field(
            ge=0.0, le=0.9, title="Removed", json_schema_extra={"unit": "%", "step": 0.01},
            description="Share of the MACs (or channels) to remove. At least this much is removed.",
        ),
    ] = 0.5  # fmt: skip
    measure: Annotated[
        Literal["macs", "channels"],
        Field(
            title="Share of",
            description="macs: share of the network's MACs. channels: share of the channels that can be removed.",
        ),
    ] = "macs"  # fmt: skip
    criterion: Annotated[
        Literal["error", "taylor", "activation", "l1", "l2", "bn_scale", "geometric_median"],
        Field(
            title="Criterion",
            description="How the channels to remove are chosen. error: smallest output error after the next layer "
            "is refitted; taylor: smallest effect on the loss (first order); activation: smallest mean "
            "activation; l1, l2, bn_scale and geometric_median: by the weights alone.",
        ),
    ] = "error"  # fmt: skip
    scope: Annotated[
        Literal["global", "uniform"],
        Field(
            title="Scope",
            description="global: compares channels across layers, by importance per cost. uniform: removes the same "
            "share from every layer.",
        ),
    ] = "global"  # fmt: skip
    part: Annotated[
        Literal["inner", "all"],
        Field(
            title="Layers",
            description="inner: keeps channels shared by shortcuts and concatenations. all: removes those too.",
        ),
    ] = "inner"  # fmt: skip
    round_to: Annotated[
        Literal[1, 4, 8, 16],
        Field(
            title="Multiple of", json_schema_extra={"measured": "channel_multiple"},
            description="Remaining channel counts are multiples of this; odd numbers are slow. The default is "
            "measured once on each machine (python -m compression machine).",
        ),
    ] = 8  # fmt: skip
    compensate: Annotated[
        bool,
        Field(
            title="Refit the next layer",
            description="Refits the layers that read removed channels by least squares on calibration images.",
        ),
    ] = True  # fmt: skip
    exclude: Annotated[
        LayerNames,
        Field(
            description="Layers that keep all their output channels, comma-separated, for example conv1,fc. Layers "
            "whose channels are removed together with theirs keep them too. The names are those on the page Layers.",
        ),
    ] = ""  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _measured(cls, given: Any) -> Any:
        """'measured' is left for the recipe to complete, with the number that it stands for on the machine."""
        if not isinstance(given, dict) or given.get("round_to") != "measured":
            return given
        return {name: value for name, value in given.items() if name != "round_to"}
