"""Recipes around the one that is looked at, measured one after the other while nobody waits."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compression.jobs import Job
from compression.recipe import Recipe
from compression.recipe.interpolation import around
from pages.ui.model.points import Point
from pages.ui.model.subject import Subject
from pages.ui.state.server import lab

if TYPE_CHECKING:
    from pages.ui.state.visit import Visit

MOST = 12
"""So many recipes around the current one are measured while nobody waits."""


@dataclass
class Neighbours:
    """`on` is whether they are wanted; `filler` is the job of the one that is measured now; `tried` are hashes."""

    on: bool = True
    filler: tuple[Subject, Recipe, Job] | None = None
    tried: set[tuple[Subject, str]] = field(default_factory=set)

    def around(self, visit: "Visit") -> list[Recipe]:
        """A coarse grid around the current recipe, once that is measured."""
        untrained = visit.point and visit.recipe == visit.recipe.untrained
        return around(visit.recipe)[:MOST] if untrained else []

    def left(self, visit: "Visit") -> list[Recipe]:
        """Those that are still to be measured."""
        known = {point.key for point in visit.trail.points}
        wanted = [recipe for recipe in self.around(visit) if recipe.hash not in known]
        return [recipe for recipe in wanted if (visit.subject, recipe.hash) not in self.tried]

    def go_on(self, visit: "Visit") -> bool:
        """Has an idle worker measure the next; whether one has been measured since the last call."""
        filler, self.filler = self.filler, None
        if filler and filler[2].news.state == "working":
            self.filler = filler
            return False
        measured = self._taken(visit, *filler) if filler else False
        if (left := self.left(visit)) and not lab().long.working:
            job = lab().fill(visit.request_for(left[0]))
            self.filler = (visit.subject, left[0], job) if job else None
        return measured

    def _taken(self, visit: "Visit", subject: Subject, recipe: Recipe, job: Job) -> bool:
        """Takes up what a job has ended with; one that was overtaken is tried again."""
        news = job.news
        if news.state in ("done", "refused", "lost"):
            self.tried.add((subject, recipe.hash))
        if news.state != "done" or news.measurement is None:
            return False
        about: dict[str, Any] = {"layers": news.layers, "ledger": news.ledger, "run": news.run or ""}
        visit.trails[subject].know([Point(recipe, news.measurement, True, news.file, "neighbour", **about)])
        return True
