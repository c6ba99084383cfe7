"""Cards: what a network's file is, where it comes from, and how good it was measured to be. JSON beside the file."""

import hashlib
import json
import logging
import re
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from compression.data.catalog import DATASETS
from compression.data.normalization import check_statistics
from compression.errors import InvalidFile, InvalidSetting, UnknownName, Unsupported, shown
from compression.host.atomic_files import atomic_write
from compression.host.folders import user_folder
from compression.models.catalog import ARCHITECTURES, NAME, OWN
from compression.records.documents import read_json
from compression.records.preprocess import Preprocess

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights"


def preprocess_of(card: "Card") -> Preprocess:
    """How pictures become the network's inputs: as its card says, else scaled to the size of its images."""
    channels, height, width = card.input_shape
    return card.preprocess or Preprocess(
        height, width, resize="exact", channels="grey" if channels == 1 else "RGB", mean=card.mean, std=card.std
    )


@dataclass(frozen=True)
class Card:
    """One trained model. Accuracies in [0, 1] are of the stored weights, read back and run in float32; None where they
    were not measured.

    Of networks that were added: `origin` as a user writes it, what its images are made by, the names of its classes (()
    where unknown), its licence where the source tells one, and what was `checked`, in sentences. `architecture`
    ("timm:resnet18") and `arguments` are what its library rebuilds it from.
    """

    model: str
    dataset: str
    source: str  # where the training and test images came from
    input_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: dict[str, Any]  # the TrainingConfig's fields
    seed: int
    best_epoch: int  # counted from 0, chosen on validation
    validation_accuracy: float | None
    validation_images: int
    test_accuracy: float | None
    test_images: int
    parameters: int
    size_bytes: int
    sha256: str  # of the weights' file
    data_fingerprint: str
    training_seconds: float
    hardware: str
    versions: dict[str, str]
    notes: str
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    licence: str = ""
    origin: str = ""
    checked: str = ""
    architecture: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def reading(self) -> str:
        """A hash of what a user may correct: how its images are made and what its classes are called; '' for none."""
        told = (self.preprocess.hash if self.preprocess else "", *self.class_names)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16] if any(told) else ""

    @property
    def epochs(self) -> int:
        """Epochs of the whole training; the stored weights are those of `best_epoch`."""
        return self.recipe["epochs"]


def user_weights() -> Path:
    """The folder for what is trained on this machine; it takes the place of weights that come with the program."""
    return user_folder() / "zoo"


def check_names(model: str, dataset: str) -> None:
    """Raises UnknownName for what cannot be a network's or a dataset's name, before it becomes a part of a path."""
    if not NAME.fullmatch(model):
        raise UnknownName("model", model, ARCHITECTURES)
    if dataset not in (*DATASETS, OWN):
        raise UnknownName("dataset", dataset, DATASETS)


def card_path(model: str, dataset: str) -> Path | None:
    """The card of the pair's stored weights, the user's own before those of the program; None for any other name."""
    if not NAME.fullmatch(model) or dataset not in (*DATASETS, OWN):
        return None
    paths = [folder / f"{model}-{dataset}.json" for folder in (user_weights(), WEIGHTS)]
    return next((path for path in paths if path.is_file() and weights_path(path).is_file()), None)


FORMATS = (".pt2", ".onnx", ".safetensors")
"""What networks that were brought are kept as: files of whole networks, or the weights of a library's network."""


def weights_path(card_path: Path) -> Path:
    """The file beside a card: the weights of a network of the zoo, or what is kept of one that was brought."""
    if not card_path.stem.endswith(f"-{OWN}"):
        return card_path.with_suffix(".safetensors")
    kept = [path for path in map(card_path.with_suffix, FORMATS) if path.is_file()]
    return kept[0] if kept else card_path.with_suffix(FORMATS[0])


def card(model: str, dataset: str) -> Card:
    """The card of the pair. Raises UnknownName for either name, and Unsupported where no weights are stored."""
    if model not in ARCHITECTURES and card_path(model, OWN) is None:
        raise UnknownName("model", model, [*ARCHITECTURES, *(card.model for card in brought())])
    path = card_path(model, dataset)
    if path is None:
        known = [card.dataset for card in cards() if card.model == model]
        if dataset not in DATASETS and not dataset.startswith("folder:"):
            raise UnknownName("dataset", dataset, DATASETS)
        raise Unsupported(
            f"There are no stored weights of {model!r} for {shown(dataset)} "
            f"(there are for: {', '.join(known) or 'none'}); train it first, or give a file of weights."
        )
    return read(path)


def cards() -> list[Card]:
    """All cards, in the order of the tables of models and datasets; then those of networks that were brought."""
    paths = [card_path(model, dataset) for model in ARCHITECTURES for dataset in DATASETS]
    return [read(path) for path in paths if path] + brought()


def brought() -> list[Card]:
    """The cards of imported networks, by name; a file there that is no card is left out, and logged."""
    found = []
    for path in sorted(user_weights().glob(f"*-{OWN}.json")):
        try:
            found += [read(path)] if path.is_file() and weights_path(path).is_file() else []
        except InvalidFile as error:
            log.warning("a network is left out of the list: %s", error)
    return found


def dismiss(name: str) -> None:
    """Removes a network that was brought; what was measured of it stays. Raises `UnknownName`."""
    known = [card.model for card in brought()]
    if name not in known:
        raise UnknownName("network of your own", name, known)
    place = user_weights() / f"{name}-{OWN}.json"
    place.unlink(missing_ok=True)
    for suffix in FORMATS:
        place.with_suffix(suffix).unlink(missing_ok=True)


def unfinished(model: str, dataset: str, *, epochs: int | None, seed: int, folder: str = "") -> Path:
    """Where a training from scratch is kept while it is under way; `folder` is that of a teacher's students.

    Raises UnknownName for what cannot be a name.
    """
    check_names(model, dataset)
    return user_weights() / folder / "unfinished" / f"{model}-{dataset}-{epochs or 0}-{seed}.safetensors"


def ships(model: str, dataset: str) -> bool:
    """Whether the pair's weights are those that come with the program."""
    path = card_path(model, dataset)
    return path is not None and path.parent == WEIGHTS


def read(path: Path) -> Card:
    """The card in a file. Raises InvalidFile where it is none."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise InvalidFile(f"{path} is not the card of a model: {error}.") from error


@lru_cache(maxsize=256)
def _read(path: Path, written: int) -> Card:
    try:
        card = _CARD.validate_python(read_json(path.read_text(encoding="utf-8")))
        check_statistics("mean", "The mean", card.mean)
        check_statistics("std", "The standard deviation", card.std)
    except (ValueError, InvalidSetting) as error:
        raise InvalidFile(f"{path} is not the card of a model: {_first(error)}.") from None
    for name, fits in _checks(card).items():
        if not fits:
            raise InvalidFile(f"{path} is not the card of a model: {name} is {shown(getattr(card, name))}.")
    if path.stem != f"{card.model}-{card.dataset}":
        raise InvalidFile(f"{path} is not the card of a model: it is that of {card.model} and {card.dataset}.")
    return card


_CARD = TypeAdapter(Card)
_MOST = 100_000
"""The most classes, and the most pixels on a side, that a card may name."""


def _checks(card: Card) -> dict[str, bool]:
    """For each field that others rely on, whether its value can be one."""
    channels = card.input_shape[0]
    return {
        "model": NAME.fullmatch(card.model) is not None,
        "dataset": card.dataset in (*DATASETS, OWN),
        "input_shape": all(0 < side <= _MOST for side in card.input_shape),
        "classes": 2 <= card.classes <= _MOST,
        "mean": len(card.mean) == channels,
        "std": len(card.std) == channels,
        "validation_accuracy": card.validation_accuracy is None or 0 <= card.validation_accuracy <= 1,
        "test_accuracy": card.test_accuracy is None or 0 <= card.test_accuracy <= 1,
        "class_names": len(card.class_names) in (0, card.classes),
        "preprocess": card.preprocess is None or _fits(card.preprocess, card),
        "test_images": card.test_images >= 0,
        "sha256": re.fullmatch("[0-9a-f]{64}", card.sha256) is not None,
    }


def _fits(preprocess: Preprocess, card: Card) -> bool:
    """Whether pictures made so have the card's shape, mean and deviation."""
    channels = 1 if preprocess.channels == "grey" else 3
    shape = channels, preprocess.height, preprocess.width
    return (shape, preprocess.mean, preprocess.std) == (card.input_shape, card.mean, card.std)


def _first(error: ValueError | InvalidSetting) -> str:
    """What is wrong first, on one line."""
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
    return str(error).removesuffix(".")


def write(path: Path, card: Card) -> None:
    """Writes the card as JSON, by an atomic write. Raises `OSError`."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
