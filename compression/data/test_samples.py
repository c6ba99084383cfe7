"""How many test images are measured on: drawn by a seed, or all; written behind a dataset's name.

    folder:PATH::test=1000             1,000 images, drawn by seed 0
    folder:PATH::test=1000,seed=7

So a link, a command and a stored run name the same images. No torch in here: pages write and read such names.
"""

import re
from dataclasses import dataclass

from compression.errors import InvalidSetting, shown

OFFERED = (1_000, 5_000)
"""Samples that pages offer beside all images."""

MOST = 1 << 31
"""Images and seeds are below that."""

MARK = "::test="
_WRITTEN = re.compile(r"([0-9]{1,10})(?:,seed=([0-9]{1,10}))?")


@dataclass(frozen=True)
class TestSample:
    """`images` test images, drawn by `seed`; None is all of them. Raises `InvalidSetting`."""

    __test__ = False  # for pytest, which takes classes of this name for tests
    images: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images is not None and not 0 < self.images < MOST:
            raise InvalidSetting(f"A sample of {self.images} test images is not possible; it has 1 to {MOST - 1:,}.")
        if not 0 <= self.seed < MOST:
            raise InvalidSetting(f"The seed of a sample is a number from 0 to {MOST - 1:,}, not {self.seed}.")

    @property
    def state(self) -> str:
        """Another text for other images; '' for all."""
        return f"-{self.images}-{self.seed}" if self.images is not None else ""

    def note(self, total: int) -> str:
        """A sentence about a sample of `total` images; '' where it is all of them."""
        if self.images is None or self.images >= total:
            return ""
        return (
            f"Measured on {self.images:,} of the {total:,} test images, drawn by seed {self.seed}; the intervals are "
            "for this sample."
        )


ALL = TestSample()


def named(dataset: str, sample: TestSample) -> str:
    """The name of a dataset of which a sample is tested; a sample that `dataset` names already is replaced."""
    base = parted(dataset)[0]
    if sample.images is None:
        return base
    return f"{base}{MARK}{sample.images}" + (f",seed={sample.seed}" if sample.seed else "")


def parted(name: str) -> tuple[str, TestSample]:
    """A dataset's own name, and the sample that is written behind it. Raises `InvalidSetting`."""
    base, mark, written = name.rpartition(MARK)
    if not mark:
        return name, ALL
    if not (found := _WRITTEN.fullmatch(written)):
        raise InvalidSetting(f"{shown(MARK + written)} is not a sample of test images; write {MARK}1000,seed=0.")
    return base, TestSample(int(found[1]), int(found[2] or 0))


def base_of(name: str) -> str:
    """A dataset's own name, also where what is written behind it is no sample."""
    return name.rpartition(MARK)[0] or name
