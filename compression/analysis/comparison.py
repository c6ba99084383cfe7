"""Two files on the same test images: which answers differ, by how much accuracy, and with which confidence interval.

The page draws what stands in these records; torch and ONNX Runtime are loaded only where images are compared.
"""

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from compression.errors import InvalidData
from compression.records.measurement import Interval, Predictions, Reference

if TYPE_CHECKING:
    from compression.data import Dataset


BINS = 10


SHOWN = 24
"""So many images that were lost, and so many that were won, are shown at most."""


CONFUSED = 60
"""So many classes stand in a table of confusions at most: those whose mistakes change most."""


@dataclass(frozen=True)
class ClassAccuracy:
    """How often each of two files is right on the `n` images of one class; both in [0, 1]."""

    name: str
    n: int
    a: float
    b: float


@dataclass(frozen=True)
class Flip:
    """A test image that only one of the two files answers rightly; `png` shows it."""

    image: int
    label: str
    a: str
    b: str
    a_confidence: float
    b_confidence: float
    png: bytes


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence lies in [low, high]: how many, how confident on average, how often right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Whether a file is right as often as it says; `error` is its calibration error (Guo et al. 2017, eq. 3)."""

    bins: tuple[Bin, ...]
    error: float


@dataclass(frozen=True)
class Comparison:
    """Two files on the same `n` images. `difference` is b's accuracy minus a's; `p_value` is McNemar's exact test.

    `confusion` [truth][answer] counts b's answers minus a's, of the classes `confused`. `lost` were right in a only,
    `won` in b only, the most confident first. Where `reference` is "fp32" the images have no labels: the truth is then
    what the fp32 file answers, and right is who answers the same.
    """

    n: int
    both: int
    a_only: int
    b_only: int
    neither: int
    difference: float
    interval: Interval
    p_value: float
    classes: tuple[ClassAccuracy, ...]
    confusion: tuple[tuple[int, ...], ...]
    lost: tuple[Flip, ...]
    won: tuple[Flip, ...]
    a_reliability: Reliability
    b_reliability: Reliability
    confused: tuple[str, ...] = ()
    reference: Reference = "labels"


def compare(a: Predictions, b: Predictions, data: "Dataset", fp32: Predictions | None = None) -> Comparison:
    """Both files on the test images that both have answered; `fp32`'s answers are the truth where there are no labels.

    Raises `InvalidData` where there are neither.
    """
    from compression.measure.accuracy import mcnemar

    for each in (a, b, *([fp32] if fp32 else [])):
        _check_fits(each, data)
    a, b = _common(a, b)
    truth = _truth(data, fp32)
    a, b = (_take(each, np.flatnonzero(truth[each.images] >= 0)) for each in (a, b))
    labels = truth[a.images]
    right_a, right_b = a.classes == labels, b.classes == labels
    won, lost = right_b & ~right_a, right_a & ~right_b
    change = confusion(b.classes, labels, data.classes) - confusion(a.classes, labels, data.classes)
    shown = _most_confused(change, np.bincount(labels, minlength=len(data.classes)) > 0)
    difference, bounds = paired_difference(int(won.sum()), int(lost.sum()), len(labels))
    return Comparison(
        n=len(labels),
        both=int((right_a & right_b).sum()),
        a_only=int(lost.sum()),
        b_only=int(won.sum()),
        neither=int((~right_a & ~right_b).sum()),
        difference=difference,
        interval=bounds,
        p_value=mcnemar(int(won.sum()), int(lost.sum())),
        classes=_by_class(data.classes, labels, right_a, right_b),
        confusion=_as_rows(change[np.ix_(shown, shown)]),
        lost=_flips(a, b, labels, lost, data, a.confidences),
        won=_flips(a, b, labels, won, data, b.confidences),
        a_reliability=reliability(a.confidences, right_a),
        b_reliability=reliability(b.confidences, right_b),
        confused=tuple(data.classes[i] for i in shown),
        reference="labels" if data.labelled else "fp32",
    )


def _check_fits(found: Predictions, data: "Dataset") -> None:
    if len(found) and (found.images.max() >= len(data.test) or found.classes.max() >= len(data.classes)):
        raise InvalidData(f"The stored predictions are not of the {len(data.test):,} test images of {data.title}.")


def _truth(data: "Dataset", fp32: Predictions | None) -> np.ndarray:
    """The class of each test image [all], -1 where the fp32 file has not answered."""
    if data.truth is not None:
        return data.truth
    if fp32 is None:
        raise InvalidData(f"{data.title} has no labels, and the fp32 file's predictions are not stored.")
    found = np.full(len(data.test), -1, np.int64)
    found[fp32.images] = fp32.classes
    return found


def _most_confused(change: np.ndarray, occurring: np.ndarray) -> np.ndarray:
    """Classes that occur or are answered otherwise [m], in their order; of many those with the most changed mistakes.

    change: [truth, answer]; occurring: bool [classes].
    """
    mistakes = np.abs(change)
    np.fill_diagonal(mistakes, 0)
    weight = mistakes.sum(0) + mistakes.sum(1)
    found = np.flatnonzero(occurring | (weight > 0))
    return np.sort(found[np.argsort(-weight[found], kind="stable")][:CONFUSED])


def paired_difference(won: int, lost: int, n: int) -> tuple[float, Interval]:
    """(won - lost) / n with the adjusted Wald interval for paired shares, at 95% (Agresti & Min 2005, §2)."""
    if n == 0:
        return 0.0, Interval(-1.0, 1.0)
    more, fewer, total = won + 0.5, lost + 0.5, n + 2
    middle = (more - fewer) / total
    half = 1.959964 * sqrt(more + fewer - (more - fewer) ** 2 / total) / total
    return (won - lost) / n, Interval(max(-1.0, middle - half), min(1.0, middle + half))


def confusion(answers: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """How often each class [rows] was answered as each [columns]."""
    found = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(found, (labels, answers), 1)
    return found


def reliability(confidences: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """Confidence against accuracy in `bins` equal bins; empty bins are left out."""
    confident = confidences.astype(np.float64)
    at = np.minimum((confident * bins).astype(int), bins - 1)
    found = tuple(
        Bin(i / bins, (i + 1) / bins, int(inside.sum()), float(confident[inside].mean()), float(right[inside].mean()))
        for i in range(bins)
        if (inside := at == i).any()
    )
    return Reliability(found, sum(b.n * abs(b.confidence - b.accuracy) for b in found) / max(1, len(right)))


def _common(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Both in the order of a, on the images that both answered."""
    place = {int(image): i for i, image in enumerate(b.images)}
    ours = np.array([i for i, image in enumerate(a.images) if int(image) in place], int)
    theirs = np.array([place[int(image)] for image in a.images[ours]], int)
    return _take(a, ours), _take(b, theirs)


def _take(found: Predictions, which: np.ndarray) -> Predictions:
    return Predictions(found.images[which], found.classes[which], found.confidences[which])


def _by_class(
    names: tuple[str, ...], labels: np.ndarray, right_a: np.ndarray, right_b: np.ndarray
) -> tuple[ClassAccuracy, ...]:
    groups = [(name, labels == i) for i, name in enumerate(names)]
    return tuple(
        ClassAccuracy(name, int(ours.sum()), float(right_a[ours].mean()), float(right_b[ours].mean()))
        for name, ours in groups
        if ours.any()
    )


def _as_rows(matrix: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(value) for value in row) for row in matrix)


def _flips(
    a: Predictions, b: Predictions, labels: np.ndarray, chosen: np.ndarray, data: "Dataset", confident: np.ndarray
) -> tuple[Flip, ...]:
    """The chosen images, those first that were answered rightly with the most confidence."""
    which = np.flatnonzero(chosen)
    which = which[np.argsort(-confident[which].astype(np.float64), kind="stable")][:SHOWN]
    name = data.classes
    return tuple(
        Flip(
            int(a.images[i]), name[labels[i]], name[a.classes[i]], name[b.classes[i]],
            float(a.confidences[i]), float(b.confidences[i]), picture(data, int(a.images[i])),
        )
        for i in which
    )  # fmt: skip


def picture(data: "Dataset", image: int, least: int = 84) -> bytes:
    """A test image as PNG, with whole pixels, at least `least` of the screen's wide."""
    import io

    from PIL import Image

    pixels = data.test.images[image].numpy()  # uint8 [C, H, W]
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    times = max(1, -(-least // picture.width))
    buffer = io.BytesIO()
    picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
