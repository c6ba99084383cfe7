"""The techniques: one module each, one table of all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx

from compression.calibration import Calibration
from compression.methods.prune import prune_
from compression.methods.quantize import quantize_activations_, quantize_weights_

Apply = Callable[[fx.GraphModule, Any, Calibration], None]


@dataclass(frozen=True)
class Method:
    """`apply_` changes weights in recipe order; `finish_` acts once batch norm is settled."""

    apply_: Apply
    finish_: Apply | None = None


METHODS: dict[str, Method] = {
    "prune": Method(prune_),
    "quantize": Method(quantize_weights_, quantize_activations_),
}
"""Every technique under its step's name (`compression.steps.STEPS` has the settings)."""
