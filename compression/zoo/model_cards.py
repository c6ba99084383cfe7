"""Cards: what a file of weights is, how it was trained, and how good it was measured to be. JSON beside the weights."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from compression.data.catalog import DATASETS
from compression.data.normalization import check_statistics
from compression.errors import InvalidFile, InvalidSetting, UnknownName, Unsupported
from compression.home import home
from compression.whole import whole
from compression.zoo.catalog import ARCHITECTURES, OWN

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Card:
    """One trained model. Accuracies in [0, 1] are of the stored fp16 weights, read back and run in float32."""

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
    validation_accuracy: float
    validation_images: int
    test_accuracy: float
    test_images: int
    parameters: int
    size_bytes: int
    sha256: str  # of the weights' file
    data_fingerprint: str
    training_seconds: float
    hardware: str
    versions: dict[str, str]
    notes: str

    @property
    def epochs(self) -> int:
        """Epochs of the whole training; the stored weights are those of `best_epoch`."""
        return self.recipe["epochs"]


def user_weights() -> Path:
    """The folder for what is trained on this machine; it takes the place of weights that come with the program."""
    return home() / "zoo"


def card_path(model: str, dataset: str) -> Path | None:
    """The card of the pair's stored weights: the user's own before those that come with the program."""
    paths = [folder / f"{model}-{dataset}.json" for folder in (user_weights(), WEIGHTS)]
    return next((path for path in paths if path.is_file() and weights_path(path).is_file()), None)


def weights_path(card_path: Path) -> Path:
    """The file beside a card: the weights of a network of the zoo, or the whole of one that was brought."""
    return card_path.with_suffix(".pt2" if card_path.stem.endswith(f"-{OWN}") else ".safetensors")


def card(model: str, dataset: str) -> Card:
    """The card of the pair. Raises UnknownName for either name, and Unsupported where no weights are stored."""
    if model not in ARCHITECTURES and card_path(model, OWN) is None:
        raise UnknownName("model", model, [*ARCHITECTURES, *(card.model for card in brought())])
    path = card_path(model, dataset) if dataset in (*DATASETS, OWN) else None
    if path is None:
        known = [card.dataset for card in cards() if card.model == model]
        if dataset not in DATASETS and not dataset.startswith("folder:"):
            raise UnknownName("dataset", dataset, DATASETS)
        raise Unsupported(
            f"There are no stored weights of {model!r} for {dataset!r} (there are for: {', '.join(known) or 'none'});"
            " train it first, or give a file of weights."
        )
    return read(path)


def cards() -> list[Card]:
    """All cards, in the order of the tables of models and datasets; then those of networks that were brought."""
    paths = [card_path(model, dataset) for model in ARCHITECTURES for dataset in DATASETS]
    return [read(path) for path in paths if path] + brought()


def brought() -> list[Card]:
    """The cards of networks that somebody brought, by name."""
    paths = sorted(user_weights().glob(f"*-{OWN}.json"))
    return [read(path) for path in paths if weights_path(path).is_file()]


def dismiss(name: str) -> None:
    """Removes a network that was brought; what was measured of it stays. Raises `UnknownName`."""
    known = [card.model for card in brought()]
    if name not in known:
        raise UnknownName("network of your own", name, known)
    place = user_weights() / f"{name}-{OWN}.json"
    place.unlink(missing_ok=True)
    weights_path(place).unlink(missing_ok=True)


def unfinished(model: str, dataset: str, *, epochs: int | None, seed: int, folder: str = "") -> Path:
    """Where a training from scratch is kept while it is under way; `folder` is that of a teacher's students."""
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
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields |= {name: tuple(fields[name]) for name in ("input_shape", "mean", "std")}
        for kind, title in (("mean", "The mean"), ("std", "The standard deviation")):
            check_statistics(kind, title, fields[kind])
        return Card(**fields)
    except (ValueError, KeyError, TypeError, InvalidSetting) as error:
        raise InvalidFile(f"{path} is not the card of a model: {error}.") from error


def write(path: Path, card: Card) -> None:
    """Writes the card to a file, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
