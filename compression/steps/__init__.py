"""The settings of every technique: bounds, unit, default and help stand here once.

The validator, the sliders, the command line and the documentation read them from these fields. Nothing in this package
imports torch, so a page can draw its controls before the engine is loaded. What a step does is in
`compression.techniques`, under the same name.
"""

from typing import Any

from compression.errors import UnknownName
from compression.steps.channels import Channels
from compression.steps.factorize import Factorize
from compression.steps.prune import Prune
from compression.steps.quantize import SCHEME_BITS, Quantize
from compression.steps.recover import Recover, steps_for
from compression.steps.settings import Settings, allowed, bounds_of, choices_of, default_of, parse
from compression.steps.share import Share

__all__ = [
    "SCHEME_BITS", "STEPS", "Channels", "Factorize", "Prune", "Quantize", "Recover", "Settings", "Share", "Step",
    "allowed", "bounds_of", "choices_of", "default_of", "parse", "step", "steps_for",
]  # fmt: skip

Step = Channels | Factorize | Prune | Share | Quantize | Recover

STEPS: dict[str, type[Step]] = {
    "channels": Channels, "factorize": Factorize, "prune": Prune, "share": Share, "quantize": Quantize,
    "recover": Recover,
}  # fmt: skip
"""Every step by name, in the order in which the techniques are meant to be applied."""


def step(kind: str, /, **values: Any) -> Step:
    """The settings of technique `kind`; raises `UnknownName` or `InvalidSetting`."""
    if kind not in STEPS:
        raise UnknownName("step", kind, STEPS)
    return STEPS[kind](**values)
