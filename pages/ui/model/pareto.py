"""Which points nothing beats, and which the measurement cannot tell from those."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compression.records.measurement import Interval

Standing = Literal["front", "tie", "behind"]
Better = Literal["more", "less"]


@dataclass(frozen=True)
class Spot:
    """Where a point lies, with its intervals; `full` if measured over the whole test split."""

    x: float
    x_interval: Interval
    y: float
    y_interval: Interval
    full: bool = True


def stand(spots: Sequence[Spot], x: Better = "less", y: Better = "more") -> list[Standing]:
    """Where each spot stands among all that were measured in full.

    'front': nothing is better in both. 'tie': something is, but each of the two lies inside the other's intervals, so
    the measurement cannot tell them apart. 'behind': the rest.
    """
    if not spots:
        return []
    values = np.array([[s.x, s.y] for s in spots])
    gains = values * [1 if better == "more" else -1 for better in (x, y)]
    low = np.array([[s.x_interval.low, s.y_interval.low] for s in spots])
    high = np.array([[s.x_interval.high, s.y_interval.high] for s in spots])
    rivals = np.array([s.full for s in spots])
    # [spots, rivals]: whether the rival beats the spot, and whether each lies inside the other's intervals
    no_worse = (gains[None] >= gains[:, None]).all(-1)
    beats = no_worse & (gains[None] > gains[:, None]).any(-1) & rivals[None]
    inside = ((low[:, None] <= values[None]) & (values[None] <= high[:, None])).all(-1)
    distinct = beats & ~(inside & inside.T)
    return [
        "front" if not beaten else "behind" if clearly else "tie"
        for beaten, clearly in zip(beats.sum(1), distinct.sum(1), strict=True)
    ]
