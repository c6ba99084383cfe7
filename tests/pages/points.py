"""Measured points of LeNet-300-100 on Digits, written down."""

import numpy as np

from compression.jobs.messages import Baseline
from compression.recipe import Recipe
from compression.records.measurement import (
    Accuracy,
    Interval,
    Latency,
    Machine,
    Measurement,
    Predictions,
)
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import Subject

EMPTY = Predictions(np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.float16))
MACHINE = Machine("A CPU", 2, True, "Linux", "3.11", "2.15", "1.32")
DIGITS = Subject("lenet300", "digits", "digits")


def measurement(accuracy: float, size_bytes: int, ratio: float | None = None, n: int = 10_000) -> Measurement:
    found = Accuracy(accuracy, Interval(accuracy - 0.005, accuracy + 0.005), n, 0.94, 0.94 - accuracy, 0.5)
    bounds = Interval(ratio - 0.01, ratio + 0.01) if ratio else Interval(0, 0)
    latency = Latency(0.48 * ratio, 0.6, 0.48, ratio, bounds, 100, 10, 1, 1, 0.0, 0.1) if ratio else None
    return Measurement("r", "f", found, size_bytes, 1_095_000, latency, 1, 1, n, 1.0, MACHINE, EMPTY)


def point(sparsity: float, accuracy: float, size_bytes: int, ratio: float | None = None) -> Point:
    recipe = Recipe().with_setting("prune.sparsity", sparsity)
    return Point(recipe, measurement(accuracy, size_bytes, ratio), full=True)


def trail(*points: Point) -> Trail:
    made = Trail(
        baseline=Baseline(Accuracy(0.94, Interval(0.935, 0.945), 10_000, 0.94, 0.0), 1_095_000, 40_000_000, 270_000)
    )
    for each in points:
        made.add(each)
    return made
