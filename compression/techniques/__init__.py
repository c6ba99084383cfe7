"""The techniques: one module each, one table of all."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx

from compression.calibration import Calibration
from compression.techniques.channels.remove_channels import remove_channels_
from compression.techniques.lowrank.factorize import factorize_, reference_for
from compression.techniques.pruning.prune import prune_
from compression.techniques.quantization.activations import quantize_activations_

Apply = Callable[[fx.GraphModule, Any, Calibration], None]
Beside = Callable[[fx.GraphModule, fx.GraphModule], fx.GraphModule]


@dataclass(frozen=True)
class Method:
    """`apply_` says where weights may lie, in recipe order; `finish_` acts once values and batch norm are settled.

    The values are chosen between the two, by `techniques.reconstruction`, for all techniques together. A technique that
    changes which layers there are has `reference_for`: from the network that was answered like before and the changed
    network, one with the same nodes to be answered like after it.
    """

    apply_: Apply | None = None
    reference_for: Beside | None = None
    finish_: Apply | None = None


METHODS: dict[str, Method] = {
    "channels": Method(apply_=remove_channels_, reference_for=lambda before, after: copy.deepcopy(after)),
    "factorize": Method(apply_=factorize_, reference_for=reference_for),
    "prune": Method(apply_=prune_),
    "share": Method(),
    "quantize": Method(finish_=quantize_activations_),
    "recover": Method(),
}
"""Every technique under its step's name (`compression.steps.STEPS` has the settings)."""
