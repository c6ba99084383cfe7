"""What a search has found out: its trials, and the best of them. Everything here was seen on validation images."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

Stage = Literal["simulated", "some images", "all images"]
"""How far a trial came: simulated on calibration images, its file on some validation images, on all of them."""

TrialState = Literal["complete", "cut", "failed", "working"]


Share = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=-1, le=1)]
Size = Annotated[int, Field(ge=1, lt=1 << 63)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
"""What another program has written is held to these when it is read."""


@dataclass(frozen=True)
class Found:
    """A file's figures on `images` validation images. Shares in [0, 1]; None where not measured.

    `drop` is the accuracy lost against the fp32 file, `agreement` the share of images with its class, `worst_class` the
    recall of the class that is recognised least, `latency_ratio` the share of the fp32 file's time, `memory_bytes` the
    most that is live between layers for one image, `divergence` that of the simulated answers in nats.
    """

    drop: Loss
    agreement: Share
    worst_class: Share
    size_bytes: Size
    macs: Count
    divergence: float
    images: Count
    latency_ratio: float | None = None
    latency_ms: float | None = None
    memory_bytes: Count | None = None
    accuracy: Share | None = None


@dataclass(frozen=True)
class Trial:
    """One recipe (JSON) that was tried. `ended` is in seconds of the search; `run` is its id in the store.

    `size_bytes` and `divergence` are known of a trial that was cut too. `origin` says who proposed it.
    `why` says in a sentence why it was cut or failed; `test_accuracy` and `test_drop` are there for the final front.
    """

    number: int
    state: TrialState
    stage: Stage
    recipe: str
    params: dict[str, Any]
    found: Found | None = None
    ended: float = 0.0
    seconds: float = 0.0
    run: str = ""
    why: str = ""
    origin: str = ""
    test_accuracy: Share | None = None
    test_drop: Loss | None = None
    machine: str = ""
    size_bytes: int | None = None
    divergence: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Trial":
        """The inverse, without fields that this version does not know. Raises `ValueError` for what is no trial."""
        return _TRIAL.validate_python(values)


_TRIAL = TypeAdapter(Trial)
