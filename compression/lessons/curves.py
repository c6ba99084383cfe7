"""Lines that the lessons draw, as data."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Line:
    """Points x [n], y [n] under a name."""

    name: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class Bars:
    """One value for each label, under a name."""

    name: str
    labels: tuple[str, ...]
    values: np.ndarray
