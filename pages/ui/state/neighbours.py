"""Recipes around the current one, measured one after the other by an idle worker."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from compression.jobs import Job
from compression.recipe import Recipe
from compression.recipe.interpolation import around
from pages.ui.model.choice import Choice
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import Subject
from pages.ui.state.server import lab

MOST = 12
"""So many recipes around the current one are measured."""


class IdleJob(NamedTuple):
    """A neighbour and the job that measures it."""

    choice: Choice
    job: Job


@dataclass
class Neighbours:
    """`on` is whether they are wanted; `current` is the one that is measured now; `tried` are subjects and hashes."""

    on: bool = True
    current: IdleJob | None = None
    tried: set[tuple[Subject, str]] = field(default_factory=set)

    def around(self, choice: Choice, trail: Trail) -> list[Recipe]:
        """A coarse grid around the chosen recipe, once that is measured; none around a recipe that trains."""
        recipe = choice.recipe
        return around(recipe)[:MOST] if recipe.hash in trail.visited and recipe == recipe.untrained else []

    def left(self, choice: Choice, trail: Trail) -> list[Recipe]:
        """Those that are still to be measured."""
        known = {point.key for point in trail.points}
        wanted = [recipe for recipe in self.around(choice, trail) if recipe.hash not in known]
        return [recipe for recipe in wanted if (choice.subject, recipe.hash) not in self.tried]

    def measure_next(self, choice: Choice, trails: dict[Subject, Trail]) -> bool:
        """Has an idle worker measure the next; whether one has been measured since the last call.

        `trails` take up the point of the one that was measured, which may be of another network.
        """
        if self.current and self.current.job.news.state == "working":
            return False
        ended, self.current = self.current, None
        measured = self._take(*ended, trails) if ended else False
        if (left := self.left(choice, trails[choice.subject])) and not lab().long.working:
            wanted = choice.with_recipe(left[0])
            job = lab().submit_idle(wanted.request)
            self.current = IdleJob(wanted, job) if job else None
        return measured

    def _take(self, choice: Choice, job: Job, trails: dict[Subject, Trail]) -> bool:
        """Takes up what a job has ended with; one that was overtaken is tried again."""
        news, (subject, recipe) = job.news, choice
        if news.state in ("done", "refused", "lost"):
            self.tried.add((subject, recipe.hash))
        if news.state != "done" or news.measurement is None:
            return False
        about: dict[str, Any] = {"layers": news.layers, "ledger": news.ledger, "run": news.run or ""}
        trails[subject].know([Point(recipe, news.measurement, True, news.file, "neighbour", **about)])
        return True
