"""The same file on two machines: how many answers differ, and what is known of why.

Only what the machines differ in is named; that it is the cause is said where it was tried (saturation).
"""

from dataclasses import dataclass

import numpy as np

from compression.host.cpu import saturates
from compression.records.measurement import Machine, Predictions
from compression.records.probe import ProbeMachine

BOUND = 32_767
"""The largest sum of two 8-bit products that 16 bits hold."""


@dataclass(frozen=True)
class Apart:
    """Of `n` images that both machines answered, those whose classes differ; `why` is '' where none do.

    Confidences are medians of this machine's: over the `differing` images, and over all of them.
    """

    n: int
    differing: int
    confidence_differing: float
    confidence: float
    why: str


def apart(here: Predictions, there: Predictions, ours: Machine, theirs: ProbeMachine, *, integer: bool) -> Apart | None:
    """What tells two machines' answers apart; None where they answered no image in common.

    `integer`: whether the file multiplies 8-bit numbers.
    """
    _, at_here, at_there = np.intersect1d(here.images, there.images, return_indices=True)
    if not len(at_here):
        return None
    unequal = here.classes[at_here] != there.classes[at_there]
    confidence = here.confidences[at_here].astype(np.float64)
    count = int(unequal.sum())
    among = float(np.median(confidence[unequal])) if count else float("nan")
    why = reason(ours, theirs, integer=integer) if count else ""
    return Apart(len(at_here), count, among, float(np.median(confidence)), why)


def reason(ours: Machine, theirs: ProbeMachine, *, integer: bool) -> str:
    """In what the two machines differ that changes answers, in a sentence."""
    if theirs.litert:
        return f"There LiteRT {theirs.litert} runs the .tflite file, and its kernels round sums differently."
    if integer and theirs.saturates is not None and theirs.saturates != saturates():
        who, other = (
            ("That machine", "this one does not") if theirs.saturates else ("This machine", "that one does not")
        )
        return (
            f"{who} adds two 8-bit products in 16 bits and cuts off sums above {BOUND:,} (no VNNI; tried there with 64"
            f" products), {other}: large codes give different results. Use “Reduce range (7 bits)” to avoid this."
        )
    if ours.onnxruntime != theirs.onnxruntime:
        return f"ONNX Runtime is {theirs.onnxruntime} there and {ours.onnxruntime} here; kernels and fusions differ."
    if ours.system != theirs.system:
        return f"It is {theirs.system} there and {ours.system} here, whose kernels round sums in another order."
    if integer and ours.vnni != theirs.vnni:
        return "Only one of the two has VNNI, so 8-bit kernels differ; neither cuts sums off."
    return "The same ONNX Runtime on the same kind of system: its kernels for these processors round in another order."
