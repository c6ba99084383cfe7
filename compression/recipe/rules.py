"""Rules between the steps of a recipe: their order, and which settings exclude each other."""

from itertools import pairwise

from compression.errors import InvalidRecipe
from compression.steps import STEPS, Quantize, Step


def _in_order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Refuses a technique that stands twice or after one that it cannot follow."""
    kinds = [s.kind for s in steps]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InvalidRecipe(f"The step {kind!r} stands {kinds.count(kind)} times; once is allowed.")
    for before, after in pairwise(kinds):
        if _rank(before) > _rank(after):
            raise InvalidRecipe(f"The step {after!r} cannot follow {before!r}: {_BEFORE[after]}.")
    _share_settles_the_weights(steps)
    _a_schedule_needs_masks(steps)
    return steps


_BEFORE = {
    "channels": "channels are removed before anything else changes the layers",
    "factorize": "layers are split before single weights are changed",
    "prune": "pruned weights must be rounded last",
    "share": "rounded weights have few values already, which a codebook would change again",
    "quantize": "training has to see the rounded weights",
}
"""Why a step cannot follow one that comes later in the usual order."""


def _share_settles_the_weights(steps: tuple[Step, ...]) -> None:
    """After share, quantize has only the values between layers left to round."""
    kinds = {s.kind: s for s in steps}
    quantize = kinds.get("quantize")
    if "share" not in kinds or not isinstance(quantize, Quantize):
        return
    given = {"weight_bits": quantize.bits, **{f"layer_bits for {name}": n for name, n in quantize.overrides.items()}}
    for setting, bits in given.items():
        if bits < 8:
            raise InvalidRecipe(
                f"quantize.{setting} must be 8 or more after the step 'share', not {bits}: the weights lie in "
                "codebooks of 8-bit entries then, and share.entries says how many values they take."
            )
    for setting, usual in _SETTLED_BY_SHARE.items():
        if (value := getattr(quantize, setting)) != usual:
            raise InvalidRecipe(
                f"quantize.{setting} must be {usual} after the step 'share', not {value}: the weights lie in codebooks "
                "then, and share's own settings say which values they take."
            )


_SETTLED_BY_SHARE = {"scheme": "linear", "granularity": "channel", "rounding": "second-order", "allocation": "even"}
"""What quantize has no say in after share, and the value that it must keep."""


def _a_schedule_needs_masks(steps: tuple[Step, ...]) -> None:
    kinds = {s.kind: s for s in steps}
    schedule = getattr(kinds.get("recover"), "schedule", "none")
    if schedule != "none" and "prune" not in kinds:
        raise InvalidRecipe(
            f"recover.schedule must be none without the step 'prune', not {schedule}: it says when weights are pruned."
        )


def _rank(kind: str) -> int:
    return list(STEPS).index(kind)
