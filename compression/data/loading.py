"""From a dataset's name to a `Dataset`: out of the cache where it is there, with the same splits every time."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from compression.data import cache, folder, layouts, photo_sets, pixel_files, preparing, sources
from compression.data.archives import title_of
from compression.data.cache import Decoded
from compression.data.catalog import DATASETS
from compression.data.dataset import Dataset, Split, split_off, validation_size
from compression.data.folder import FOLDER_PREFIX
from compression.data.pixel_files import PixelFile
from compression.data.preparing import Progress, Stop
from compression.data.sent_folders import standing_for
from compression.data.test_samples import TestSample, base_of, parted
from compression.errors import InvalidData, UnknownName, shown
from compression.records.preprocess import Preprocess


def load(
    name: str,
    preprocess: Preprocess | None = None,
    *,
    size: tuple[int, int] | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Dataset:
    """The dataset called `name`, or the one in PATH for "folder:PATH".

    `preprocess` says what becomes of pictures of any size, and how they are normalised. Without it a folder's pictures
    of one size are taken as they are; of several, the shorter side is scaled to that of `size`, (height, width).
    A sample of the test images may be written behind the name, see `test_samples`. Raises UnknownName, DataUnavailable
    where no source has it, InvalidData for a folder that does not fit, InvalidSetting and Cancelled.
    """
    say, halt = progress or (lambda text, share: None), stop or (lambda: False)
    name, sample = parted(whole := name)
    if name.startswith(FOLDER_PREFIX):
        return _load_folder(whole, preprocess, sample, size, say, halt)
    if name not in DATASETS:
        raise UnknownName("dataset", name, [*DATASETS, "folder:PATH"])
    if name in photo_sets.NAMES:
        return _load_photos(name, preprocess, sample, say, halt)
    spec = DATASETS[name]
    decoded = _obtain(name, say, halt)
    data = _dataset(decoded, name=name, title=spec.title, mean=spec.mean, std=spec.std, mirror=spec.mirror)
    total, drawn = len(data.test), layouts.sample(len(data.test), sample.images, sample.seed)
    data = data if drawn is None else replace(data, test=data.test.subset(drawn), notes=_said(sample, total))
    return _prepared(data, preprocess, say, halt) if preprocess else data


def edition(name: str) -> str:
    """What changes when a folder's images do; reads no pixels. '' for a name of ours. Raises InvalidData."""
    if not name.startswith(FOLDER_PREFIX):
        return ""
    if sent := standing_for(base_of(name)):
        return sent.edition
    return layouts.fingerprint(layouts.list_folder(path_of(name)))


def is_labelled(name: str) -> bool:
    """Whether the images have classes; reads no pixels. Raises InvalidData."""
    return not name.startswith(FOLDER_PREFIX) or layouts.list_folder(path_of(name)).labelled


def fetch(name: str) -> str:
    """Makes sure that the dataset is on this machine, and says in one sentence where it came from."""
    return load(name).source


def _obtain(name: str, progress: Progress, stop: Stop) -> Decoded:
    decoded = cache.read(name)
    if decoded is None:
        decoded = sources.obtain(name, progress, stop)
        cache.write(name, decoded)
    return decoded


def path_of(name: str) -> Path:
    """PATH of "folder:PATH", or where the folder lies that stands for it. Raises InvalidData where it is no path."""
    if sent := standing_for(base_of(name)):
        return sent.folder
    text = base_of(name).removeprefix(FOLDER_PREFIX)
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


def _load_folder(
    name: str, preprocess: Preprocess | None, sample: TestSample, size: tuple[int, int] | None,
    progress: Progress, stop: Stop,
) -> Dataset:  # fmt: skip
    path = path_of(name)
    listing = layouts.list_folder(path)
    splits, notes = _drawn(listing, sample)
    state = layouts.fingerprint(listing)
    asked = preprocess.pixels_hash if preprocess else f"{size[0]}x{size[1]}" if size else "plain"
    key = f"folder-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}-{asked}{sample.state}"
    found = pixel_files.read(key, state)
    if found is None:
        plan = preparing.plan_of(preprocess) if preprocess else preparing.survey(splits.values(), size, progress, stop)
        pictures = preparing.pictures_of(splits)
        about = plan.written(state, listing.classes, f"{len(pictures):,} images from the folder {folder.named(path)}.")
        found = preparing.make(
            key, about, pictures, len(pictures), plan,
            where=path, skipped=listing.skipped, progress=progress, stop=stop,
        )  # fmt: skip
    data = replace(_of_file(found, name, title_of(path), labelled=listing.labelled), notes=notes)
    return _normalized(data, preprocess) if preprocess else data


def _drawn(listing: layouts.Listing, sample: TestSample) -> tuple[dict[str, layouts.Part], tuple[str, ...]]:
    """The splits with as many test pictures as are asked for, and what there is to say of it."""
    splits = layouts.in_splits(listing)
    test = splits["test"]
    return splits | {"test": layouts.sampled(test, sample.images, sample.seed)}, _said(sample, len(test))


def _said(sample: TestSample, total: int) -> tuple[str, ...]:
    return (note,) if (note := sample.note(total)) else ()


def _load_photos(
    name: str, preprocess: Preprocess | None, sample: TestSample, progress: Progress, stop: Stop
) -> Dataset:
    """One of torchvision's datasets of files; without a record, in the size of its row in the catalog."""
    spec = DATASETS[name]
    progress(f"Looking for {spec.title}", 0.0)
    listing, source = photo_sets.obtain(name, progress, stop)
    asked = preprocess or photo_sets.usual(name)
    state, (splits, notes) = layouts.fingerprint(listing), _drawn(listing, sample)
    found = pixel_files.read(key := f"{name}-{asked.pixels_hash}{sample.state}", state)
    if found is None:
        pictures = preparing.pictures_of(splits)
        plan = preparing.plan_of(asked)
        about = plan.written(state, listing.classes, source)
        found = preparing.make(
            key, about, pictures, len(pictures), plan, where=listing.folder, progress=progress, stop=stop
        )
    data = _of_file(found, name, spec.title, labelled=True)
    data = replace(data, mirror=spec.mirror, mean=spec.mean, std=spec.std, notes=notes)
    return _normalized(data, preprocess) if preprocess else data


def _prepared(data: Dataset, preprocess: Preprocess, progress: Progress, stop: Stop) -> Dataset:
    """A dataset that lies in memory with other pixels."""
    key, splits = f"{data.name}-{preprocess.pixels_hash}", (data.train, data.validation, data.test)
    found = pixel_files.read(key, data.fingerprint)
    if found is None:
        pictures = (
            (i, image.permute(1, 2, 0).squeeze(2).numpy(), int(label))
            for i, split in enumerate(splits) for image, label in zip(split.images, split.labels, strict=True)
        )  # fmt: skip
        plan = preparing.plan_of(preprocess)
        about = plan.written(data.fingerprint, data.classes, data.source)
        found = preparing.make(key, about, pictures, sum(map(len, splits)), plan, progress=progress, stop=stop)
    made = _of_file(found, data.name, data.title, labelled=data.labelled)
    made = replace(made, mirror=data.mirror, notes=data.notes)
    return _normalized(made, preprocess)


def _normalized(data: Dataset, preprocess: Preprocess) -> Dataset:
    return replace(data, mean=preprocess.mean, std=preprocess.std, given=True)


def _of_file(found: PixelFile, name: str, title: str, *, labelled: bool) -> Dataset:
    about = found.description
    return Dataset(
        name=name, title=title, classes=about.classes, input_shape=about.shape, mean=about.mean, std=about.std,
        source=about.source, mirror=False, train=found.train, validation=found.validation, test=found.test,
        labelled=labelled, skipped=about.skipped,
    )  # fmt: skip


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
