"""How the pictures in a folder are meant: which are for training and which for testing, and which class each is of.

- `train` and `test` (or `val`), each with a folder a class: the parts are as they are given
- a CSV or TSV of path and label, with or without a column for the part
- a folder a class; or names that begin with ImageNet's synsets (n01440764_10026.JPEG)
- anything else: pictures without labels

Where no part is given, half of the pictures, at most `MOST_TEST`, are drawn for testing by a fixed seed, of each class
its share.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from compression.data import label_files
from compression.data.dataset import SPLIT_SEED, split_off, validation_size
from compression.data.folder import SUFFIXES, Walk, folders_in, named, pictures_below, pictures_in
from compression.errors import InvalidData, InvalidSetting

SPELLINGS = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
"""How folders and columns name the parts, in any case."""

MOST_TEST = 10_000
MAX_PICTURES = 1_000_000
_READING = b"3"  # counts up when the same files are read as other pixels
_SYNSET = re.compile(r"(n\d{8})[_-]")
_DEEPEST = 8  # folders that hold nothing but one folder


@dataclass(frozen=True)
class Part:
    """Paths of pictures and, for each, the index of its class; -1 without labels."""

    paths: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, places: Iterable[int]) -> "Part":
        """The pictures at those places, in that order."""
        places = list(places)
        return Part(tuple(self.paths[i] for i in places), tuple(self.labels[i] for i in places))


@dataclass(frozen=True)
class Listing:
    """What was found in a folder. `parts` has "train" and maybe "validation" and "test".

    `label_file` is where labels were read; `skipped` names pictures that are left out, each with why.
    """

    folder: Path
    classes: tuple[str, ...]
    parts: dict[str, Part]
    label_file: str | None = None
    skipped: tuple[str, ...] = field(default=())

    @property
    def labelled(self) -> bool:
        """Whether the pictures have classes."""
        return bool(self.classes)

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))


def list_folder(folder: Path) -> Listing:
    """The pictures in a folder by part and class; reads no pixels. Raises InvalidData where there are too few."""
    try:
        if not folder.is_dir():
            raise InvalidData(f"{named(folder)} is not a folder; a dataset is a folder with images.")
        if folder == folder.parent:
            raise InvalidData(f"{named(folder)} is a whole disk; name the folder with the images.")
        listing = _listing(_innermost(folder), Walk(folder))
    except OSError as error:
        raise InvalidData(f"{named(error.filename or folder)} cannot be read: {error.strerror}.") from None
    if len(listing) > MAX_PICTURES:
        raise InvalidData(f"{named(folder)} holds {len(listing):,} images; at most {MAX_PICTURES:,} are allowed.")
    if listing.labelled and len(listing.classes) < 2:
        raise InvalidData(f"{named(folder)} has images of 1 class, {listing.classes[0]!r}; at least 2 are needed.")
    if len(listing) < 2:
        raise InvalidData(
            f"{named(folder)} holds {len(listing)} images ({', '.join(SUFFIXES)}); at least 2 are needed"
            f"{_first(listing.skipped)}."
        )
    return listing


def _first(skipped: tuple[str, ...]) -> str:
    return f"; {len(skipped):,} were left out, first {skipped[0]}" if skipped else ""


def fingerprint(listing: Listing) -> str:
    """Changes when a picture is added, removed, renamed or written anew, or labels are; reads no pixels."""
    digest = hashlib.sha256(_READING)
    for path in (*_flat(listing), *([listing.label_file] if listing.label_file else [])):
        try:
            status = os.stat(path)
            what = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:
            what = "unreadable"
        digest.update(os.fsencode(path) + f"\0{what}\0".encode())
    return digest.hexdigest()[:24]


def _flat(listing: Listing) -> Iterator[str]:
    return (path for part in listing.parts.values() for path in part.paths)


def in_splits(listing: Listing) -> dict[str, Part]:
    """The listing's pictures as "train", "validation" and "test": what is not given is drawn by `SPLIT_SEED`.

    Raises InvalidData where one split stays empty.
    """
    parts = dict(listing.parts)
    train = parts["train"]
    if not parts.get("test"):
        train, parts["test"] = _divided(train, min(len(train) // 2, MOST_TEST))
    if not parts.get("validation"):
        train, parts["validation"] = _validation_of(train)
    splits = {"train": train, "validation": parts["validation"], "test": parts["test"]}
    if short := [name for name, part in splits.items() if not part]:
        raise InvalidData(f"{named(listing.folder)} leaves no images for {short[0]}; at least 3 are needed in all.")
    return splits


def sampled(part: Part, count: int | None, seed: int) -> Part:
    """`count` of the pictures drawn by `seed`, in their own order; all where there are no more."""
    return part if (places := sample(len(part), count, seed)) is None else part.at(places.tolist())


def sample(n: int, count: int | None, seed: int) -> torch.Tensor | None:
    """Which `count` of `n` images are drawn by `seed`, sorted; None for all. Raises InvalidSetting."""
    if count is not None and count < 1:
        raise InvalidSetting(f"A sample of {count} test images is too small; it needs 1 at least.")
    if count is None or count >= n:
        return None
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count].sort().values


def _validation_of(train: Part) -> tuple[Part, Part]:
    if train.labels and train.labels[0] >= 0:
        rest, part = split_off(torch.tensor(train.labels), validation_size(len(train)))
        if len(part):
            return train.at(rest.tolist()), train.at(part.tolist())
    return _divided(train, max(validation_size(len(train)), 1))


def _divided(part: Part, count: int) -> tuple[Part, Part]:
    """Seeded and stratified; pictures that are alone in their class are drawn together."""
    if len(part) < 2:
        return part, Part()
    labels = torch.tensor(part.labels)
    labels = labels - labels.min()  # without labels: all 0
    alone = labels.bincount()[labels] == 1
    rest, chosen = split_off(torch.where(alone, labels.max() + 1, labels), count, SPLIT_SEED)
    return part.at(rest.tolist()), part.at(chosen.tolist())


# --- which layout it is ---


def _innermost(folder: Path) -> Path:
    """Below folders that hold nothing but one folder, as archives often do."""
    for _ in range(_DEEPEST):
        inner = folders_in(folder)
        if len(inner) != 1 or pictures_in(folder) or label_files.find(folder):
            break
        folder = Path(next(iter(inner.values())))
    return folder


def _listing(folder: Path, walk: Walk) -> Listing:
    asked = walk.root
    parts = _named_parts(folder)
    if "train" in parts and len(parts) > 1:
        return _given_parts(folder, parts, walk)
    if found := label_files.find(folder):
        return _from_labels(asked, folder, found)
    if list(parts) == ["train"]:
        folder = Path(parts["train"])
    classes = {name: pictures for name, path in folders_in(folder).items() if (pictures := pictures_below(path, walk))}
    loose = pictures_in(folder)
    if len(classes) > 1 and 10 * len(loose) < sum(map(len, classes.values())):
        skipped = tuple(f"{_short(asked, path)}: it is in no class folder" for path in loose)
        return replace(_by_class(asked, {"train": classes}), skipped=skipped)
    return _flat_listing(asked, {"train": pictures_below(folder)})


def _named_parts(folder: Path) -> dict[str, str]:
    """Folders that are named like parts. Raises InvalidData where two stand for one."""
    found = dict[str, str]()
    for name, path in folders_in(folder).items():
        for part, spellings in SPELLINGS.items():
            if name.lower() in spellings:
                if part in found:
                    raise InvalidData(f"{named(path)} and {named(found[part])} both stand for {part}; keep one.")
                found[part] = path
    return {part: found[part] for part in SPELLINGS if part in found}


def _given_parts(folder: Path, parts: dict[str, str], walk: Walk) -> Listing:
    asked = walk.root
    by_class = {
        part: {name: pictures_below(inner, walk) for name, inner in folders_in(path).items()}
        for part, path in parts.items()
    }
    if "test" not in by_class:
        by_class["test"] = by_class.pop("validation")
    if any(by_class["train"].values()):
        return _by_class(asked, by_class)
    if found := label_files.find(folder):
        return _from_labels(asked, folder, found)
    flat = {part: pictures_below(path) for part, path in parts.items()}
    if "test" not in flat:
        flat["test"] = flat.pop("validation")
    return _flat_listing(asked, flat)


def _by_class(folder: Path, parts: dict[str, dict[str, list[str]]]) -> Listing:
    """Classes are those of all parts, in the order of their names; each part may lack some."""
    classes = sorted({name for part in parts.values() for name in part})
    label = {name: i for i, name in enumerate(classes)}
    found = {
        part: Part(
            tuple(path for paths in by_class.values() for path in paths),
            tuple(label[name] for name, paths in by_class.items() for _ in paths),
        )
        for part, by_class in parts.items()
    }
    return Listing(folder, tuple(map(named, classes)), found)


def _flat_listing(folder: Path, parts: dict[str, list[str]]) -> Listing:
    """Without labels, but where every name begins with a synset."""
    every = [path for paths in parts.values() for path in paths]
    marks = [match[1] if (match := _SYNSET.match(os.path.basename(path))) else None for path in every]
    if len(set(marks)) > 1 and None not in marks:
        label = {path: str(mark) for path, mark in zip(every, marks, strict=True)}
        return _of_labels(folder, {part: [(p, label[p]) for p in paths] for part, paths in parts.items()})
    return Listing(folder, (), {part: Part(tuple(p), (-1,) * len(p)) for part, p in parts.items()})


def _from_labels(asked: Path, folder: Path, file: str) -> Listing:
    table = label_files.read(file, folder)
    parts: dict[str, list[tuple[str, str]]] = {}
    for row in table.rows:
        part = next((p for p, spellings in SPELLINGS.items() if row.part.lower() in spellings), "train")
        parts.setdefault(part, []).append((row.path, row.label))
    if "validation" in parts and "test" not in parts:
        parts["test"] = parts.pop("validation")
    if "train" not in parts:
        parts = {"train": [pair for pairs in parts.values() for pair in pairs]}
    return replace(_of_labels(asked, parts), label_file=file, skipped=table.skipped)


def _of_labels(folder: Path, parts: dict[str, list[tuple[str, str]]]) -> Listing:
    classes = ordered({label for pairs in parts.values() for _, label in pairs})
    index = {label: i for i, label in enumerate(classes)}
    order = [part for part in SPELLINGS if part in parts]
    found = {p: Part(tuple(path for path, _ in parts[p]), tuple(index[label] for _, label in parts[p])) for p in order}
    return Listing(folder, tuple(classes), found)


def ordered(labels: Iterable[str]) -> Sequence[str]:
    """Whole numbers by size, other labels by name."""
    labels = list(labels)
    return sorted(labels, key=int) if all(re.fullmatch(r"\d{1,9}", label) for label in labels) else sorted(labels)


def _short(folder: Path, path: str) -> str:
    return named(os.path.relpath(path, folder))
