"""What pages, scheduler and workers send each other: requests and their outcomes, as frozen data."""

from dataclasses import dataclass
from typing import Any

from compression.records.measurement import Accuracy, LayerReport, Ledger, Measurement
from compression.store.records import Role, Subject


@dataclass(frozen=True)
class Request:
    """What is wanted, as plain data: `recipe` is canonical JSON, `weights` names the dataset of the stored weights."""

    model: str
    weights: str
    dataset: str
    recipe: str
    threads: int = 1


@dataclass(frozen=True)
class Baseline:
    """The plain fp32 file: its accuracy over the full test split, its bytes, and what the network counts.

    `notes` say what there is to know of the images.
    """

    accuracy: Accuracy
    size_bytes: int
    macs: int | None = None
    parameters: int | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Baseline":
        """The record that `dataclasses.asdict` turned into `values`."""
        notes = tuple(values.get("notes") or ())
        return cls(**{**values, "accuracy": Accuracy.from_plain(values["accuracy"]), "notes": notes})


@dataclass(frozen=True)
class Outcome:
    """The compressed file, its measurement over the full test split, what it is compared with and made of.

    `recipe` (JSON) was applied to `subject` by the `maker` of that name. `edition` is what the names stood for then.
    """

    onnx: bytes
    measurement: Measurement
    baseline: Baseline
    layers: tuple[LayerReport, ...]
    ledger: Ledger
    subject: Subject
    recipe: str
    maker: str
    role: Role = "candidate"
    edition: tuple[str, str] | None = None


@dataclass(frozen=True)
class Refusal:
    """Why there is no outcome, in one sentence; empty where the request was overtaken."""

    sentence: str


@dataclass(frozen=True)
class Finished:
    """A job whose results are no file, and lie where they belong; what there is to say of it."""

    sentence: str


@dataclass(frozen=True)
class Training:
    """A network of the zoo to be trained from its recipe; `epochs` 0 is the recipe's own number."""

    model: str
    dataset: str
    epochs: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Sweeping:
    """The sensitivity of every layer of a network, to be kept on disk; layers that are known take no time."""

    model: str
    weights: str
    dataset: str


@dataclass(frozen=True)
class Searching:
    """A search for the best recipes of a network; `settings` is `searching.settings.SearchSettings` as JSON."""

    model: str
    weights: str
    dataset: str
    settings: str


Work = Request | Training | Sweeping | Searching
