"""What was found out: frozen records that say on what they were measured."""

from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any, Literal

import numpy as np

Z95 = 1.959963984540054

SIGNIFICANT = 0.05
"""P-values up to here tell a difference from noise."""

Reference = Literal["labels", "fp32"]
"""What answers are held against: the labels of the images or, where these have none, the fp32 file's answers."""

Split = Literal["test", "validation"]
"""Which images were answered: those that only report or, of a search's trials, those that it chooses by."""


@dataclass(frozen=True)
class Interval:
    """A 95% interval."""

    low: float
    high: float


def wilson(right: int, n: int) -> Interval:
    """Wilson's 95% score interval of a share (Wilson 1927)."""
    if n == 0:
        return Interval(0.0, 1.0)
    share, z2 = right / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


@dataclass(frozen=True)
class Predictions:
    """What a file answered for each test image, in the order of the test split's indices `images`.

    images [n] int64, classes [n] uint16, confidences [n] float16 (softmax of the top class).
    """

    images: np.ndarray
    classes: np.ndarray
    confidences: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def order(n: int) -> np.ndarray:
    """The fixed order in which `n` test images are answered: any beginning of it is a random sample."""
    return np.random.default_rng(0).permutation(n)


@dataclass(frozen=True)
class Accuracy:
    """Share of test images answered rightly, in [0, 1], with its Wilson interval over `n` images.

    `drop` is the dense baseline's accuracy on the same images minus this one; `p_value` is McNemar's exact test of the
    two on those images (None for the baseline itself).

    Where `reference` is "fp32" the images have no labels, and this is agreement: the share of images that get the class
    that the dense baseline gives them. The baseline agrees with itself, so `baseline` is 1 and there is no `p_value`.
    """

    value: float
    interval: Interval
    n: int
    baseline: float
    drop: float
    p_value: float | None = None
    reference: Reference = "labels"
    split: Split = "test"

    @property
    def significant(self) -> bool:
        """Whether the drop is more than noise. An image that gets another class than the baseline's is no noise."""
        if self.reference == "fp32":
            return self.drop > 0
        return self.p_value is not None and self.p_value <= SIGNIFICANT

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Accuracy":
        """The record that `dataclasses.asdict` turned into `values`."""
        return cls(**{**values, "interval": Interval(**values["interval"])})


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image, measured interleaved with the dense baseline in one process.

    For `batch` images where a file takes so many at once and no fewer.
    `ratio` is the median of candidate over baseline, pair by pair; `drift` is the baseline's own change meanwhile.
    """

    p50_ms: float
    p95_ms: float
    baseline_p50_ms: float
    ratio: float
    ratio_interval: Interval
    pairs: int
    warm_up: int
    batch: int
    threads: int
    drift: float
    load: float


@dataclass(frozen=True)
class LearningPoint:
    """Where a training stands after `step` of `steps`: one point of a learning curve.

    loss is the mean since the point before; accuracy, in [0, 1] on validation images, is there where it was just
    measured, and step 0 is the network before training. seconds_left is estimated from the steps so far.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    accuracy: float | None
    seconds_left: float


@dataclass(frozen=True)
class Machine:
    """Where something was measured. `id` tells machines of the same make apart; it does not tell which they are."""

    cpu: str
    cores: int
    vnni: bool
    system: str
    python: str
    torch: str
    onnxruntime: str
    id: str = ""

    @property
    def runtime(self) -> str:
        """What decides on a file's answers: ONNX Runtime's version, and which kernels the processor lets it use."""
        return f"onnxruntime {self.onnxruntime}, {self.system}{', VNNI' if self.vnni else ''}"


@dataclass(frozen=True)
class LayerReport:
    """One layer of a candidate. `sparsity` in [0, 1]; `sqnr_db` is the weights' signal-to-quantization-noise ratio.

    `product` names what a layer is part of that was factorized, with its ranks: 'tucker 16, 24'.
    `output_error` is that of its answers on calibration images (`measure.outputs`), relative to the dense network's;
    None where the layer has lost outputs.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    bits: int
    sparsity: float
    macs: int
    size_bytes: int
    sqnr_db: float | None
    encoding: str
    product: str = ""
    output_error: float | None = None


OPERATORS = "operators in integers"


@dataclass(frozen=True)
class Reached:
    """What a step was asked for and what it did: shares in [0, 1] of the network's macs, channels or weights removed.

    `requested` is None where the settings do not name a share; `note` is a sentence on how, where there is one. Of the
    measure `OPERATORS`, `reached` is the share that computes in integers, and `names` lists them if they are not all.
    """

    step: str
    measure: str
    requested: float | None
    reached: float
    note: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))  # a list where it was read from JSON


@dataclass(frozen=True)
class LayerBytes:
    """What one layer's tensors take in a file. `entropy_bits` is that of its codes, per weight; None for floats."""

    name: str
    weights: int
    payload: int
    positions: int
    codebooks: int
    scales: int
    biases: int
    entropy_bits: float | None

    @property
    def size_bytes(self) -> int:
        """The sum of the parts."""
        return self.payload + self.positions + self.codebooks + self.scales + self.biases


@dataclass(frozen=True)
class Ledger:
    """Where the bytes of a file went; the seven parts sum to its size.

    `graph` is the nodes, names and shapes, `functions` are the decoders and all else that is written once. A tensor
    that several layers share stands with the first.
    """

    size_bytes: int
    payload: int
    positions: int
    codebooks: int
    scales: int
    biases: int
    graph: int
    functions: int
    layers: tuple[LayerBytes, ...]

    @property
    def entropy_bytes(self) -> float | None:
        """What all codes would take at their layers' entropy; None where a layer's weights are floats."""
        bits = [layer.entropy_bits for layer in self.layers]
        if not bits or None in bits:
            return None
        return sum(b * layer.weights for b, layer in zip(bits, self.layers, strict=True) if b) / 8

    @property
    def entropy_bits(self) -> float | None:
        """The same per weight, in bits."""
        found = self.entropy_bytes
        return None if found is None else 8 * found / sum(layer.weights for layer in self.layers)


@dataclass(frozen=True)
class Measurement:
    """Everything measured on one ONNX file. `provenance` is 'measured' unless a label says otherwise."""

    recipe_hash: str
    file_hash: str
    accuracy: Accuracy
    size_bytes: int
    baseline_size_bytes: int
    latency: Latency | None
    macs: int | None
    parameters: int | None
    n_test: int
    seconds: float
    machine: Machine
    predictions: Predictions = field(repr=False, compare=False)  # arrays have no one answer to ==
    provenance: str = "measured"
    reached: tuple[Reached, ...] = ()

    @property
    def size_ratio(self) -> float:
        """How many times smaller than the smallest plain fp32 file."""
        return self.baseline_size_bytes / self.size_bytes

    def to_plain(self) -> dict[str, Any]:
        """Everything but the answer for each image, as plain data; `from_plain` reads it back."""
        return {name: value for name, value in asdict(self).items() if name != "predictions"}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Measurement":
        """A measurement without predictions, from what `to_plain` gave."""
        took, none = values["latency"], np.empty(0)
        return cls(**{
            **values,
            "accuracy": Accuracy.from_plain(values["accuracy"]),
            "latency": took and Latency(**{**took, "ratio_interval": Interval(**took["ratio_interval"])}),
            "machine": Machine(**values["machine"]),
            "reached": tuple(Reached(**found) for found in values.get("reached") or ()),
            "predictions": Predictions(none, none, none),
        })  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """Flat, JSON-ready values under the names that the command line prints."""
        latency = self.latency
        return {
            "recipe_hash": self.recipe_hash,
            "file_hash": self.file_hash,
            "provenance": self.provenance,
            **self._summary_of_answers(),
            "size_bytes": self.size_bytes,
            "baseline_size_bytes": self.baseline_size_bytes,
            "size_ratio": self.size_ratio,
            "latency_ms": latency and latency.p50_ms,
            "latency_p95_ms": latency and latency.p95_ms,
            "baseline_latency_ms": latency and latency.baseline_p50_ms,
            "latency_ratio": latency and latency.ratio,
            "latency_ratio_low": latency and latency.ratio_interval.low,
            "latency_ratio_high": latency and latency.ratio_interval.high,
            "latency_images": latency and latency.batch,
            "threads": latency and latency.threads,
            "macs": self.macs,
            "parameters": self.parameters,
            "reached": [{**asdict(found), "names": list(found.names)} for found in self.reached],
            "n_test": self.n_test,
            "seconds": self.seconds,
            "machine": asdict(self.machine),
        }

    def _summary_of_answers(self) -> dict[str, Any]:
        """Accuracy or, of images without labels, agreement: the names differ, so that none is taken for the other."""
        found = self.accuracy
        bounds = found.interval.low, found.interval.high
        if found.reference == "fp32":
            return dict(zip(("agreement", "agreement_low", "agreement_high"), (found.value, *bounds), strict=True))
        return {
            "accuracy": found.value, "accuracy_low": bounds[0], "accuracy_high": bounds[1],
            "baseline_accuracy": found.baseline, "accuracy_drop": found.drop, "p_value": found.p_value,
        }  # fmt: skip
