"""Which class the scores of a classifier name. Every place that turns scores into classes does it here.

NumPy arrays and torch tensors alike; neither library is loaded for it.
"""

import math
from typing import Any

from compression.errors import InvalidModel

NONE = -1
"""Stands for a class where scores name none."""


def classes(scores: Any) -> Any:
    """[n] the class with the highest score of scores [n, classes], or `NONE` where the highest is no finite number.

    That is where one of an image's scores is NaN or +inf, or all are -inf: `argmax` would name the first such class,
    and softmax gives no confidence. -inf among finite scores is a class that is ruled out.
    """
    named = scores.argmax(1)
    highest = scores[list(range(len(named))), named]  # NaN is the highest wherever it stands
    named[~(abs(highest) < math.inf)] = NONE
    return named


def every_class(scores: Any, who: str) -> Any:
    """`classes` of scores [n, classes]. Raises `InvalidModel` where `who` gave an image scores that name none."""
    named = classes(scores)
    if missing := int((named == NONE).sum()):
        raise InvalidModel(f"{who} answers {missing:,} of {len(named):,} images with NaN or infinite scores.")
    return named
