"""From a file to its measurement: accuracy, bytes and latency in ONNX Runtime."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compression.data import Dataset, for_outputs
from compression.errors import InvalidData
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, join, order, predict
from compression.measure.admission import admit
from compression.measure.intake import fixed_batch
from compression.measure.latency import latency, precise
from compression.pipeline.candidate import Candidate, Prepared, Progress, Stop, _reporter
from compression.records.measurement import Measurement

FIRST = 2000


def stream(
    candidate: Candidate,
    prepared: Prepared,
    *,
    first: int = FIRST,
    threads: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Iterator[Measurement]:
    """Measures the file: once on the `first` test images with bytes and latency, then on the full test split."""
    say = _reporter(progress, stop)
    begin = time.perf_counter()
    images = prepared.baseline_predictions.images
    runner = session(candidate.onnx)
    say(f"Answering {min(first, len(images)):,} test images", 0.0)
    found = predict(runner, prepared.data, images[:first], stop=stop)
    say("Timing one image", 0.2)
    timed, base = runner, prepared.baseline_session
    if threads != 1:
        timed, base = session(candidate.onnx, threads=threads), session(prepared.baseline.onnx, threads=threads)
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    took = latency(timed, base, image, brief=len(images) > first)
    labels = prepared.data.truth

    def measurement() -> Measurement:
        seconds = candidate.seconds + time.perf_counter() - begin
        return Measurement(
            recipe_hash=candidate.recipe.hash,
            file_hash=candidate.file_hash,
            accuracy=accuracy(found, prepared.baseline_predictions, labels),
            size_bytes=len(candidate.onnx),
            baseline_size_bytes=len(prepared.baseline.onnx),
            latency=took,
            macs=candidate.macs,
            parameters=candidate.parameters,
            n_test=len(found),
            seconds=seconds,
            machine=this_machine(),
            predictions=found,
            reached=candidate.reached,
        )

    yield measurement()
    if len(images) > first:
        say(f"Answering all {len(images):,} test images", 0.4)
        found = join(found, predict(runner, prepared.data, images[first:], stop=stop))
        took = took if precise(took) else latency(timed, base, image)
        yield measurement()


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
