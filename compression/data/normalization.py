"""The statistics that images are normalised by, as a user writes them."""

import dataclasses
import math

from compression.data.dataset import Dataset
from compression.errors import InvalidSetting


def normalized(data: Dataset, mean: str | None, std: str | None, *, titles: tuple[str, str]) -> Dataset:
    """`data` with other statistics, each written as '0.49,0.48,0.45'; its own where None is given.

    Their number says how many channels the network takes, 1 or 3: the images get as many. `titles` are what the two
    texts are called where the user wrote them. Raises `InvalidSetting`.
    """
    own = data.input_shape[0]
    given = {
        key: _per_channel(title, text, own, above=above)
        for key, title, text, above in zip(("mean", "std"), titles, (mean, std), (-math.inf, 0.0), strict=True)
        if text is not None
    }
    if not given:
        return data
    counts = [len(values) for values in given.values()]
    if counts[0] != counts[-1]:
        raise InvalidSetting(f"{' and '.join(titles)} must hold equally many numbers, not {counts[0]} and {counts[1]}.")
    return dataclasses.replace(data.with_channels(counts[0]), given=True, **given)  # type: ignore[arg-type]


def _per_channel(title: str, text: str, channels: int, *, above: float) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(above < value < math.inf for value in values):
        wanted = "1 number" if channels == 1 else f"{channels} comma-separated numbers, one per channel"
        raise InvalidSetting(f"{title} takes {wanted}{', above 0' * (above == 0)}, not {text!r}.")
    return values
