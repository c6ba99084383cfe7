"""torchvision's datasets of files: which pictures they have, with which labels. Pixels are decoded as any folder's.

A copy is looked for in the user's folder of datasets, where torchvision would put it; else it is downloaded there, and
stands under its name only when it is complete.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from compression.data.catalog import DATASETS
from compression.data.layouts import Listing, Part
from compression.data.library_downloads import Progress, Stop, heard
from compression.data.sources import unreachable
from compression.errors import DataUnavailable, InvalidData
from compression.host.folders import user_folder
from compression.records.preprocess import Preprocess

NAMES = ("eurosat", "gtsrb", "flowers102", "oxford-pets", "food101", "imagenette")

FOLDERS = {
    "eurosat": "eurosat", "gtsrb": "gtsrb", "flowers102": "flowers-102", "oxford-pets": "oxford-iiit-pet",
    "food101": "food-101", "imagenette": "imagenette2",
}  # fmt: skip
"""What torchvision calls their folders."""

_DAMAGED = (OSError, ValueError, LookupError, InvalidData)
"""What reading a list of pictures that is not whole raises."""


def usual(name: str) -> Preprocess:
    """The record for one of them where none is asked for: to the size of its row in the catalog."""
    spec = DATASETS[name]
    _, height, width = spec.input_shape
    if name in ("eurosat", "gtsrb"):  # squares, and signs that fill their pictures
        return Preprocess(height, width, "exact", mean=spec.mean, std=spec.std)
    return Preprocess(height, width, resize_to=round(height / 0.875), mean=spec.mean, std=spec.std)


def obtain(name: str, progress: Progress, stop: Stop) -> tuple[Listing, str]:
    """The pictures of one of them, and a sentence of where they came from. Raises DataUnavailable and Cancelled."""
    kept, title = user_folder() / "datasets", DATASETS[name].title
    try:
        return _listing(name, kept, download=False), f"{title} from the copy in {kept}."
    except RuntimeError:  # torchvision's answer to "not there"
        pass
    except _DAMAGED as error:
        reason = str(error).strip().rstrip(".").partition("\n")[0]
        raise DataUnavailable(
            f"The copy of {title} in {kept / FOLDERS[name]} is not whole ({reason}); remove it to download it again."
        ) from None
    try:
        with _complete(name, kept) as place, heard(title, progress, stop):
            _listing(name, place, download=True)
        return _listing(name, kept, download=False), f"{title}, downloaded by torchvision into {kept}."
    except (RuntimeError, *_DAMAGED) as error:  # no network, a server's refusal, or a file that fails its checksum
        raise DataUnavailable(unreachable(name, kept)) from error


@contextmanager
def _complete(name: str, kept: Path) -> Iterator[Path]:
    """A place for a download, whose folder is moved to where it is looked for when the block ends."""
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=kept) as place:
        yield Path(place)
        folder = Path(place) / FOLDERS[name]
        for archive in (a for ending in ("*.tgz", "*.tar.gz", "*.zip") for a in folder.glob(ending)):
            archive.unlink()
        with suppress(FileExistsError):
            shutil.move(folder, kept / FOLDERS[name])


def _listing(name: str, root: Path, *, download: bool) -> Listing:
    classes, parts = _READERS[name](str(root), download)
    found = {
        part: Part(tuple(os.fspath(path) for path, _ in pairs), tuple(int(label) for _, label in pairs))
        for part, pairs in parts.items()
    }
    labels = {label for part in found.values() for label in part.labels}
    if not labels or not 0 <= min(labels) <= max(labels) < len(classes):
        raise InvalidData(f"its labels do not fit its {len(classes)} classes")
    return Listing(root / FOLDERS[name], tuple(classes), found)


Read = tuple[Sequence[str], Mapping[str, Sequence[tuple[Any, Any]]]]
"""Class names, and (path, label) of each part's pictures."""


def _eurosat(root: str, download: bool) -> Read:
    from torchvision.datasets import EuroSAT

    found = EuroSAT(root, download=download)
    return found.classes, {"train": found.samples}


def _gtsrb(root: str, download: bool) -> Read:
    from torchvision.datasets import GTSRB

    train, test = (GTSRB(root, split, download=download)._samples for split in ("train", "test"))
    return [str(i) for i in range(DATASETS["gtsrb"].classes)], {"train": train, "test": test}


def _flowers(root: str, download: bool) -> Read:
    from torchvision.datasets import Flowers102

    parts = {part: Flowers102(root, split, download=download) for part, split in _FLOWERS.items()}
    pairs = {part: list(zip(each._image_files, each._labels, strict=True)) for part, each in parts.items()}
    return Flowers102.classes, pairs


_FLOWERS = {"train": "train", "validation": "val", "test": "test"}


def _pets(root: str, download: bool) -> Read:
    from torchvision.datasets import OxfordIIITPet

    parts = {part: OxfordIIITPet(root, split, download=download) for part, split in _PETS.items()}
    return parts["train"].classes, {p: list(zip(each._images, each._labels, strict=True)) for p, each in parts.items()}


_PETS = {"train": "trainval", "test": "test"}


def _food(root: str, download: bool) -> Read:
    from torchvision.datasets import Food101

    parts = {split: Food101(root, split, download=download) for split in ("train", "test")}
    pairs = {part: list(zip(each._image_files, each._labels, strict=True)) for part, each in parts.items()}
    return parts["train"].classes, pairs


def _imagenette(root: str, download: bool) -> Read:
    from torchvision.datasets import Imagenette

    train = Imagenette(root, "train", download=download)
    test = Imagenette(root, "val", download=False)
    return [names[0] for names in train.classes], {"train": train._samples, "test": test._samples}


_READERS = {
    "eurosat": _eurosat, "gtsrb": _gtsrb, "flowers102": _flowers, "oxford-pets": _pets, "food101": _food,
    "imagenette": _imagenette,
}  # fmt: skip
