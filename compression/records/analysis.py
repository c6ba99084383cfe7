"""What is seen of a network or a file that is looked at more closely. Nothing here stands in the store."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OverTheWire:
    """Bytes of a file after lossless compression: gzip at level 9, Zstandard at level 19."""

    gzip: int
    zstd: int


@dataclass(frozen=True)
class OperatorTime:
    """All kernels of one operator: how many run for one image, their milliseconds, their share of all kernels' time."""

    operator: str
    calls: int
    ms: float
    share: float


@dataclass(frozen=True)
class Profile:
    """ONNX Runtime's own account of one image, means over `runs`; the longest operator first.

    `run_ms` is the median of the whole call without the profiler, `kernels_ms` what its kernels take with it.
    `small_kernels` is the share of the kernels' time spent in kernels of less than 10 µs.
    """

    operators: tuple[OperatorTime, ...]
    run_ms: float
    kernels_ms: float
    small_kernels: float
    runs: int
    threads: int

    @property
    def outside_kernels(self) -> float:
        """Share of the call in which no kernel runs, in [0, 1]."""
        return max(0.0, 1 - self.kernels_ms / self.run_ms) if self.run_ms else 0.0


LEVELS: dict[str, tuple[float, ...]] = {
    "sparsity": (0.5, 0.7, 0.8, 0.9, 0.95),
    "bits": (8, 4, 3, 2),
    "rank": (0.75, 0.5, 0.25),
}
"""At which levels the sensitivity of a layer is taken: share of zeros, bits of a weight, share of the full rank."""


@dataclass(frozen=True)
class SensitivityPoint:
    """Accuracy in [0, 1] on `n` validation images with one layer at this level of `LEVELS`, simulated in torch."""

    technique: str
    level: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer's curves, and the dense network's accuracy on the same images."""

    name: str
    dense: float
    points: tuple[SensitivityPoint, ...]

    def curve(self, technique: str) -> tuple[SensitivityPoint, ...]:
        """The points of one technique, in the order of the levels."""
        return tuple(point for point in self.points if point.technique == technique)


Picture = tuple[tuple[float, ...], ...]
"""Rows of values: a kernel or a feature map, [height][width]."""


@dataclass(frozen=True)
class Histogram:
    """How many weights lie in each of equally wide bins from `low` to `high`; `zeros` are exactly zero."""

    low: float
    high: float
    counts: tuple[int, ...]
    zeros: int


@dataclass(frozen=True)
class LayerView:
    """One layer before and after compression; what tells of it after is None where it is gone.

    `grid` holds the values that the first channel's weights take. `weight_error` and `output_error` are relative
    (Frobenius) norms, the second of the centred answers to calibration images, each network on its own inputs.
    """

    name: str
    shape: tuple[int, ...]
    shape_after: tuple[int, ...] | None
    before: Histogram
    after: Histogram | None
    grid: tuple[float, ...]
    singular: tuple[float, ...]
    singular_after: tuple[float, ...] | None
    kernels: tuple[Picture, ...]
    kernels_after: tuple[Picture, ...] | None
    weight_error: float | None
    output_error: float | None


@dataclass(frozen=True)
class Operator:
    """An operator of a network: a layer's name, or the operator's own, and the path of the block that it lies in.

    `text` says what it is: the shape of a layer's `weights` (their number), or what is computed.
    """

    name: str
    text: str
    block: str = ""
    weights: int = 0


@dataclass(frozen=True)
class Structure:
    """A network as a graph: its operators in order, the layers' names, and who is read by whom, by place in the order.

    An operator is read by later ones only.
    """

    operators: tuple[Operator, ...]
    layers: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class OperatorTimes:
    """Milliseconds of each operator for one image by its name in `Structure`, and of conversions between them."""

    ms: dict[str, float]
    conversions_ms: float


@dataclass(frozen=True)
class FeatureMaps:
    """A test image [height][width][channel] in 0…255, what both networks answer, and a layer's first channels."""

    image: list[list[list[int]]]
    label: str
    answers: tuple[str, ...]
    confidences: tuple[float, ...]
    before: tuple[Picture, ...]
    after: tuple[Picture, ...] | None


@dataclass(frozen=True)
class Growth:
    """What a process grew by at `batch` images while a session ran, and the live bytes that explain it.

    `growth_bytes` is the resident set's high-water mark after the run minus the resident set before (the images and
    the weights were there already); `expected_bytes` is `Activations.resident_bytes` without the images.
    """

    batch: int
    growth_bytes: int
    expected_bytes: int

    @property
    def ratio(self) -> float:
        """Grown by over expected; integer kernels keep buffers of their own, so theirs is above 1."""
        return self.growth_bytes / self.expected_bytes


@dataclass(frozen=True)
class Finding:
    """One reason why a file is not faster: a sentence, the numbers that show it, and what to do instead."""

    kind: str
    reason: str
    evidence: dict[str, Any]
    advice: str
