"""How often a file is right or, without labels, like fp32; how sure that is, and whether it differs from fp32."""

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np
import onnxruntime as ort
import torch

from compression.data import Dataset
from compression.errors import Cancelled, InvalidFile
from compression.host.interruption import look
from compression.measure.intake import answered, intake
from compression.network.decisions import NONE, classes
from compression.records.measurement import Accuracy, Interval, Predictions, order, wilson

__all__ = ["accuracy", "join", "mcnemar", "order", "predict", "wilson"]

BATCH, MEBIBYTES = 64, 4
"""Images at once, of which large ones take no more memory: their feature maps stay near a core, and kernels like
multiples of 16. 64 images of 240×240 at once take a tenth longer each than 4 do, and 1.4 GB.
"""

WORKERS = min(2, os.cpu_count() or 1)
"""Batches that are answered side by side. Each runs on one thread, in a session with one thread."""


def predict(
    session: ort.InferenceSession,
    data: Dataset,
    images: np.ndarray,
    *,
    batch: int = BATCH,
    seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> Predictions:
    """Class and confidence for the test images at the indices `images` [n], `batch` at once unless the file's is fixed.

    With `seconds`, for as many of the first of them as are answered by then, at least one batch.

    `session` is one with a single thread: several of its runs go side by side. `stop` is asked in the caller's thread,
    which may wait in it, before each batch. Raises `Cancelled` when `stop()` is true, and `InvalidFile` where the file
    does not take the images, or where its scores of an image name no class (`decisions.classes`).
    """
    takes, table = intake(session, data.input_shape), normalized_values(data)
    batch = takes.batch or data.at_once(batch, MEBIBYTES)
    late = time.perf_counter() + (math.inf if seconds is None else seconds)

    def answer(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = answered(session, takes, _batch(data.test.pixels(part).numpy(), table), len(data.classes))
        named = classes(scores)
        scores[named == NONE] = 0.0  # refused below, once it is known how many there are
        confidence = 1 / np.exp(scores - scores.max(1, keepdims=True)).sum(1)
        return named, confidence.astype(np.float16)

    with ThreadPoolExecutor(WORKERS) as pool:
        asked, open_ = list[Future[tuple[np.ndarray, np.ndarray]]](), set[Future[tuple[np.ndarray, np.ndarray]]]()
        for start in range(0, len(images), batch):
            while len(open_) > WORKERS:
                open_ = wait(open_, return_when=FIRST_COMPLETED).not_done
            look()
            if stop and stop():
                raise Cancelled("The measurement was stopped.")
            if asked and time.perf_counter() > late:
                break
            asked.append(pool.submit(answer, images[start : start + batch]))
            open_.add(asked[-1])
        found = [each.result() for each in asked]
    named, confidences = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if missing := int((named == NONE).sum()):
        raise InvalidFile(
            f"The file answers {missing:,} of {len(named):,} test images with NaN or infinite scores, which name no"
            " class; every image needs finite scores."
        )
    return Predictions(images[: len(named)], named.astype(np.uint16), confidences)


def accuracy(found: Predictions, baseline: Predictions, labels: np.ndarray | None) -> Accuracy:
    """Accuracy on `found`'s images; `baseline` must hold the same images first. labels [all test images].

    Without labels it is agreement with the baseline, see `Accuracy`.
    """
    assert np.array_equal(found.images, baseline.images[: len(found)])
    if labels is None:
        return _agreement(found, baseline)
    truth = labels[found.images]
    right = found.classes == truth
    reference = baseline.classes[: len(found)] == truth
    same = found.classes is baseline.classes
    return Accuracy(
        value=float(right.mean()),
        interval=wilson(int(right.sum()), len(right)),
        n=len(right),
        baseline=float(reference.mean()),
        drop=float(reference.mean() - right.mean()),
        p_value=None if same else mcnemar(int((right & ~reference).sum()), int((~right & reference).sum())),
    )


def _agreement(found: Predictions, baseline: Predictions) -> Accuracy:
    alike = found.classes == baseline.classes[: len(found)]
    value, n = float(alike.mean()), len(alike)
    bounds = Interval(1.0, 1.0) if found.classes is baseline.classes else wilson(int(alike.sum()), n)
    return Accuracy(value, bounds, n, baseline=1.0, drop=1.0 - value, reference="fp32")


def join(first: Predictions, rest: Predictions) -> Predictions:
    """Predictions on `first`'s images followed by `rest`'s."""
    return Predictions(
        np.concatenate([first.images, rest.images]),
        np.concatenate([first.classes, rest.classes]),
        np.concatenate([first.confidences, rest.confidences]),
    )


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p-value that images gained and lost balance by chance (McNemar 1947, binomial form)."""
    n, k = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / 2**n)


def normalized_values(data: Dataset) -> np.ndarray:
    """What each of the 256 values of a pixel is normalised to, by channel: [C, 256] float32."""
    values = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, data.input_shape[0], 1, 1)
    return np.ascontiguousarray(data.normalize(values)[:, :, 0, 0].numpy().T)


def _batch(pixels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """pixels uint8 [n, C, H, W] as `Dataset.normalize` has them, looked up."""
    batch = np.empty(pixels.shape, np.float32)
    for channel, values in enumerate(table):
        batch[:, channel] = values[pixels[:, channel]]
    return batch
