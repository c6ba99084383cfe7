"""What a visit holds: one browser tab's network, recipe, points and view, and what it waits for."""

import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

import streamlit as st

from compression import jobs
from compression.errors import UnknownName, UserError
from compression.jobs import Job, News, Request, can_finish
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint
from compression.store import JobRecord
from pages.ui.model import links, widget_values
from pages.ui.model import subject as subjects
from pages.ui.model.expected import Foreseen, foresee
from pages.ui.model.links import RUN, START, link_of, read_link
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import Subject
from pages.ui.model.view import View, fill
from pages.ui.state.neighbours import Neighbours
from pages.ui.state.server import is_of, known, lab, remembered, store
from pages.ui.state.slider_stops import Stops
from pages.ui.state.sweeps import Sweep
from pages.ui.state.tab import TICK_S, asked, look, went_through_history

OUTDATED = "The run {run} is of weights that this network has no more. Its recipe is measured on those that it has now."
MISSING = "The run {run} is not in the store here: it was deleted, or measured elsewhere. Its recipe is measured here."

POINT = 0.01
"""What "at 1 point" means."""


@dataclass
class Visit:
    """One browser tab. `undone` are the recipes that Redo brings back, the next one last.

    `job` is about what was `asked`. A recipe that trains is trained when the user says so, by `train`; until then its
    `now` is the file that the training would start from. What of it was `kept` before its end is a recipe of its own. A
    run that a link names is `opened`, with a `remark` on it.
    """

    subject: Subject
    recipe: Recipe = START
    view: View = field(default_factory=View)
    next_view: View | None = None
    next_recipe: tuple[Recipe, str] | None = None
    search: Future[Any] | None = None
    notice: str = ""
    opened: Point | None = None
    remark: str = ""
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    job: Job | None = None
    asked: tuple[Subject, Recipe] | None = None
    kept: tuple[Subject, Recipe] | None = None
    link: dict[str, str] = field(default_factory=dict)
    trails: dict[Subject, Trail] = field(default_factory=dict)
    done: list[Recipe] = field(default_factory=list)
    undone: list[Recipe] = field(default_factory=list)
    selected: str = ""
    deselected: int = 0
    wanted: set[str] = field(default_factory=set)
    stops: Stops = field(default_factory=Stops)
    neighbours: Neighbours = field(default_factory=Neighbours)
    sweeps: dict[Subject, Sweep] = field(default_factory=dict)

    @property
    def trail(self) -> Trail:
        """The points of the network and images chosen now."""
        if self.subject not in self.trails:
            self.trails[self.subject] = known(self.subject)
        return self.trails[self.subject]

    @property
    def sweep(self) -> Sweep:
        """What is known of the sensitivities of the network's layers."""
        return self.sweeps.setdefault(self.subject, Sweep(self.subject))

    @property
    def request(self) -> Request:
        """What the current choice asks of the worker."""
        return self.request_for(self.recipe)

    def request_for(self, recipe: Recipe) -> Request:
        """What a recipe for the current network and images asks of the worker."""
        return Request(self.subject.model, self.subject.weights, self.subject.dataset, recipe.to_json())

    @property
    def plain_request(self) -> Request:
        """What concerns the network itself, whatever the recipe."""
        return self.request_for(Recipe())

    @property
    def point(self) -> Point | None:
        """The current recipe's point, if it was measured in full."""
        return self.trail.visited.get(self.recipe.hash)

    @property
    def start(self) -> Point | None:
        """What the current recipe's training starts from, if it was measured in full; the point itself without one."""
        return self.trail.visited.get(self.recipe.untrained.hash)

    @property
    def now(self) -> Point | None:
        """The current recipe's point as far as it is measured, or what its training starts from."""
        known = self.point or self.start
        if known is not None or not self._is_asked:
            return known
        news = self.job.news if self.job else None
        if news is None or news.measurement is None:
            return None
        return Point(self.recipe, news.measurement, news.full)

    @property
    def training(self) -> Job | None:
        """The training of the current recipe, while it waits or works."""
        job = self.job if self._is_asked else None
        return job if job and job.news.state == "working" and lab().long.get(job.id) else None

    @property
    def _is_asked(self) -> bool:
        """Whether the job is about the current choice."""
        return self.job is not None and self.asked == (self.subject, self.recipe)

    @property
    def plain(self) -> Recipe:
        """The current seed and calibration without any step."""
        return Recipe.from_dict({**self.recipe.to_dict(), "steps": []})

    @property
    def curve(self) -> tuple[LearningPoint, ...]:
        """What the current recipe's network has learned so far."""
        return self.job.news.curve if self.job is not None and self._is_asked else ()

    def choose(self, subject: Subject, recipe: Recipe) -> None:
        """Takes over what the widgets say, writes the link, and asks for a measurement where one is missing."""
        if (subject, recipe) != (self.subject, self.recipe):
            if subject == self.subject:
                self.done, self.undone = [*self.done, self.recipe], []
            self.subject, self.recipe = subject, recipe
            self._say_nothing()
        self._write_link()
        stopped = self.job is not None and self.job.news.state == "overtaken" and self.now is None
        if self.point is None and (stopped or not self._is_asked):
            self._ask(lab().submit(self.request, owner=self.owner, train=False))
        if self.point is None and self.job:
            self._kept(self.job.news)

    def _ask(self, job: Job) -> None:
        self.job, self.asked = job, (self.subject, self.recipe)

    def train(self, minutes: float | None = None) -> None:
        """Begins the current recipe's training, or goes on with it; minutes become its steps, see `settle`."""
        self._begin(lambda: lab().long.start(self.request_for(self.to_train), minutes=minutes))

    @property
    def to_train(self) -> Recipe:
        """The current recipe as it is trained: where another training was kept before its end, this one goes on."""
        if self.kept is None or self.kept == (self.subject, self.recipe) or self.kept[1].until != self.recipe.until:
            return self.recipe
        return self.recipe.whole

    def keep(self) -> None:
        """Ends the current recipe's training where it was stopped: what it has learned becomes a file."""
        left = self.left
        self._begin(partial(lab().long.finish, left.id if left else ""))

    @property
    def left(self) -> JobRecord | None:
        """The current recipe's training that was stopped, in whichever tab; None where there is none."""
        try:
            return lab().long.left(self.request_for(self.to_train))
        except UserError:  # which the buttons say
            return None

    @property
    def can_keep(self) -> bool:
        """Whether the current recipe's training was stopped and has learned something by then."""
        left = self.left
        return left is not None and can_finish(left, lab().store.machine.id)

    def _begin(self, start: Callable[[], Job]) -> None:
        """Asks for the training that `start` begins; what stands in its way becomes the notice."""
        try:
            job = start()
        except UserError as error:
            self.notice = str(error)
        else:
            self.trail.visited.pop(self.recipe.hash, None)
            self._ask(job)

    def settle(self) -> bool:
        """Takes into the recipe what its job has settled: the steps of its minutes, or where it was ended.

        To be called before the widgets are drawn.
        """
        job, asked = self.job, self.asked
        if job is None or asked != (self.subject, self.recipe) or not isinstance(job.request, Request):
            return False
        settled = Recipe.from_json(job.request.recipe)
        if settled == self.recipe:
            return False
        self._show(settled)
        self._ask(job)
        if settled.until:
            self.kept = self.asked
        return True

    @property
    def is_settled(self) -> bool:
        """Whether the job is about the very recipe that is shown, with its steps."""
        return self.job is None or self.job.request == self.request

    def look(self, view: View) -> None:
        """Takes over how the points are looked at, and writes the link."""
        self.view = view
        self._write_link()

    def find_smallest(self) -> None:
        """Asks for the recipe of the smallest file that loses at most a point, chosen on validation images."""
        self.search = self.answer("smallest", jobs.smallest_recipe, self.request_for(self.plain), POINT)

    def load_next(self, recipe: Recipe, remark: str) -> None:
        """Has the next run of the page begin with this recipe; what has just been drawn cannot show it any more."""
        self.next_recipe = (recipe, remark)

    def look_next(self, view: View) -> None:
        """Has the next run of the page begin with this view; what has just been drawn cannot show it any more."""
        self.next_view = view

    def foresee(self) -> Foreseen:
        """What the known points let expect of the current recipe and along its sliders."""
        return foresee(self.recipe, self.trail.points, self.stops.positions)

    def measure_again(self) -> None:
        """Measures the current recipe anew, whatever the store knows of it."""
        self.trail.visited.pop(self.recipe.hash, None)
        if self.recipe == self.recipe.untrained:
            self._ask(lab().submit(self.request, owner=self.owner, anew=True))
        else:
            self.train()

    def load(self, recipe: Recipe) -> None:
        """Puts a recipe into the widgets; to be called before they are drawn."""
        if recipe != self.recipe:
            self.done, self.undone = [*self.done, self.recipe], []
            self._show(recipe)

    def undo(self) -> None:
        """Back to the recipe before."""
        if self.done:
            self.undone.append(self.recipe)
            self._show(self.done.pop())

    def redo(self) -> None:
        """Forward to the recipe that was undone last."""
        if self.undone:
            self.done.append(self.recipe)
            self._show(self.undone.pop())

    def draw_seed(self) -> None:
        """Another seed at random."""
        self.load(Recipe.from_dict({**self.recipe.to_dict(), "seed": secrets.randbelow(100_000)}))

    def _show(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._say_nothing()
        st.session_state.update(widget_values.fill(self.subject, recipe))

    def _say_nothing(self) -> None:
        self.notice, self.remark, self.opened = "", "", None

    def pin(self, key: str) -> None:
        """Marks a point, or takes the mark off."""
        self.trail.pinned ^= {key}

    def deselect(self) -> None:
        """Lets go of the selected point; how often that was done tells a table whose tick is to come off."""
        self.selected, self.deselected = "", self.deselected + 1

    def news(self, until: float = inf) -> Iterator[News]:
        """How the current recipe stands, at once and whenever that changes, until it is measured or the clock says so.

        Of a training there is one piece of news: whoever shows it looks again by itself.
        """
        if self.point is not None:
            self.trail.add(self.point)
            yield News(state="done", measurement=self.point.measurement, full=True, file=self.point.file)
            return
        assert self.job is not None
        news = self.job.news
        yield self._kept(news)
        while news.state == "working" and not self.training and time.monotonic() < until:
            seen, news = news.number, self.job.wait(after=news.number, timeout=TICK_S)
            look()
            if news.number > seen:
                yield self._kept(news)

    def _kept(self, news: News) -> News:
        if news.baseline is not None:
            self.trail.baseline = news.baseline
        if news.state in ("done", "untrained") and news.measurement is not None:
            recipe = self.recipe if news.state == "done" else self.recipe.untrained
            about: dict[str, Any] = {"layers": news.layers, "ledger": news.ledger, "run": news.run or ""}
            self.trail.add(Point(recipe, news.measurement, True, news.file, **about))
        return news

    def answer(self, name: str, question: Callable[..., Any], *about: Any) -> Future[Any]:
        """The worker's answer to a question about the current network and images."""
        return asked((name, self.subject, *(a for a in about if not isinstance(a, bytes))), question, *about)

    def open(self, link: dict[str, str]) -> None:
        """Takes over a link, whole or not at all; what is wrong with it becomes the notice."""
        self.link = link
        self._say_nothing()
        try:
            subject, recipe, view = read_link(link)
        except UserError as error:
            self.notice = f"This link cannot be opened, so the page shows its usual start. {error}"
            subject, recipe, view = subjects.default(), START, View()
        self.subject, self.recipe, self.view = subject, recipe, view
        if RUN in link and not self.notice:
            self._open_run(link[RUN])
        subject, recipe = self.subject, self.recipe
        st.session_state.update(widget_values.fill(subject, recipe) | fill(view))

    def _open_run(self, wanted: str) -> None:
        """Shows the very run that a link names, where the store has it; what there is to say becomes the remark."""
        try:
            run = store().run(wanted)
            subject, recipe = Subject(run.subject.model, run.subject.weights, run.subject.dataset), run.recipe
            if not subject.is_trained:
                raise UnknownName("network", subject.title, [])
        except UserError:
            self.remark = MISSING.format(run=wanted)
            return
        self.subject, self.recipe = subject, recipe
        if not is_of(run, subject):
            self.remark = OUTDATED.format(run=wanted)
            return
        self.opened = remembered(run)
        self.trail.add(self.opened)
        self.remark = links.told(run, store().latencies(run.id))

    def _write_link(self) -> None:
        link = link_of(self.subject, self.recipe, self.view, self.opened.run if self.opened else "")
        if link != self.link or not st.query_params.to_dict():  # which the menu's links to other pages leave behind
            self.link = link
            st.query_params.from_dict(link)


def visit() -> Visit:
    """This tab's visit."""
    if "visit" not in st.session_state:
        st.session_state["visit"] = Visit(subjects.default())
    return st.session_state["visit"]


def opened() -> Visit:
    """The visit at the start of a run of the page, with the link opened that a new tab or the Back button brings.

    Any other link is one that the page wrote itself; the browser reports it late, when it has written more of them.
    """
    new = st.session_state.pop("elsewhere", False) or "visit" not in st.session_state
    here, link = visit(), st.query_params.to_dict()
    if link and link != here.link and (new or went_through_history()):
        here.open(link)
    here.settle()
    if here.next_recipe:
        (recipe, remark), here.next_recipe = here.next_recipe, None
        here.load(recipe)
        here.remark = remark
    if here.next_view:
        st.session_state.update(fill(here.next_view))
        here.next_view = None
    for name, value in (widget_values.fill(here.subject, here.recipe) | fill(here.view)).items():
        st.session_state.setdefault(name, value)  # widgets lose what they show when they leave the page
    here.stops.find(here)
    return here
