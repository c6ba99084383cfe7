"""When a trial goes no further: what a first look at it already says, held against what is known of others."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

from compression.records.search import Found, Trial
from compression.searching.front import front

CLEARLY = 1.5
"""A simulated divergence so many times another's is taken to be really worse."""

BEYOND = 2.0
"""So many times the divergence at which too much is expected to be lost, a file is not tried."""

ENOUGH = 6
"""From so many good files on it is known which divergence that is."""

LEAST_DROP = 0.005
"""A smaller drop is taken for this one where drops are compared: it may be luck."""

Z = 2.0
"""Standard errors within which a drop on some images may be noise."""


@dataclass(frozen=True)
class Sketch:
    """What is known before a file is tried: divergence of simulated answers in nats, exact bytes and MACs."""

    divergence: float
    size_bytes: int
    macs: int
    activation_bits: int


@dataclass(frozen=True)
class Rival:
    """A file that was tried on all validation images."""

    sketch: Sketch
    drop: float


@dataclass(frozen=True)
class Bar:
    """What a trial has to pass: rivals, the drop (share) beyond which nothing is of use, and hard limits."""

    rivals: tuple[Rival, ...] = ()
    most_drop: float = 1.0
    most_divergence: float = inf
    most_size_bytes: float = inf
    most_macs: float = inf

    def cuts(self, sketch: Sketch) -> str:
        """Why a simulated trial goes no further; empty where it may."""
        if not sketch.divergence < self.most_divergence:
            return "Its simulated outputs differ more than those of any acceptable file."
        if sketch.size_bytes > self.most_size_bytes or sketch.macs > self.most_macs:
            return "It exceeds the size limit."
        if any(_no_larger(r.sketch, sketch) and sketch.divergence > CLEARLY * r.sketch.divergence for r in self.rivals):
            return "Another file is smaller and faster, with smaller output differences."
        return ""

    def cuts_file(self, sketch: Sketch, found: Found) -> str:
        """Why a file goes no further after some images; empty where it may."""
        least = found.drop - Z * sqrt(max(1 - found.agreement, 1e-4) / found.images)
        if least > self.most_drop:
            return "Its accuracy drop on the first validation images is too large."
        if any(_no_larger(r.sketch, sketch) and max(r.drop, 0.0) < least for r in self.rivals):
            return "Another file is smaller and faster, with a smaller drop."
        return ""


def bar(trials: Sequence[Trial], most_drop: float, limits: dict[str, float]) -> Bar:
    """The bar that the trials so far set. Nothing is cut for a limit that one step more might keep: half as much again
    is let through, so that a search knows what a little more would buy."""
    complete = [t for t in trials if t.state == "complete" and t.found]
    known = [Rival(_sketch(t), t.found.drop) for t in complete if t.found]
    rivals = tuple(known[i] for i in front([(*_needs(r.sketch), r.sketch.divergence, max(r.drop, 0.0)) for r in known]))
    return Bar(
        rivals, most_drop, _most_divergence(known, most_drop),
        1.5 * limits.get("size_bytes", inf), 1.5 * limits.get("macs", inf),
    )  # fmt: skip


def _most_divergence(known: Sequence[Rival], most_drop: float) -> float:
    """Beyond what divergence no file is tried.

    Drops grow with divergence: where good files lose much less than may be lost, they may diverge as much more.
    """
    good = [r for r in known if r.drop <= most_drop]
    if len(good) < ENOUGH:
        return inf
    far = max(good, key=lambda r: r.sketch.divergence)
    return BEYOND * far.sketch.divergence * max(1.0, most_drop / max(far.drop, LEAST_DROP))


def _sketch(trial: Trial) -> Sketch:
    assert trial.found
    activations = int(trial.params.get("quantize.activation_bits", 32))
    return Sketch(trial.found.divergence, trial.found.size_bytes, trial.found.macs, activations)


def _needs(sketch: Sketch) -> tuple[int, int, int]:
    """Bytes, MACs, bits of what is computed with."""
    return sketch.size_bytes, sketch.macs, sketch.activation_bits


def _no_larger(ours: Sketch, theirs: Sketch) -> bool:
    """Whether a file needs no more of anything than another."""
    return all(mine <= other for mine, other in zip(_needs(ours), _needs(theirs), strict=True))
