"""A compressed network as a `.tflite` file, and what LiteRT and TensorFlow Lite Micro make of that very file."""

import tempfile
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from compression import confined
from compression.confined.limits import Limits
from compression.data import Dataset
from compression.errors import InvalidFile
from compression.export.tflite import export
from compression.host.interruption import look
from compression.host.onnx_runtime import session
from compression.measure.accuracy import predict
from compression.network.decisions import classes
from compression.pipeline.candidate import Candidate, Prepared

COUNTS_ARENAS = find_spec("tflite_micro") is not None
"""Packages of TensorFlow Lite Micro exist for Linux on x86-64."""

BATCH = 64
LIMITS = Limits(cpu_s=60, wall_s=120, memory_bytes=1 << 30)


@dataclass(frozen=True)
class TfliteMeasurement:
    """Of one file: its bytes, the share of test images that LiteRT answers rightly (None without labels), the share
    that it answers as the ONNX file of the same network, and the bytes that TFLM takes of its arena, None where it
    refuses the file or is not installed.
    """

    size_bytes: int
    n_test: int
    accuracy: float | None
    equal: float
    arena_bytes: int | None


def measured(candidate: Candidate, prepared: Prepared) -> tuple[bytes, TfliteMeasurement]:
    """The file of a candidate, with its measurement on all test images. Raises `Unsupported` as `export` does."""
    data, images = prepared.data, prepared.calibration.images
    content = export(candidate.books.graph, data.input_shape, images)
    n = len(data.test)
    found = answers(content, data)
    expected = predict(session(candidate.onnx), data, np.arange(n)).classes
    right = float((found == data.test.labels.numpy()).mean()) if data.labelled else None
    return content, TfliteMeasurement(len(content), n, right, float((found == expected).mean()), arena(content))


def answers(content: bytes, data: Dataset) -> np.ndarray:
    """The class [n] of each test image, by LiteRT. `content` is a file of our own: its interpreter is native code."""
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(model_content=content, num_threads=1)
    takes, gives = found.get_input_details()[0], found.get_output_details()[0]
    scale, zero = takes["quantization"]
    parts = []
    for start in range(0, len(data.test), BATCH):
        look()
        pixels = data.normalize(data.test.images[start : start + BATCH]).numpy().transpose(0, 2, 3, 1)
        codes = np.clip(np.round(pixels / np.float32(scale)) + zero, -128, 127).astype(np.int8)
        found.resize_tensor_input(takes["index"], codes.shape)
        found.allocate_tensors()
        found.set_tensor(takes["index"], codes)
        found.invoke()
        parts.append(classes(found.get_tensor(gives["index"]).astype(np.float32)))
    return np.concatenate(parts)


def arena(content: bytes) -> int | None:
    """Bytes that TFLM takes of its arena; None where it refuses the file or is not installed."""
    if not COUNTS_ARENAS:
        return None
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        refusal = "TensorFlow Lite Micro did not answer about the file."
        told, _ = confined.read("arena", file, LIMITS, {}, lambda ending: refusal)
    found = told.get("arena_bytes")
    if found is not None and not isinstance(found, int):
        raise InvalidFile(refusal)
    return found
