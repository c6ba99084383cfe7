"""The smallest file within a drop of accuracy, out of a ladder of recipes. Chosen on validation images, as ever."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from compression.jobs import worker
from compression.jobs.messages import Request
from compression.recipe import Recipe
from compression.records.measurement import Reference

if TYPE_CHECKING:
    from compression.pipeline.candidate import Prepared

IMAGES = 2_000
"""So many validation images are looked at; fewer where there are fewer."""

_PRUNED = (
    (0.95, 3), (0.92, 3), (0.9, 3), (0.9, 4), (0.85, 4), (0.8, 4), (0.7, 4), (0.6, 4), (0.5, 4), (0.3, 4),
)  # fmt: skip
LADDER: tuple[Recipe, ...] = (
    *(Recipe().with_settings({"prune.sparsity": s, "quantize.weight_bits": bits}) for s, bits in _PRUNED),
    *(Recipe().with_setting("quantize.weight_bits", bits) for bits in (4, 5, 6, 8)),
)
"""From the smallest file to the biggest; each is at least about as accurate as those before it."""


@dataclass(frozen=True)
class Choice:
    """A recipe with its drop (share in [0, 1]) on `images` validation images, out of `of` recipes, `tried` of them.

    Without labels (`reference` "fp32") the drop is the share of images that get another class than from the fp32 file.
    """

    recipe: Recipe
    drop: float
    images: int
    tried: int
    of: int
    reference: Reference = "labels"


def smallest_recipe(request: Request, most: float) -> Choice | None:
    """The first recipe of the ladder that loses at most `most` (share) on validation images, found by bisection.

    None where even the last one loses more. Runs in a worker, for the request's network and images.
    """
    prepared = worker.prepared(request)
    shared = Recipe.from_json(request.recipe)
    ladder = [Recipe(steps=r.steps, seed=shared.seed, calibration_images=shared.calibration_images) for r in LADDER]
    drops: dict[int, float] = {}
    drop = _drop_on_validation(prepared)
    low, high = 0, len(ladder)
    while low < high:
        middle = (low + high) // 2
        drops[middle] = drop(ladder[middle])
        low, high = (low, middle) if drops[middle] <= most else (middle + 1, high)
    if low == len(ladder):
        return None
    images = min(IMAGES, len(prepared.data.validation))
    reference: Reference = "labels" if prepared.data.labelled else "fp32"
    return Choice(ladder[low], drops[low], images, len(drops), len(ladder), reference)


def _drop_on_validation(prepared: "Prepared") -> Callable[[Recipe], float]:
    """How much less often a recipe's file is right than the fp32 file, on validation images."""
    from compression.host.onnx_runtime import session
    from compression.measure.accuracy import predict
    from compression.pipeline import compress

    held_out = replace(prepared.data, test=prepared.choosing.validation)
    images = np.arange(min(IMAGES, len(held_out.test)))
    truth = held_out.test.labels.numpy()[images]

    def right(onnx: bytes) -> float:
        return float((predict(session(onnx), held_out, images).classes == truth).mean())

    dense = right(prepared.baseline.onnx)
    return lambda recipe: dense - right(compress.compress_prepared(prepared, recipe).onnx)
