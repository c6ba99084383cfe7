"""What was measured of a `.tflite` file, as data: LiteRT's answers and times, and the memory that TFLM takes."""

from dataclasses import dataclass

from compression.records.measurement import Accuracy, Machine


@dataclass(frozen=True)
class Times:
    """Milliseconds of one run of LiteRT, which answers `batch` images, on one thread of this machine."""

    p50_ms: float
    p95_ms: float
    batch: int = 1


@dataclass(frozen=True)
class Arena:
    """Bytes that TFLM takes of its arena for one image; None where it does not run the file, and why.

    Counted in a 64-bit process: what it keeps beside the activations is smaller on a board of 32 bits. `answered` test
    images were run too; `equal` is the share of them that got LiteRT's class, None without any.
    """

    size_bytes: int | None
    reason: str = ""
    answered: int = 0
    equal: float | None = None


@dataclass(frozen=True)
class TfliteMeasurement:
    """Of one `.tflite` file: bytes, LiteRT's accuracy on all test images and its milliseconds here, TFLM's arena.

    `equal` is the share of images that get the class that the file measured beside it gives them: the baseline, or the
    ONNX file of the same network; None where there is none. `kernels` are TFLite's names of its operators, with how
    many there are of each.
    """

    size_bytes: int
    n_test: int
    accuracy: Accuracy
    equal: float | None
    times: Times
    arena: Arena
    kernels: tuple[tuple[str, int], ...]
    machine: Machine


@dataclass(frozen=True)
class DeviceFile:
    """A `.tflite` file with its measurement; or `reason`, why there is none."""

    content: bytes = b""
    measured: TfliteMeasurement | None = None
    reason: str = ""
