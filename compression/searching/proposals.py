"""Which recipe is tried next: seeds first, then neighbours of the front that are expected to push it outwards.

A neighbour is a trial of the front, or a mixture of two, with one or two parameters moved. Of several such, the one is
tried whose figures, interpolated between trials that are known, add most to the dominated volume (after Knowles 2006).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any

import numpy as np

from compression.errors import UserError
from compression.recipe import Recipe
from compression.records.search import Trial
from compression.searching.allocation import Harms
from compression.searching.expectation import Expectation
from compression.searching.front import Room, front
from compression.searching.objectives import best_front, complete, scaled
from compression.searching.settings import SearchSettings
from compression.searching.space import Choice, Params, Space, Span, recipe

CANDIDATES = 24
"""Neighbours among which the most promising is chosen."""

FIGURES = ("drop", "size", "latency")

_BITS: tuple[Mapping[str, Any], ...] = tuple({"values": "bits", "bits": bits} for bits in (8.0, 5.0, 4.0, 3.0))
SEEDS: tuple[Mapping[str, Any], ...] = (
    *_BITS,
    *({"zeros": "free", "prune.sparsity": s, "values": "bits", "bits": b}
      for s, b in ((0.5, 4.0), (0.7, 4.0), (0.8, 4.0), (0.8, 3.0), (0.9, 4.0), (0.9, 3.0))),
    *({"shape": "channels", "channels.amount": a, "values": "bits", "bits": b}
      for a, b in ((0.2, 6.0), (0.35, 5.0), (0.5, 5.0))),
    *({"shape": "channels", "channels.amount": a, "zeros": "free", "prune.sparsity": s, "values": "bits", "bits": b}
      for a, s, b in ((0.2, 0.7, 4.0), (0.35, 0.6, 4.0))),
    {"shape": "factorize", "factorize.amount": 0.3, "values": "bits", "bits": 5.0},
    {"values": "bits", "quantize.scheme": "ternary"},
    {"shape": "channels", "channels.amount": 0.2, "values": "bits", "quantize.scheme": "ternary"},
    {"values": "share", "share.entries": 16},
    {"zeros": "free", "prune.sparsity": 0.8, "values": "share", "share.entries": 12},
)  # fmt: skip
"""Where every search begins: what has paid for many networks, quick ones; the same for all, so no result chose them."""


def seeds(space: Space, recipes: Iterable[Params] = ()) -> list[dict[str, Any]]:
    """Parameters to begin with, each once: those of SEEDS, then others that are given."""
    usual = {"quality": "fast", "shape": "none", "zeros": "none", "quantize.activation_bits": 8}
    found: list[dict[str, Any]] = []
    for given in (*({**usual, **seed} for seed in SEEDS), *recipes):
        params = space.completed(given)
        if params not in found:
            found.append(params)
    return found


@dataclass(frozen=True)
class _Standing:
    """What some trials come to: their front, recipes, what their points leave, and what is expected of others."""

    trials: Sequence[Trial]
    parents: list[Trial]
    tried: set[tuple[tuple[str, Any], ...]]
    recipes: set[str]
    room: Room
    expectation: Expectation
    ends: dict[tuple[Any, ...], float]

    @classmethod
    def of(cls, trials: Sequence[Trial], settings: SearchSettings, baseline_bytes: int) -> "_Standing":
        points = [_clipped(scaled(t.found, baseline_bytes)) for t in complete(trials) if t.found]
        ahead = np.array([points[i] for i in front(points)]).reshape(-1, len(FIGURES))
        expectation = Expectation.of(trials, baseline_bytes)
        tried, recipes = {tuple(t.params.items()) for t in trials}, {t.recipe for t in trials}
        room = Room.beside(ahead, (1.0,) * len(FIGURES))
        return cls(trials, best_front(trials, settings), tried, recipes, room, expectation, _ends(trials))

    def is_new(self, params: Params) -> bool:
        """Whether these were not tried, and remove no more than what failed."""
        kind, amount = _removed(params)
        return tuple(params.items()) not in self.tried and amount < self.ends.get(kind, inf)


def _removed(params: Params) -> tuple[tuple[Any, ...], float]:
    """How much of the network is removed, and in which way."""
    shape = params.get("shape")
    return (shape, params.get("channels.part")), params.get(f"{shape}.amount", 0.0)


def _ends(trials: Sequence[Trial]) -> dict[tuple[Any, ...], float]:
    """From which amount on, for each way, nothing could be made: there are only so many channels to remove."""
    found: dict[tuple[Any, ...], float] = {}
    for kind, amount in (_removed(t.params) for t in trials if t.state == "failed" and t.params):
        found[kind] = min(amount, found.get(kind, inf))
    made = [_removed(t.params) for t in trials if t.state != "failed" and t.params]
    return {kind: end for kind, end in found.items() if end > max((a for k, a in made if k == kind), default=0.0)}


class Neighbours:
    """Proposes neighbours of the front; `baseline_bytes` are those of the fp32 file."""

    def __init__(self, space: Space, settings: SearchSettings, plain: Recipe, baseline_bytes: int, random: Random):
        self._space, self._settings, self._plain = space, settings, plain
        self._bytes, self._random = baseline_bytes, random
        self._known: _Standing | None = None

    def propose(self, trials: Sequence[Trial], harms: Harms | None) -> dict[str, Any] | None:
        """Parameters that were not tried yet; None where there is no front, or nothing new was found.

        What the trials come to is worked out once for each list of them: it must not be changed afterwards.
        """
        if self._known is None or self._known.trials is not trials:
            self._known = _Standing.of(trials, self._settings, self._bytes)
        known = self._known
        if not known.parents:
            return None
        new = dict[tuple[tuple[str, Any], ...], dict[str, Any]]()
        for _ in range(4 * CANDIDATES):
            params = self._neighbour(known.parents)
            if known.is_new(params):
                new[tuple(params.items())] = params
            if len(new) == CANDIDATES:
                break
        ranked = self._ranked(list(new.values()), known) if new else []
        return next((params for params in ranked if self._is_new(params, known, harms)), None)

    def _is_new(self, params: Params, known: _Standing, harms: Harms | None) -> bool:
        """Whether parameters go together, and others that were tried do not lead to the same recipe."""
        try:
            return recipe(params, self._plain, harms).to_json() not in known.recipes
        except UserError:
            return False

    def _neighbour(self, parents: Sequence[Trial]) -> dict[str, Any]:
        """A parent with one or two parameters moved; every third has half of another parent."""
        parent = self._random.choice(parents).params
        params = dict(parent)
        if len(parents) > 1 and self._random.random() < 1 / 3:
            other = self._random.choice(parents).params
            params |= {name: other[name] for name in other if self._random.random() < 0.5}
        if params.get("quality") == "fast" and self._random.random() < 0.35:
            return self._space.completed(params | {"quality": "best"})
        params = self._space.completed(params)
        for _ in range(self._random.choice((1, 1, 2))):
            name = self._random.choice([n for n in params if n != "quality"])
            params = self._space.completed(params | {name: self._moved(name, params[name])})
        return params

    def _moved(self, name: str, value: Any) -> Any:
        """Another value: of numbers a near one, of choices any."""
        domain = self._space.domain(name)
        if isinstance(domain, Span):
            steps = self._random.choice((-4, -2, -1, -1, 1, 1, 2, 4))
            return domain.at(domain.position(value) + steps)
        if domain.ordered:
            at = domain.values.index(value) + self._random.choice((-2, -1, 1, 2))
            return domain.values[min(max(at, 0), len(domain.values) - 1)]
        return self._random.choice(domain.values)

    def _ranked(self, new: list[dict[str, Any]], known: _Standing) -> list[dict[str, Any]]:
        """The one first that is expected to add most; now and then one of which nothing is known."""
        self._random.shuffle(new)
        told = known.expectation.figures(new)
        strangers = [params for params, figures in zip(new, told, strict=True) if figures is None]
        expected = [(params, _clipped(f)) for params, f in zip(new, told, strict=True) if f is not None]
        if not expected or (strangers and self._random.random() < 0.15):
            return [*strangers, *(params for params, _ in expected)]
        added = known.room.gains(np.array([figures for _, figures in expected]))
        added = np.minimum(added, 0.999 * added.max())  # as good as the best: in any order
        return [*(expected[i][0] for i in np.argsort(-added, kind="stable")), *strangers]


def _clipped(point: Sequence[float]) -> tuple[float, ...]:
    """Gained accuracy counts as none lost: on validation images it may be luck."""
    return (max(point[0], 0.0), *point[1:])


def random_params(space: Space, random: Random) -> dict[str, Any]:
    """Any parameters, each drawn evenly."""

    def choose(name: str, domain: Choice | Span) -> Any:
        return random.choice(domain.values) if isinstance(domain, Choice) else domain.at(random.randrange(domain.stops))

    return space.complete(choose)
