"""What a search keeps of its trials: the front, the best and the newest. Of all others it knows only what they tried.

So what a proposal costs, and the memory of a search, do not grow with its trials; the database has all of them.
"""

from bisect import insort
from functools import cached_property
from hashlib import blake2b

from compression.records.search import Trial
from compression.searching.objectives import best, best_front, most_drop
from compression.searching.rounds import Bar, bar
from compression.searching.settings import SearchSettings

LOOKED_BACK = 1000
"""Proposals go by the front and so many of the newest trials."""

MOST_CHARACTERS = 20_000_000
"""Fewer are kept where their recipes, which can name a number of bits for each of thousands of layers, are longer."""


class History:
    """The trials of a search that have ended. `longest` is the time in seconds that a complete one took at most."""

    def __init__(self, settings: SearchSettings):
        self._settings = settings
        self.count, self.longest = 0, 0.0
        self.front = list[Trial]()
        self._newest = list[Trial]()
        self._characters = 0
        self._best: Trial | None = None
        self._tried = set[bytes]()

    def add(self, trial: Trial) -> None:
        """A trial that has ended; what the front lost to others before does not come back."""
        self.count += 1
        self.note(trial.recipe)
        if trial.state == "complete":
            self.longest = max(self.longest, trial.seconds)
            self.front = best_front([*self.front, trial], self._settings)
            self._best = best([*([self._best] if self._best else []), trial], self._settings)
        insort(self._newest, trial, key=lambda each: each.number)
        self._characters += len(trial.recipe)
        while len(self._newest) > LOOKED_BACK or (len(self._newest) > 1 and self._characters > MOST_CHARACTERS):
            self._characters -= len(self._newest.pop(0).recipe)
        for name in ("looked_at", "bar"):
            self.__dict__.pop(name, None)

    def note(self, recipe: str) -> None:
        """A recipe (JSON) that is tried, whatever comes of it."""
        self._tried.add(_digest(recipe))

    def has(self, recipe: str) -> bool:
        """Whether a recipe (JSON) is or was tried."""
        return _digest(recipe) in self._tried

    @property
    def best(self) -> Trial | None:
        """Of all trials that have ended; see `objectives.best`."""
        return best([*self.front, *([self._best] if self._best else [])], self._settings)

    @cached_property
    def looked_at(self) -> list[Trial]:
        """Trials that proposals go by, in the order of their numbers; the same list until one more ends."""
        earlier = (t for t in self.front if t.number < self._newest[0].number)
        return sorted(earlier, key=lambda t: t.number) + self._newest

    @cached_property
    def bar(self) -> Bar:
        """What a trial has to pass that is sent before one more ends."""
        return bar(self.looked_at, most_drop(self._settings), self._settings.limits)


def _digest(recipe: str) -> bytes:
    return blake2b(recipe.encode(), digest_size=16).digest()
