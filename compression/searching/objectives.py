"""What is minimised, which trials nothing beats, which of them is best, and what a little more would buy."""

from collections.abc import Sequence
from dataclasses import dataclass

from compression.records.search import Found, Trial
from compression.searching.front import front, hypervolume, knee
from compression.searching.settings import SearchSettings

OBJECTIVES: dict[str, tuple[str, ...]] = {
    "front": ("drop", "size_bytes", "latency_ratio"),
    "size": ("size_bytes", "drop"),
    "latency": ("latency_ratio", "drop"),
    "drop": ("drop", "size_bytes"),
}
"""Figures that are minimised together, for each wish."""

USUAL_DROP = 0.01
"""What may be lost where nobody says so, but asks for the smallest or the fastest."""

WORST_DROP = 0.1
"""Below so much accuracy lost a file is of no use; the reference of the dominated volume."""

SLACK = 0.02
"""Beyond the limit of accuracy, trials are still carried out that lose this share more: what would it buy?"""


@dataclass(frozen=True)
class Offer:
    """What a point of the front would buy over another: bytes and share of the fp32 time saved, accuracy lost more."""

    drop: float
    size_bytes: int
    latency_ratio: float


def complete(trials: Sequence[Trial]) -> list[Trial]:
    """The trials whose files were tried on all validation images, each recipe once."""
    found = {t.recipe: t for t in trials if t.state == "complete" and t.found and t.found.latency_ratio is not None}
    return list(found.values())


def values(found: Found, wish: str) -> tuple[float, ...]:
    """What is minimised of a file."""
    return tuple(float(getattr(found, name)) for name in OBJECTIVES[wish])


def asked_drop(settings: SearchSettings) -> float | None:
    """The limit of accuracy; a usual one where the smallest or fastest file is wanted whatever it answers."""
    if settings.drop is not None or settings.minimise == "drop" or {"agreement", "worst_class"} & set(settings.limits):
        return settings.drop
    return USUAL_DROP if settings.minimise in ("size", "latency") or settings.limits else None


def most_drop(settings: SearchSettings) -> float:
    """The drop beyond which nothing is carried out to the end."""
    asked = asked_drop(settings)
    return WORST_DROP if asked is None else min(asked + SLACK, 1.0)


def keeps(settings: SearchSettings, found: Found) -> bool:
    """Whether every limit is kept, the usual one of accuracy too."""
    asked = asked_drop(settings)
    return settings.keeps(found) and (asked is None or found.drop <= asked + 1e-12)


def best_front(trials: Sequence[Trial], settings: SearchSettings) -> list[Trial]:
    """Those that nothing beats, the smallest first: of files that lose no more than what is still carried out."""
    tried = [t for t in complete(trials) if t.found and t.found.drop <= most_drop(settings)]
    points = [values(t.found, settings.minimise) for t in tried if t.found]
    return sorted((tried[i] for i in front(points)), key=lambda t: t.found.size_bytes if t.found else 0)


def best(trials: Sequence[Trial], settings: SearchSettings) -> Trial | None:
    """The best that keeps every limit: by what is minimised or, of a whole front, by bytes and time together."""
    within = [t for t in complete(trials) if t.found and keeps(settings, t.found)]
    if not within:
        return None
    if settings.minimise == "front" and not settings.limits:
        return balanced(best_front(within, settings))
    return min(within, key=lambda t: _rank(t, settings))


def _rank(trial: Trial, settings: SearchSettings) -> tuple[float, ...]:
    found = trial.found
    assert found
    if settings.minimise == "front":
        return (found.size_bytes * float(found.latency_ratio or 1.0), found.drop)
    return values(found, settings.minimise)


def corner(chosen: Sequence[Trial]) -> Trial | None:
    """The knee of bytes against accuracy: beyond it, one costs much of the other. None where there is no such."""
    flat = [t for t in chosen if t.found]
    points = [(t.found.size_bytes, t.found.drop) for t in flat if t.found]
    at = front(points)
    found = knee([points[i] for i in at])
    return None if found is None else flat[at[found]]


def balanced(chosen: Sequence[Trial]) -> Trial | None:
    """The knee or, without one, the trial that loses least."""
    return corner(chosen) or min(chosen, key=lambda t: t.found.drop if t.found else 1.0, default=None)


def volume(trials: Sequence[Trial], baseline_bytes: int) -> float:
    """The share in [0, 1] of the box between nothing and fp32 that some file dominates: loss × size × latency.

    The box's far corner is `WORST_DROP` below the fp32 file's accuracy, its bytes and its time.
    """
    points = [scaled(t.found, baseline_bytes) for t in complete(trials) if t.found]
    return hypervolume([(max(p[0], 0.0), *p[1:]) for p in points], (1.0, 1.0, 1.0))


def scaled(found: Found, baseline_bytes: int) -> tuple[float, float, float]:
    """Drop as a share of `WORST_DROP`, bytes and time as shares of fp32's."""
    return found.drop / WORST_DROP, found.size_bytes / baseline_bytes, float(found.latency_ratio or 1.0)


def volumes(trials: Sequence[Trial], baseline_bytes: int, points: int = 60) -> list[tuple[float, float]]:
    """(seconds, volume) as the search went on, at most so many."""
    ended = sorted(complete(trials), key=lambda t: t.ended)
    step = max(1, len(ended) // points)
    counts = sorted({*range(step, len(ended) + 1, step), len(ended)} - {0})
    return [(ended[n - 1].ended, volume(ended[:n], baseline_bytes)) for n in counts]


def offers(chosen: Sequence[Trial], start: Trial) -> list[tuple[Trial, Offer]]:
    """What each point of a front that loses more than `start` would buy, the cheapest first."""
    here = start.found
    assert here
    found = []
    for t in chosen:
        there = t.found
        if there and there.drop > here.drop and there.size_bytes < here.size_bytes:
            saved = float(here.latency_ratio or 1.0) - float(there.latency_ratio or 1.0)
            found.append((t, Offer(there.drop - here.drop, here.size_bytes - there.size_bytes, saved)))
    return sorted(found, key=lambda pair: pair[1].drop)
