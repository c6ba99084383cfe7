"""The statistics that images are normalised by, as a user writes them."""

import dataclasses
import math

from compression.data.dataset import Dataset
from compression.errors import InvalidSetting


def normalized(data: Dataset, mean: str | None, std: str | None, *, titles: tuple[str, str]) -> Dataset:
    """`data` with other statistics, each written as '0.49,0.48,0.45'; its own where None is given.

    `titles` are what the two texts are called where the user wrote them. Raises `InvalidSetting`.
    """
    given = {
        key: _per_channel(title, text, data.input_shape[0], above=above)
        for key, title, text, above in zip(("mean", "std"), titles, (mean, std), (-math.inf, 0.0), strict=True)
        if text is not None
    }
    return dataclasses.replace(data, **given)  # type: ignore[arg-type]


def _per_channel(title: str, text: str, channels: int, *, above: float) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != channels or not all(above < value < math.inf for value in values):
        wanted = "1 number" if channels == 1 else f"{channels} comma-separated numbers, one per channel"
        raise InvalidSetting(f"{title} takes {wanted}{', above 0' * (above == 0)}, not {text!r}.")
    return values
