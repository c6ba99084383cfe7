"""What a page does with pictures that somebody hands over: unpacked, kept, looked at; and what decoded ones take.

Unpacking and keeping run where the browser's upload lies, in the page's process; the rest is asked of a worker:

    found = jobs.unpack_pictures(upload, "photos.zip", progress=show, stop=cancelled)
    facts = lab.ask(jobs.folder_facts, found.dataset).result()
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any

from compression.data.archives import Extracted, extract, keep_pictures
from compression.data.cache_limit import Usage, clean, set_limit, usage
from compression.jobs.messages import Refusal
from compression.jobs.worker import refusal_on_error

MOST_NAMED = 20
"""Pictures that are left out and named; the rest are counted."""

PictureUsage = Usage


@dataclass(frozen=True)
class FolderFacts:
    """What lies in a folder, before anything is decoded.

    counts: pictures by "train", "validation" and "test", as they will be split. `skipped` of all that are left out
    already, the first `MOST_NAMED`; `left_out` counts them.
    """

    dataset: str
    classes: tuple[str, ...]
    labelled: bool
    counts: dict[str, int]
    left_out: int
    skipped: tuple[str, ...]


def unpack_pictures(
    file: IO[bytes],
    name: str,
    *,
    progress: Callable[[str, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Extracted | Refusal:
    """An uploaded archive as a folder of the user's; see `data.archives.extract`. Stopped, the refusal is empty."""
    return refusal_on_error(lambda: extract(file, name, progress=progress, stop=stop))


def keep_uploaded(pictures: Iterable[tuple[str, bytes]]) -> Extracted | Refusal:
    """Single pictures, (name, content), as a folder of the user's."""
    return refusal_on_error(lambda: keep_pictures(pictures))


def folder_facts(dataset: str) -> FolderFacts | Refusal:
    """What "folder:PATH" holds."""

    def task() -> FolderFacts:
        from compression.data import layouts
        from compression.data.loading import path_of

        listing = layouts.list_folder(path_of(dataset))
        counts = {name: len(part) for name, part in layouts.in_splits(listing).items()}
        skipped = listing.skipped
        return FolderFacts(dataset, listing.classes, listing.labelled, counts, len(skipped), skipped[:MOST_NAMED])

    return refusal_on_error(task)


def example_pictures(dataset: str, preprocess: dict[str, Any], count: int = 4) -> list[Any] | Refusal:
    """What a network sees of a few training pictures: uint8 [H, W, 3] or [H, W]; `preprocess` as fields."""

    def task() -> list[Any]:
        from compression.data import layouts
        from compression.data.loading import path_of
        from compression.models.preprocessing_candidates import examples
        from compression.records.preprocess import Preprocess

        train = layouts.in_splits(layouts.list_folder(path_of(dataset)))["train"]
        return examples(layouts.sampled(train, count, 0).paths, Preprocess.from_plain(preprocess))

    return refusal_on_error(task)


def picture_usage() -> PictureUsage:
    """What decoded pictures take on disk, and how much they may."""
    return usage()


def limit_pictures(size_bytes: int) -> PictureUsage | Refusal:
    """Another limit, which is kept."""
    return refusal_on_error(lambda: set_limit(size_bytes))


def clear_pictures() -> int:
    """Removes all decoded pictures; returns bytes. They are decoded anew when they are asked for."""
    return clean()
