"""What one browser tab holds: network, images, recipe and view, the points that it knows, and what it waits for."""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from typing import Any

import streamlit as st

from compression import jobs
from compression.errors import UserError
from compression.jobs import Job, News, Request
from compression.probing.receiver import Receiver
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint
from compression.store.probes import Added
from pages.ui.model import subject as subjects
from pages.ui.model import widget_values
from pages.ui.model.choice import Choice
from pages.ui.model.expected import Foreseen, foresee
from pages.ui.model.links import START
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import Subject
from pages.ui.model.view import View, fill
from pages.ui.state import language
from pages.ui.state.choice_jobs import ChoiceJobs
from pages.ui.state.history import History
from pages.ui.state.link import Link
from pages.ui.state.neighbours import Neighbours
from pages.ui.state.selection import Selection
from pages.ui.state.server import known
from pages.ui.state.slider_stops import SliderStops
from pages.ui.state.sweeps import Sweep
from pages.ui.state.tab import TICK_S, asked_about, look, went_through_history

POINT = 0.01
"""What "at 1 point" means."""


class Trails(dict[Subject, Trail]):
    """The points by network and images; those of another one begin with what the store and the app know of it."""

    def __missing__(self, subject: Subject) -> Trail:
        self[subject] = known(subject)
        return self[subject]


@dataclass
class Visit:
    """One browser tab. What it is made of has classes of its own: link, history, jobs, selection, stops, neighbours.

    `opened` is the stored run that the link names, `remark` says what there is to say of it in the language that is
    spoken then, `notice` is what went wrong, in English sentences. A recipe that trains is trained when the user says
    so, by `train`; until then its `now` is the file that the training would start from. `search` is the answer to
    `find_smallest`. `next_recipe` and `next_view` are shown by the page's next run.
    """

    subject: Subject
    recipe: Recipe = START
    view: View = field(default_factory=View)
    next_view: View | None = None
    next_recipe: tuple[Recipe, Callable[[], str]] | None = None
    search: Future[Any] | None = None
    notice: tuple[str, ...] = ()
    remark: Callable[[], str] = str
    opened: Point | None = None
    prepared_files: set[str] = field(default_factory=set)
    receiver: Receiver[Added] | None = None
    trails: Trails = field(default_factory=Trails)
    sweeps: dict[Subject, Sweep] = field(default_factory=dict)
    link: Link = field(default_factory=Link)
    history: History = field(default_factory=History)
    jobs: ChoiceJobs = field(default_factory=ChoiceJobs)
    selection: Selection = field(default_factory=Selection)
    stops: SliderStops = field(default_factory=SliderStops)
    neighbours: Neighbours = field(default_factory=Neighbours)

    @property
    def choice(self) -> Choice:
        """What is chosen now: network, images and recipe."""
        return Choice(self.subject, self.recipe)

    @property
    def trail(self) -> Trail:
        """The points of the network and images chosen now."""
        return self.trails[self.subject]

    @property
    def sweep(self) -> Sweep:
        """What is known of the sensitivities of the network's layers."""
        return self.sweeps.setdefault(self.subject, Sweep(self.subject))

    def request_for(self, recipe: Recipe) -> Request:
        """The request that has a worker carry out a recipe for the current network and images."""
        return Choice(self.subject, recipe).request

    @property
    def plain_request(self) -> Request:
        """What concerns the network itself, whatever the recipe."""
        return self.request_for(Recipe())

    @property
    def plain(self) -> Recipe:
        """The current seed and calibration without any step."""
        return Recipe.from_dict({**self.recipe.to_dict(), "steps": []})

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
        known, job = self.point or self.start, self.jobs.of(self.choice)
        if known is not None or job is None or job.news.measurement is None:
            return known
        return Point(self.recipe, job.news.measurement, job.news.full)

    @property
    def training(self) -> Job | None:
        """The training of the current recipe, while it waits or works."""
        return self.jobs.training(self.choice)

    @property
    def curve(self) -> tuple[LearningPoint, ...]:
        """What the current recipe's network has learned so far."""
        job = self.jobs.of(self.choice)
        return job.news.curve if job else ()

    def choose(self, subject: Subject, recipe: Recipe) -> None:
        """Takes over what the widgets say, writes the link, and asks for a measurement where one is missing."""
        if (subject, recipe) != (self.subject, self.recipe):
            if subject == self.subject:
                self.history.record(self.recipe)
            self.subject, self.recipe = subject, recipe
            self._clear_messages()
        self._write_link()
        if self.point is None:
            self._measure()

    def _measure(self) -> None:
        """Asks for the measurement of the current choice, unless it is under way, and takes up what is known of it."""
        job = self.jobs.of(self.choice)
        if job is None or (job.news.state == "overtaken" and self.now is None):
            self.jobs.measure(self.choice)
        if job := self.jobs.of(self.choice):
            self._take(job.news)

    def train(self, minutes: float | None = None) -> None:
        """Begins the current recipe's training, or resumes it; minutes become its steps, see `settle`."""
        self._begin(lambda: self.jobs.train(self.choice, minutes))

    def keep(self) -> None:
        """Ends the current recipe's training where it was stopped: what it has learned becomes a file."""
        self._begin(lambda: self.jobs.finish(self.choice))

    def _begin(self, begin: Callable[[], None]) -> None:
        """Begins a training; what stands in its way becomes the notice."""
        try:
            begin()
        except UserError as error:
            self.notice = (str(error),)
        else:
            self.trail.visited.pop(self.recipe.hash, None)

    def settle(self) -> bool:
        """Takes into the recipe what its job has settled: the steps of its minutes, or where it was ended.

        To be called before the widgets are drawn.
        """
        settled = self.jobs.settle(self.choice)
        if settled is not None:
            self._show(settled)
        return settled is not None

    def measure_again(self) -> None:
        """Measures the current recipe anew, whatever the store knows of it."""
        self.trail.visited.pop(self.recipe.hash, None)
        if self.recipe == self.recipe.untrained:
            self.jobs.measure(self.choice, anew=True)
        else:
            self.train()

    def look(self, view: View) -> None:
        """Takes over how the points are looked at, and writes the link."""
        self.view = view
        self._write_link()

    def find_smallest(self) -> None:
        """Asks for the recipe of the smallest file that loses at most a point, chosen on validation images."""
        self.search = self.answer("smallest", jobs.smallest_recipe, self.request_for(self.plain), POINT)

    def load_next(self, recipe: Recipe, remark: Callable[[], str]) -> None:
        """Has the next run of the page begin with this recipe; what has just been drawn cannot show it any more."""
        self.next_recipe = (recipe, remark)

    def look_next(self, view: View) -> None:
        """Has the next run of the page begin with this view; what has just been drawn cannot show it any more."""
        self.next_view = view

    def foresee(self, trail: Trail) -> Foreseen:
        """What the known points let expect of the current recipe and along its sliders."""
        return foresee(self.recipe, trail.points, self.stops.positions)

    def load(self, recipe: Recipe) -> None:
        """Puts a recipe into the widgets; to be called before they are drawn."""
        if recipe != self.recipe:
            self.history.record(self.recipe)
            self._show(recipe)

    def undo(self) -> None:
        """Back to the recipe before."""
        if self.history.past:
            self._show(self.history.undo(self.recipe))

    def redo(self) -> None:
        """Forward to the recipe that was undone last."""
        if self.history.undone:
            self._show(self.history.redo(self.recipe))

    def draw_seed(self) -> None:
        """Another seed at random."""
        self.load(Recipe.from_dict({**self.recipe.to_dict(), "seed": secrets.randbelow(100_000)}))

    def _show(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._clear_messages()
        st.session_state.update(widget_values.fill(self.subject, recipe))

    def _clear_messages(self) -> None:
        self.notice, self.remark, self.opened = (), str, None

    def news(self, until: float = inf) -> Iterator[News]:
        """How the current recipe stands, at once and whenever that changes, until it is measured or the clock says so.

        Of a training there is one piece of news: the panel that shows it asks again by itself.
        """
        if self.point is not None:
            self.trail.add(self.point)
            yield News(state="done", measurement=self.point.measurement, full=True, file=self.point.file)
            return
        assert self.jobs.latest is not None
        news = self.jobs.latest.news
        yield self._take(news)
        while news.state == "working" and not self.training and time.monotonic() < until:
            seen, news = news.number, self.jobs.latest.wait(after=news.number, timeout=TICK_S)
            look()
            if news.number > seen:
                yield self._take(news)

    def _take(self, news: News) -> News:
        """Takes up the baseline and the point that a job's news bring."""
        if news.baseline is not None:
            self.trail.baseline = news.baseline
        if news.state in ("done", "untrained") and news.measurement is not None:
            recipe = self.recipe if news.state == "done" else self.recipe.untrained
            about: dict[str, Any] = {"layers": news.layers, "ledger": news.ledger, "run": news.run or ""}
            self.trail.add(Point(recipe, news.measurement, True, news.file, **about))
        return news

    def answer(self, name: str, question: Callable[..., Any], *about: Any) -> Future[Any]:
        """The worker's answer to a question about the current network and images."""
        return asked_about(self.subject, name, question, *about)

    def open(self, query: dict[str, str]) -> None:
        """Takes over a link, whole or not at all; what is wrong with it becomes the notice."""
        found = self.link.open(query)
        (self.subject, self.recipe), self.view, self.opened = found.choice, found.view, found.run
        self.notice, self.remark = found.notice, found.remark
        if self.opened:
            self.trail.add(self.opened)
        st.session_state.update(widget_values.fill(self.subject, self.recipe) | fill(self.view))

    def _write_link(self) -> None:
        self.link.write(self.choice, self.view, self.opened)

    def draw_next(self) -> None:
        """Puts into the widgets what the run before has settled or asked for; to be called before they are drawn."""
        self.settle()
        if self.next_recipe:
            (recipe, remark), self.next_recipe = self.next_recipe, None
            self.load(recipe)
            self.remark = remark
        if self.next_view:
            st.session_state.update(fill(self.next_view))
            self.next_view = None
        for name, value in (widget_values.fill(self.subject, self.recipe) | fill(self.view)).items():
            st.session_state.setdefault(name, value)  # widgets lose what they show when they leave the page
        self.stops.update(self.choice)


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
    here, link = visit(), language.query()
    if link and link != here.link.query and (new or went_through_history()):
        here.open(link)
    here.draw_next()
    return here
