"""The jobs of a tab's choice: its measurement, and its training, which can be stopped, kept as it is and resumed."""

import uuid
from dataclasses import dataclass, field

from compression.errors import UserError
from compression.jobs import Job, Request, can_finish
from compression.recipe import Recipe
from compression.store import JobRecord
from pages.ui.model.choice import Choice
from pages.ui.state.server import lab


@dataclass
class ChoiceJobs:
    """`latest` is the job that was begun last, for the choice `asked`.

    `kept` is the choice whose training was ended where it was stopped: its recipe says at which step.
    """

    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    latest: Job | None = None
    asked: Choice | None = None
    kept: Choice | None = None

    def of(self, choice: Choice) -> Job | None:
        """The latest job, if it is for this choice."""
        return self.latest if self.asked == choice else None

    def measure(self, choice: Choice, *, anew: bool = False) -> None:
        """Has the choice measured, without its training; `anew` whatever the store knows of it."""
        self._set(lab().submit(choice.request, owner=self.owner, anew=anew, train=False), choice)

    def train(self, choice: Choice, minutes: float | None = None) -> None:
        """Begins the choice's training, or resumes it; `minutes` become steps, see `settle`. Raises `UserError`."""
        self._set(lab().long.start(self.trained(choice).request, minutes=minutes), choice)

    def finish(self, choice: Choice) -> None:
        """Ends a stopped training where it is: what it has learned becomes a file. Raises `UserError`."""
        stopped = self.stopped(choice)
        self._set(lab().long.finish(stopped.id if stopped else ""), choice)

    def _set(self, job: Job, choice: Choice) -> None:
        self.latest, self.asked = job, choice

    def trained(self, choice: Choice) -> Choice:
        """The choice as it is trained: where another training was kept before its end, this one goes on to its own."""
        if self.kept is None or self.kept == choice or self.kept.recipe.until != choice.recipe.until:
            return choice
        return choice.with_recipe(choice.recipe.whole)

    def training(self, choice: Choice) -> Job | None:
        """The choice's training, while it waits or works."""
        job = self.of(choice)
        return job if job and job.news.state == "working" and lab().long.get(job.id) else None

    def stopped(self, choice: Choice) -> JobRecord | None:
        """The choice's training that was stopped, in whichever tab; None where there is none."""
        try:
            return lab().long.left(self.trained(choice).request)
        except UserError:  # which the buttons say
            return None

    def can_keep(self, choice: Choice) -> bool:
        """Whether the choice's training was stopped and has learned something by then."""
        stopped = self.stopped(choice)
        return stopped is not None and can_finish(stopped, lab().store.machine.id)

    def settle(self, choice: Choice) -> Recipe | None:
        """The recipe as its job has settled it: with the steps of its minutes, or ended early. None if it is that."""
        job = self.of(choice)
        if job is None or not isinstance(job.request, Request):
            return None
        settled = Recipe.from_json(job.request.recipe)
        if settled == choice.recipe:
            return None
        self.asked = choice.with_recipe(settled)
        if settled.until:
            self.kept = self.asked
        return settled

    def is_settled(self, choice: Choice) -> bool:
        """Whether the latest job carries out the choice's very recipe, with its steps."""
        return self.latest is None or self.latest.request == choice.request
