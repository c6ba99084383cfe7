"""From a file to its measurement: accuracy, bytes and latency in ONNX Runtime."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from compression.data import Dataset, for_outputs
from compression.errors import InvalidData
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, join, order, predict
from compression.measure.admission import admit
from compression.measure.intake import fixed_batch
from compression.measure.latency import is_slow, latency, precise
from compression.pipeline.candidate import FIRST, Candidate, Prepared, Progress, Reporter, Stop
from compression.records.measurement import Interval, Latency, Measurement, Predictions

FIRST_S = 1.5
"""Seconds in which the test images of a first point are answered, `FIRST` at most."""

NARROW = 0.01
"""Half the width of the accuracy's interval at which what is still to come is told to be in the background."""


def stream(
    candidate: Candidate,
    prepared: Prepared,
    *,
    first: int = FIRST,
    threads: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
    aside: Callable[[], None] = lambda: None,
) -> Iterator[Measurement]:
    """Measures the file: on a first part of the test images with bytes and latency, on twice as long a part, …, on all.

    The first part is `first` images, or those that are answered in `FIRST_S` seconds. A slow file is timed briefly for
    it, and again for the last part. `aside` is called once, after the first part: no caller waits for the rest.
    """
    say = Reporter(progress, stop)
    begin = time.perf_counter()
    images = prepared.answers.images
    runner = session(candidate.onnx)
    say(f"Measuring accuracy on {min(first, len(images)):,} test images", 0.0)
    answering = time.perf_counter()
    found = predict(runner, prepared.data, images[:first], seconds=FIRST_S, stop=stop)
    pace = (time.perf_counter() - answering) / len(found)
    say("Timing one image", 0.2)
    timed, base = runner, prepared.baseline_on(threads)
    if threads != 1:
        timed = session(candidate.onnx, threads=threads)
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    brief = len(images) > len(found) or is_slow(base, image)
    took = latency(timed, base, image, brief=brief)
    now = _measured(candidate, prepared, found, took, begin, stop)
    yield now
    if not brief:
        return
    aside()
    if len(found) == len(images) and not precise(took):
        say("Timing one image again, for a narrower interval", 0.4)
        yield _measured(candidate, prepared, found, latency(timed, base, image), begin, stop)
    part = 2 * FIRST_S
    while len(found) < len(images):
        say(_left(len(images), pace * (len(images) - len(found)), now.accuracy.interval), 0.4)
        before, answering = len(found), time.perf_counter()
        found = join(found, predict(runner, prepared.data, images[before:], seconds=part, stop=stop))
        if len(found) == len(images):
            took = took if precise(took) else latency(timed, base, image)
        part, now = 2 * part, _measured(candidate, prepared, found, took, begin, stop)
        pace = (time.perf_counter() - answering) / (len(found) - before)
        yield now


def _measured(
    candidate: Candidate, prepared: Prepared, found: Predictions, took: Latency, begin: float, stop: Stop | None
) -> Measurement:
    """What is known of the file by its answers to the first test images; begin: `time.perf_counter()` at the start."""
    reference = prepared.answers.first(len(found), stop)
    return Measurement(
        recipe_hash=candidate.recipe.hash,
        file_hash=candidate.file_hash,
        accuracy=accuracy(found, reference, prepared.data.truth),
        size_bytes=len(candidate.onnx),
        baseline_size_bytes=len(prepared.baseline.onnx),
        latency=took,
        macs=candidate.macs,
        parameters=candidate.parameters,
        n_test=len(found),
        seconds=candidate.seconds + time.perf_counter() - begin,
        machine=this_machine(),
        predictions=found,
        reached=candidate.reached,
    )


def _left(images: int, seconds: float, interval: Interval) -> str:
    """What is still to be done, and for how long."""
    background = ", in the background" if interval.high - interval.low <= 2 * NARROW else ""
    time_left = f", about {seconds:.0f} s left" if seconds >= 1 else ""
    return f"Measuring accuracy on all {images:,} test images{background}{time_left}"


def measure(
    candidate: Candidate,
    prepared: Prepared,
    *,
    threads: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Measurement:
    """Measures the file on the full test split."""
    *_, full = stream(candidate, prepared, threads=threads, progress=progress, stop=stop)
    return full


def measure_file(
    onnx: bytes | str | Path,
    data: Dataset,
    *,
    baseline: bytes | str | Path | None = None,
    threads: int = 1,
    stop: Stop | None = None,
) -> Measurement:
    """Measures any classifier's ONNX file that takes `data`'s images, against `baseline` or itself.

    They get as many channels as the file takes, 1 or 3. A file with weights in other files is given by its path, and
    its size is that of all of them. One that takes n images at once is measured n at a time, and so is its latency.
    Classes are matched to its outputs, see `data.for_outputs`; images without labels need a `baseline`, whose answers
    take their place. Raises `InvalidFile` where the file does not load, its input or output does not fit the data, or
    its scores of an image name no class; see `measure.admission`. Raises `InvalidData` where labels and a baseline are
    missing, or no class is one of the file's.
    """
    begin = time.perf_counter()
    if not data.labelled and baseline is None:
        raise InvalidData(
            f"{data.title} has no labels, so a file can only be compared with another one; name its fp32 file as the"
            " baseline."
        )
    ours = admit(onnx, data)
    data = for_outputs(data.with_channels(ours.channels), ours.classes)
    theirs = ours if baseline is None else admit(baseline, data)
    runners = [session(file.content, threads=threads) for file in (ours, theirs)]
    images = order(len(data.test))
    found = predict(session(ours.content), data, images, batch=ours.batch, stop=stop)
    expected = found
    if baseline is not None:
        expected = predict(session(theirs.content), data, images, batch=theirs.batch, stop=stop)
    together = max(fixed_batch(runner) or 1 for runner in runners)
    timed = data.normalize(data.test.images[np.arange(together) % len(data.test)]).numpy()
    return Measurement(
        recipe_hash="",
        file_hash=ours.file_hash,
        accuracy=accuracy(found, expected, data.truth),
        size_bytes=ours.size_bytes,
        baseline_size_bytes=theirs.size_bytes,
        latency=latency(runners[0], runners[1], timed),
        macs=None,
        parameters=None,
        n_test=len(found),
        seconds=time.perf_counter() - begin,
        machine=this_machine(),
        predictions=found,
    )
