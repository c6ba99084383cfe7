"""Files and what was measured on them, as a worker hands them on and the store keeps them."""

from dataclasses import replace
from typing import TYPE_CHECKING

from compression.jobs.messages import Baseline, Outcome, Request
from compression.jobs.requested import weights
from compression.models.provenance import producer_id
from compression.records.measurement import Measurement, Predictions
from compression.store.records import Subject

if TYPE_CHECKING:
    from compression.pipeline.candidate import Candidate, Prepared


def baseline(prepared: "Prepared") -> Baseline:
    """How the network's fp32 file does on the test images, and what it takes."""
    from compression.measure.accuracy import accuracy

    predictions, labels = prepared.answers.known, prepared.data.truth
    file = prepared.baseline
    found = accuracy(predictions, predictions, labels)
    return Baseline(found, len(file.onnx), file.macs, file.parameters, prepared.data.notes)


def baseline_outcome(request: Request, prepared: "Prepared", subject: Subject | None = None) -> Outcome:
    """The fp32 file and its measurement, timed against itself. `subject` names weights other than the request's."""
    from compression.host.machine import this_machine
    from compression.host.onnx_runtime import session
    from compression.measure.latency import latency

    file, found = prepared.baseline, prepared.baseline_predictions
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    runner = session(file.onnx, threads=request.threads)
    measurement = Measurement(
        recipe_hash=file.recipe.hash, file_hash=file.file_hash, accuracy=baseline(prepared).accuracy,
        size_bytes=len(file.onnx), baseline_size_bytes=len(file.onnx), latency=latency(runner, runner, image),
        macs=file.macs, parameters=file.parameters, n_test=len(found), seconds=0.0,
        machine=this_machine(), predictions=found,
    )  # fmt: skip
    return replace(outcome(request, prepared, file, measurement, subject), role="baseline")


def outcome(
    request: Request, prepared: "Prepared", file: "Candidate", measurement: Measurement, subject: Subject | None = None
) -> Outcome:
    """A measured file as it is kept. `subject` names weights other than the request's."""
    named = request.model, request.weights, request.dataset
    about = subject or Subject(*named, weights(request), prepared.data.fingerprint)
    return Outcome(
        file.onnx, measurement, baseline(prepared), file.layers, file.ledger, about, file.recipe.to_json(),
        producer_id(file.recipe, prepared.data.name),
    )  # fmt: skip


def without_predictions(measurement: Measurement) -> Measurement:
    """The same numbers without the prediction for each image; charts need none."""
    kept = measurement.predictions
    return replace(measurement, predictions=Predictions(kept.images[:0], kept.classes[:0], kept.confidences[:0]))
