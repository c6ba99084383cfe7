"""Settings of structured pruning."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compression.steps.settings import Step


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
            description="Share of the multiply-accumulates (or channels) that goes; at least this much is reached.",
        ),
    ] = 0.5  # fmt: skip
    measure: Annotated[
        Literal["macs", "channels"],
        Field(
            title="Share of",
            description="macs counts the network's multiply-accumulates; channels counts the channels that may go.",
        ),
    ] = "macs"  # fmt: skip
    criterion: Annotated[
        Literal["error", "taylor", "activation", "l1", "l2", "bn_scale", "geometric_median"],
        Field(
            title="Criterion",
            description="Which channels go first: error, those whose loss the next layer makes up for best; taylor, "
            "those whose loss changes the answers least; activation, the quietest; l1, l2, bn_scale and "
            "geometric_median look at the weights alone.",
        ),
    ] = "error"  # fmt: skip
    scope: Annotated[
        Literal["global", "uniform"],
        Field(
            title="Scope",
            description="global takes channels where they are worth least for what they cost; uniform takes the same "
            "share of every layer.",
        ),
    ] = "global"  # fmt: skip
    part: Annotated[
        Literal["inner", "all"],
        Field(
            title="Layers",
            description="inner leaves the channels that shortcuts and concatenations share; all lets them go too.",
        ),
    ] = "inner"  # fmt: skip
    round_to: Annotated[
        Literal[1, 4, 8, 16],
        Field(
            title="Multiple of", json_schema_extra={"measured": "channel_multiple"},
            description="A layer that loses channels keeps a multiple of this many; odd numbers are slow. The default "
            "is chosen by latencies that are measured once on each machine (python -m compression machine).",
        ),
    ] = 8  # fmt: skip
    compensate: Annotated[
        bool,
        Field(
            title="Refit the next layer",
            description="Layers that read removed channels are refitted by least squares on calibration images.",
        ),
    ] = True  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _measured(cls, given: Any) -> Any:
        """'measured' is left for the recipe to complete, with the number that it stands for on the machine."""
        if not isinstance(given, dict) or given.get("round_to") != "measured":
            return given
        return {name: value for name, value in given.items() if name != "round_to"}
