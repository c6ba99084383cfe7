"""What parameters will probably come to: interpolated between trials, those that were cut included.

Every trial tells bytes and the divergence of its simulated answers; what divergence costs in accuracy is read off the
trials that came to their end. Never shown as a measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log
from typing import Any

import numpy as np

from compression.recipe.interpolation import Known, predict_at
from compression.records.search import Trial
from compression.searching.objectives import WORST_DROP, complete, scaled
from compression.searching.space import DOMAINS, Choice, Params

MISMATCH = 0.5
"""How far apart two choices are, where the ends of a span are 1 apart."""

STRUCTURE = 2.0
"""So many times that for what decides which other parameters there are."""

REACH = 2.0
LEAST_DIVERGENCE = 1e-6


def place(params: Params) -> np.ndarray:
    """Coordinates of parameters: spans from 0 to 1, a coordinate for each choice, zeros for what is not there."""
    return _place(tuple(params.items()))


@lru_cache(maxsize=4096)  # of the same trials they are asked for again with each that ends
def _place(items: tuple[tuple[str, Any], ...]) -> np.ndarray:
    params = dict(items)
    found: list[float] = []
    for name, domain in DOMAINS.items():
        value = params.get(name)
        if isinstance(domain, Choice):
            far = MISMATCH * (STRUCTURE if name in ("shape", "zeros", "values") else 1.0)
            if domain.ordered:
                found.append(0.0 if value is None else (1 + domain.values.index(value)) / len(domain.values))
            else:
                found += [far * (value == each) for each in domain.values]
        else:
            found.append(0.0 if value is None else (1 + domain.position(value)) / domain.stops)
    return np.array(found)


@dataclass(frozen=True)
class Expectation:
    """What is known of the trials so far, for a network whose fp32 file has `baseline_bytes`."""

    among: Known
    divergences: np.ndarray
    drops: np.ndarray

    @classmethod
    def of(cls, trials: Sequence[Trial], baseline_bytes: int) -> "Expectation":
        """From all trials that have a file or were at least simulated."""
        known = [t for t in trials if t.params and t.size_bytes and t.divergence is not None]
        done = {t.number: scaled(t.found, baseline_bytes) for t in complete(trials) if t.found}
        divergences = [max(float(t.divergence or 0.0), LEAST_DIVERGENCE) for t in known]
        finite = [d if d < inf else 10.0 for d in divergences]
        values = {
            "size": np.array([log((t.size_bytes or 1) / baseline_bytes) for t in known]),
            "divergence": np.log(np.array(finite or [1.0])),
            "latency": np.array([done[t.number][2] if t.number in done else np.nan for t in known]),
        }
        places = np.array([place(t.params) for t in known]).reshape(len(known), len(place({})))
        ended = sorted((d, max(done[t.number][0], 0.0)) for t, d in zip(known, finite, strict=True) if t.number in done)
        drops = np.maximum.accumulate(np.array([drop for _, drop in ended])) if ended else np.zeros(0)
        return cls(Known(places, values), np.array([d for d, _ in ended]), drops)

    def figures(self, asked: Sequence[Params]) -> list[tuple[float, float, float] | None]:
        """Loss, bytes and time of each as `objectives.scaled` has them; None where nothing near is known."""
        told = predict_at(np.array([place(params) for params in asked]), self.among, REACH)
        return [
            (self._drop(exp(each["divergence"])), exp(each["size"]), each["latency"])
            if len(each) == 3 and len(self.drops) else None
            for each in told
        ]  # fmt: skip

    def _drop(self, divergence: float) -> float:
        """The loss of a file of such divergence; beyond all that are known, in proportion to it."""
        most = float(self.divergences[-1])
        if divergence > most:
            return max(float(self.drops[-1]), 0.01 / WORST_DROP) * divergence / max(most, LEAST_DIVERGENCE)
        return float(np.interp(divergence, self.divergences, self.drops))
