"""The statistics that images are normalised by: of pixels in [0, 1], as a user or a card gives them. No torch."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compression.errors import InvalidSetting

if TYPE_CHECKING:
    from compression.data.dataset import Dataset

LEAST_STD = 1e-4
"""A tenth of what a standard deviation of 8-bit pixels can be, where they are not all equal."""

LIMITS = {"mean": (0.0, 1.0), "std": (LEAST_STD, 1.0)}
"""From and to: nothing else comes of pixels in [0, 1]."""

BYTE = 255
"""What other programs take for white, so that a mean of 0.485 is 123.7 there."""


def normalized(data: "Dataset", mean: str | None, std: str | None, *, titles: tuple[str, str]) -> "Dataset":
    """`data` with other statistics, each written as '0.49,0.48,0.45'; its own where None is given.

    Their number says how many channels the network takes, 1 or 3: the images get as many. `titles` are what the two
    texts are called where the user wrote them. Raises `InvalidSetting`.
    """
    own = data.input_shape[0]
    given = {
        key: _per_channel(key, title, text, own)
        for key, title, text in zip(("mean", "std"), titles, (mean, std), strict=True)
        if text is not None
    }
    if not given:
        return data
    counts = [len(values) for values in given.values()]
    if counts[0] != counts[-1]:
        raise InvalidSetting(f"{' and '.join(titles)} must hold equally many numbers, not {counts[0]} and {counts[1]}.")
    return dataclasses.replace(data.with_channels(counts[0]), given=True, **given)  # type: ignore[arg-type]


def check_statistics(kind: str, title: str, values: Sequence[float]) -> None:
    """Raises `InvalidSetting`, in which they are called `title`, where values are no 'mean' or 'std' (`kind`)."""
    low, high = LIMITS[kind]
    for value in values:
        if not low <= value <= high:
            meant = f"; with pixels from 0 to {BYTE} in mind, {value:g} is {value / BYTE:.3f} here"
            hint = meant if high < value <= BYTE and value / BYTE >= low else ""
            raise InvalidSetting(
                f"{title} is of pixels from 0 to 1, so each number is from {low:g} to {high:g}, not {value:g}{hint}."
            )


def _per_channel(kind: str, title: str, text: str, channels: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        wanted = "1 number" if channels == 1 else f"{channels} comma-separated numbers, one per channel"
        raise InvalidSetting(f"{title} takes {wanted}, not {text[:200]!r}.")
    check_statistics(kind, title, values)
    return values
