"""What a visit holds, and the only place that touches `st.session_state`, the link, and the one Lab of the server."""

import secrets
import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from compression import reference
from compression.errors import StoreUnavailable, UserError
from compression.jobs import Job, Lab, News, Request, Sweeping
from compression.recipe import Recipe
from compression.results import LayerSensitivity, LearningPoint
from compression.steps import Prune, Quantize
from compression.store import Run, Store
from compression.worker import Baseline
from pages.ui import forms, views
from pages.ui import subject as subjects
from pages.ui.foresight import Foreseen, foresee
from pages.ui.points import Point, Trail
from pages.ui.subject import Subject
from pages.ui.views import View

START = Recipe(steps=(Prune(), Quantize()), quality="fast")
"""What a first visit shows: the two best-known techniques at their defaults, found quickly enough to play with."""

ANSWERS = 20
"""So many answers of the worker are kept for a tab."""

REMEMBERED = 300
"""So many earlier runs stand on the charts at most."""

TICK_S = 0.25
"""How long the page waits for news before it looks whether the user has touched something."""


@st.cache_resource(show_spinner=False)
def lab() -> Lab:
    """The one of this server; its first use starts the worker."""
    return Lab()


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """What this machine, and whoever shares its database, has measured."""
    return Store.open()


@dataclass
class Visit:
    """One browser tab. `undone` are the recipes that Redo brings back, the next one last."""

    subject: Subject
    recipe: Recipe = START
    view: View = field(default_factory=View)
    notice: str = ""
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    job: Job | None = None
    link: dict[str, str] = field(default_factory=dict)
    trails: dict[Subject, Trail] = field(default_factory=dict)
    done: list[Recipe] = field(default_factory=list)
    undone: list[Recipe] = field(default_factory=list)
    selected: str = ""
    wanted: set[str] = field(default_factory=set)
    sweeps: dict[Subject, dict[str, LayerSensitivity]] = field(default_factory=dict)
    swept: dict[Subject, str] = field(default_factory=dict)
    sweepers: dict[Subject, Job] = field(default_factory=dict)

    @property
    def trail(self) -> Trail:
        """The points of the network and images chosen now."""
        if self.subject not in self.trails:
            self.trails[self.subject] = known(self.subject)
        return self.trails[self.subject]

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
    def curves(self) -> dict[str, LayerSensitivity]:
        """The sensitivities of the network's layers that this visit knows."""
        return self.sweeps.setdefault(self.subject, {})

    @property
    def sweep(self) -> Job | None:
        """The job that finds the sensitivities out, whoever began it; the last one of this visit where none works."""
        return lab().long.find(Sweeping(**vars(self.subject))) or self.sweepers.get(self.subject)

    def begin_sweep(self) -> None:
        """Has the sensitivities found out that are not known yet."""
        self.sweepers[self.subject] = lab().long.start(Sweeping(**vars(self.subject)))

    def end_sweep(self) -> None:
        """Stops that; what is known stays so."""
        if (job := self.sweep) is not None:
            lab().long.cancel(job.id)

    @property
    def point(self) -> Point | None:
        """The current recipe's point, if it was measured in full."""
        return self.trail.visited.get(self.recipe.hash)

    @property
    def now(self) -> Point | None:
        """The current recipe's point as far as it is measured."""
        if self.point is not None or self.job is None or self.job.request != self.request:
            return self.point
        news = self.job.news
        return None if news.measurement is None else Point(self.recipe, news.measurement, news.full)

    @property
    def plain(self) -> Recipe:
        """The current seed and calibration without any step."""
        return Recipe.from_dict({**self.recipe.to_dict(), "steps": []})

    @property
    def curve(self) -> tuple[LearningPoint, ...]:
        """What the current recipe's network has learned so far."""
        return self.job.news.curve if self.job is not None and self.job.request == self.request else ()

    def choose(self, subject: Subject, recipe: Recipe) -> None:
        """Takes over what the widgets say, writes the link, and asks for a measurement where one is missing."""
        if (subject, recipe) != (self.subject, self.recipe):
            if subject == self.subject:
                self.done, self.undone = [*self.done, self.recipe], []
            self.subject, self.recipe, self.notice = subject, recipe, ""
        self._write_link()
        if self.point is None and (self.job is None or self.job.request != self.request):
            self.job = lab().submit(self.request, owner=self.owner)

    def look(self, view: View) -> None:
        """Takes over how the points are looked at, and writes the link."""
        self.view = view
        self._write_link()

    def foresee(self) -> Foreseen:
        """What the known points let expect of the current recipe and along its sliders."""
        return foresee(self.recipe, self.trail.points)

    def measure_again(self) -> None:
        """Measures the current recipe anew, whatever the store knows of it."""
        self.trail.visited.pop(self.recipe.hash, None)
        self.job = lab().submit(self.request, owner=self.owner, anew=True)

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
        self.recipe, self.notice = recipe, ""
        st.session_state.update(forms.fill(self.subject, recipe))

    def pin(self, key: str) -> None:
        """Marks a point, or takes the mark off."""
        self.trail.pinned ^= {key}

    def news(self) -> Iterator[News]:
        """How the current recipe stands, at once and whenever that changes, until it is settled."""
        if self.point is not None:
            self.trail.add(self.point)
            yield News(state="done", measurement=self.point.measurement, full=True, file=self.point.file)
            return
        assert self.job is not None
        news = self.job.news
        yield self._kept(news)
        while news.state == "working":
            seen, news = news.number, self.job.wait(after=news.number, timeout=TICK_S)
            visit()  # Streamlit looks here whether the user has moved something, and if so starts the page afresh
            if news.number > seen:
                yield self._kept(news)

    def _kept(self, news: News) -> News:
        if news.baseline is not None:
            self.trail.baseline = news.baseline
        if news.state == "done" and news.measurement is not None:
            point = Point(self.recipe, news.measurement, True, news.file, layers=news.layers, ledger=news.ledger)
            self.trail.add(point)
        return news

    def answer(self, name: str, question: Callable[..., Any], *about: Any) -> Future[Any]:
        """The worker's answer to a question about the current network and images."""
        return asked((name, self.subject, *(a for a in about if not isinstance(a, bytes))), question, *about)

    def open(self, link: dict[str, str]) -> None:
        """Takes over a link, whole or not at all; what is wrong with it becomes the notice."""
        self.link, self.notice = link, ""
        try:
            subject, recipe, view = read_link(link)
        except UserError as error:
            self.notice = f"This link cannot be opened, so the page shows its usual start. {error}"
            subject, recipe, view = subjects.default(), START, View()
        self.subject, self.recipe, self.view = subject, recipe, view
        st.session_state.update(forms.fill(subject, recipe) | views.fill(view))

    def _write_link(self) -> None:
        link = link_of(self.subject, self.recipe, self.view)
        if link != self.link or not st.query_params.to_dict():  # which the menu's links to other pages leave behind
            self.link = link
            st.query_params.from_dict(link)


@dataclass
class Learning:
    """The first prediction for each question of each lesson in this tab, as the number of the option."""

    answers: dict[tuple[str, str], int] = field(default_factory=dict)
    hits: set[tuple[str, str]] = field(default_factory=set)

    def answer(self, lesson: str, question: str, option: int, *, right: bool) -> None:
        """Keeps a prediction; the first one counts."""
        if (lesson, question) not in self.answers:
            self.answers[lesson, question] = option
            self.hits |= {(lesson, question)} if right else set()

    def answered(self, lesson: str) -> int:
        """How many questions of a lesson have been answered."""
        return sum(name == lesson for name, _ in self.answers)

    def right(self, lesson: str) -> int:
        """How many of them rightly."""
        return sum(name == lesson for name, _ in self.hits)


def learning() -> Learning:
    """How far this tab's lessons are. A link that leads from a lesson to Explore is taken up there."""
    st.session_state["elsewhere"] = True
    if "learning" not in st.session_state:
        st.session_state["learning"] = Learning()
    return st.session_state["learning"]


def elsewhere() -> None:
    """Says that this page is none that shows the visit: a link that leads from it to Explore is taken up there."""
    st.session_state["elsewhere"] = True


def chosen_lesson(known: Sequence[str]) -> str:
    """The lesson that the link names, or the first."""
    named = st.query_params.get("lesson", "")
    return named if named in known else known[0]


@dataclass
class Tale:
    """Where the demo stands."""

    story: int = 0
    slide: int = 0

    def open(self, story: int) -> None:
        """Another story begins with its first slide."""
        if story != self.story:
            self.story, self.slide = story, 0

    def turn(self, by: int) -> None:
        """To a slide before or after; the page keeps it within the story."""
        self.slide = max(0, self.slide + by)


def tale() -> Tale:
    """This tab's place in the demo."""
    if "tale" not in st.session_state:
        st.session_state["tale"] = Tale()
    return st.session_state["tale"]


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
    if link and link != here.link and (new or _went_through_history()):
        here.open(link)
    for name, value in (forms.fill(here.subject, here.recipe) | views.fill(here.view)).items():
        st.session_state.setdefault(name, value)  # widgets lose what they show when they leave the page
    return here


def asked(key: Hashable, question: Callable[..., Any], *about: Any) -> Future[Any]:
    """The worker's answer to a question; asked once in a tab, again where it failed."""
    answers: dict[Hashable, Future[Any]] = st.session_state.setdefault("answers", {})
    answer = answers.get(key)
    if answer is None or (answer.done() and answer.exception() is not None):
        answers[key] = lab().ask(question, *about)
        while len(answers) > ANSWERS:
            answers.pop(next(iter(answers)))
    return answers[key]


@dataclass
class Table:
    """The page Compare in one tab: which two runs stand side by side, and what was deleted last."""

    a: str = ""
    b: str = ""
    notice: str = ""
    deleted: list[str] = field(default_factory=list)

    def put(self, chosen: list[Run]) -> None:
        """Puts two runs side by side."""
        self.a, self.b = (run.id for run in chosen)
        self._show()

    def fit(self, runs: list[Run]) -> None:
        """Keeps A and B among the runs there are: at first the two newest of one network and its images."""
        ids = {run.id for run in runs}
        newest = runs[0]
        second = next((r for r in runs[1:] if r.subject == newest.subject), newest)
        if self.a not in ids:
            self.a = second.id
        if self.b not in ids:
            self.b = newest.id
        for side in ("a", "b"):
            if st.session_state.get(f"compare.{side}") not in ids:
                st.session_state[f"compare.{side}"] = getattr(self, side)

    def look(self) -> None:
        """Takes over which two runs the lists show, and writes the link."""
        self.a, self.b = st.session_state["compare.a"], st.session_state["compare.b"]
        link = {"a": self.a, "b": self.b}
        if st.query_params.to_dict() != link:
            st.query_params.from_dict(link)

    def favour(self, chosen: list[Run], value: bool) -> None:
        """Marks runs as favourites, or takes the mark off."""
        for run in chosen:
            store().favourite(run.id, value)

    def annotate(self, chosen: list[Run], note: str) -> None:
        """Keeps a note on a run."""
        for run in chosen:
            store().annotate(run.id, note)

    def delete(self, chosen: list[Run]) -> None:
        """Puts runs out of sight, until they are restored."""
        for run in chosen:
            store().delete(run.id)
        self.deleted = [run.id for run in chosen]

    def restore(self) -> None:
        """Brings back what was deleted last."""
        for run in self.deleted:
            store().restore(run)
        self.deleted = []

    def _show(self) -> None:
        st.session_state.update({"compare.a": self.a, "compare.b": self.b})


def table() -> Table:
    """This tab's page Compare, with the link opened that a new tab or the Back button brings."""
    new = "table" not in st.session_state
    here: Table = st.session_state.setdefault("table", Table())
    link = st.query_params.to_dict()
    if link and (new or _went_through_history()):
        here.notice = ""
        try:
            for side in ("a", "b"):
                if side in link:
                    setattr(here, side, store().run(link[side]).id)
                    st.session_state[f"compare.{side}"] = link[side]
        except UserError as error:
            here.notice = f"This link cannot be opened, so the page shows the newest runs. {error}"
    return here


def known(subject: Subject) -> Trail:
    """The points that a visit starts with: those that came with the app, and the newest that were measured here."""
    trail = Trail()
    sweep = reference.load(subject.model, subject.dataset) if subject.weights == subject.dataset else None
    if sweep:
        trail.baseline = Baseline(sweep.accuracy, sweep.size_bytes, sweep.macs, sweep.parameters)
        trail.know(Point(recipe, measured, True, source="reference") for recipe, measured in sweep.points)
    with suppress(StoreUnavailable):
        runs = store().runs(model=subject.model, dataset=subject.dataset, limit=REMEMBERED)
        trail.know(map(remembered, (run for run in runs if run.full and run.subject.weights == subject.weights)))
    return trail


def remembered(run: Run) -> Point:
    """A run of the store as a point of a chart."""
    return Point(run.recipe, run.measurement, run.full, store().file(run), "earlier")


def address(link: dict[str, str]) -> str:
    """The whole address of a link to the page that is open."""
    here = (st.context.url or "").split("?")[0]
    return f"{here}?{urlencode(link, safe=',:')}"


def kept(path: Path | None) -> bytes | None:
    """The bytes of a file that was measured, if it still lies there."""
    return path.read_bytes() if path is not None and path.exists() else None


def _went_through_history() -> bool:
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def link_of(subject: Subject, recipe: Recipe, view: View | None = None) -> dict[str, str]:
    """The query of a link to this network, images, recipe and view; a view that is as usual is left out."""
    query = subject.to_query() | dict(parse_qsl(recipe.to_query(), keep_blank_values=True))
    return query | (view.to_query() if view else {})


def read_link(link: dict[str, str]) -> tuple[Subject, Recipe, View]:
    """What a link names; it may leave out the network and images, the recipe, or the view. Raises `UserError`."""
    rest = dict(link)
    named = {name: rest.pop(name) for name in ("model", "dataset", "weights") if name in rest}
    view = View.from_query({name: rest.pop(name) for name in views.PARTS if name in rest})
    subject = subjects.from_query(subjects.default().to_query() | named) if named else subjects.default()
    return subject, Recipe.from_query(urlencode(rest)) if rest else START, view
