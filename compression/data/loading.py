"""From a dataset's name to a `Dataset`: out of the cache where it is there, with the same splits every time."""

import hashlib
import os
from pathlib import Path

from compression.data import cache, folder, sources
from compression.data.cache import Decoded
from compression.data.catalog import DATASETS
from compression.data.dataset import Dataset, Split, split_off, statistics, validation_size
from compression.errors import InvalidData, UnknownName, shown

FOLDER_PREFIX = "folder:"


def load(name: str) -> Dataset:
    """The dataset called `name`, or the one in PATH for "folder:PATH".

    Raises UnknownName, DataUnavailable where no source has it, and InvalidData for a folder that does not fit.
    """
    if name.startswith(FOLDER_PREFIX):
        return _load_folder(name)
    if name not in DATASETS:
        raise UnknownName("dataset", name, [*DATASETS, "folder:PATH"])
    spec = DATASETS[name]
    decoded = _obtain(name)
    return _dataset(decoded, name=name, title=spec.title, mean=spec.mean, std=spec.std, mirror=spec.mirror)


def edition(name: str) -> str:
    """What changes when a folder's images do; reads no pixels. '' for a name of ours. Raises InvalidData."""
    if not name.startswith(FOLDER_PREFIX):
        return ""
    return folder.fingerprint(folder.list_images(_path(name)))


def fetch(name: str) -> str:
    """Makes sure that the dataset is on this machine, and says in one sentence where it came from."""
    return load(name).source


def _obtain(name: str) -> Decoded:
    if name == "digits":  # quicker to make than to read back
        return sources.obtain(name)
    decoded = cache.read(name)
    if decoded is None:
        decoded = sources.obtain(name)
        cache.write(name, decoded)
    return decoded


def _path(name: str) -> Path:
    text = name.removeprefix(FOLDER_PREFIX)
    if not text.strip():
        raise InvalidData(f"{shown(name)} names no folder; write folder:PATH.")
    try:
        text.encode()
        path = Path(text).expanduser().resolve()
        path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a NUL, a name too long, links in circles, no text, ~nobody
        reason = getattr(error, "strerror", None) or error
        raise InvalidData(f"{shown(text)} is not the path of a folder: {reason}.") from None
    return path


def _load_folder(name: str) -> Dataset:
    path = _path(name)
    listing = folder.list_images(path)
    key, state = f"folder-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}", folder.fingerprint(listing)
    decoded = cache.read(key, state)
    if decoded is None:
        decoded = folder.decode(path, listing)
        cache.write(key, decoded, state)
    mean, std = statistics([decoded.train_images])
    return _dataset(decoded, name=name, title=folder.named(path.name), mean=mean, std=std, mirror=False)


def _dataset(
    decoded: Decoded, *, name: str, title: str, mean: tuple[float, ...], std: tuple[float, ...], mirror: bool
) -> Dataset:
    whole = Split(decoded.train_images, decoded.train_labels)
    train, validation = split_off(whole.labels, validation_size(len(whole)))
    _, channels, height, width = whole.images.shape
    return Dataset(
        name=name, title=title, classes=decoded.classes, input_shape=(channels, height, width),
        mean=mean, std=std, source=decoded.source, mirror=mirror,
        train=whole.subset(train), validation=whole.subset(validation),
        test=Split(decoded.test_images, decoded.test_labels),
    )  # fmt: skip
