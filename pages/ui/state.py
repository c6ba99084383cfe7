"""What a visit holds, and the only place that touches `st.session_state`, the link, and the one Lab of the server."""

import secrets
import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from compression import choosing, insight, reference
from compression.engine import engine_version
from compression.errors import StoreUnavailable, UnknownName, UserError
from compression.foresight import around
from compression.jobs import Job, Lab, News, Request, Sweeping
from compression.recipe import Recipe
from compression.results import LayerSensitivity, LearningPoint
from compression.steps import STEPS, bounds_of
from compression.store import Run, Store
from compression.worker import Baseline
from pages.ui import forms, links, views
from pages.ui import subject as subjects
from pages.ui.foresight import Foreseen, foresee
from pages.ui.links import RUN, START, link_of, read_link
from pages.ui.points import Point, Trail
from pages.ui.subject import Subject
from pages.ui.views import View

ANSWERS = 20
"""So many answers of the worker are kept for a tab."""

NEIGHBOURS = 12
"""So many recipes around the current one are measured while nobody waits."""

REMEMBERED = 300
"""So many earlier runs stand on the charts at most."""

MISSING = "The run {run} is not in the store here: it was deleted, or measured elsewhere. Its recipe is measured here."

AMOUNT = "channels.amount"
MOST = bounds_of(STEPS["channels"].model_fields["amount"])[1] or 1.0

POINT = 0.01
"""What "at 1 point" means."""

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
    """One browser tab. `undone` are the recipes that Redo brings back, the next one last.

    `job` is about what was `asked`. A recipe that trains is trained when the user says so, by `train`; until then its
    `now` is the file that the training would start from. A run that a link names is `opened`, with a `remark` on it.
    """

    subject: Subject
    recipe: Recipe = START
    view: View = field(default_factory=View)
    next_view: View | None = None
    next_recipe: tuple[Recipe, str] | None = None
    choosing: Future[Any] | None = None
    notice: str = ""
    opened: Point | None = None
    remark: str = ""
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    job: Job | None = None
    asked: tuple[Subject, Recipe] | None = None
    link: dict[str, str] = field(default_factory=dict)
    trails: dict[Subject, Trail] = field(default_factory=dict)
    done: list[Recipe] = field(default_factory=list)
    undone: list[Recipe] = field(default_factory=list)
    selected: str = ""
    wanted: set[str] = field(default_factory=set)
    positions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    told: Future[Any] | None = None
    filler: tuple[Subject, Recipe, Job] | None = None
    tried: set[str] = field(default_factory=set)
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
        self.trail.visited.pop(self.recipe.hash, None)
        self._ask(lab().long.start(self.request, minutes=minutes))

    def settle(self) -> bool:
        """Takes the steps that minutes have become into the recipe; to be called before the widgets are drawn."""
        job, asked = self.job, self.asked
        if job is None or asked != (self.subject, self.recipe) or not isinstance(job.request, Request):
            return False
        settled = Recipe.from_json(job.request.recipe)
        if settled == self.recipe:
            return False
        self._show(settled)
        self._ask(job)
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
        self.choosing = self.answer("smallest", choosing.smallest, self.request_for(self.plain), POINT)

    def load_next(self, recipe: Recipe, remark: str) -> None:
        """Has the next run of the page begin with this recipe; what has just been drawn cannot show it any more."""
        self.next_recipe = (recipe, remark)

    def look_next(self, view: View) -> None:
        """Has the next run of the page begin with this view; what has just been drawn cannot show it any more."""
        self.next_view = view

    def foresee(self) -> Foreseen:
        """What the known points let expect of the current recipe and along its sliders."""
        return foresee(self.recipe, self.trail.points, self.positions)

    def ask_positions(self) -> Future[Any] | None:
        """Which shares of channels can be removed exactly: the worker's answer; None where none are removed."""
        channels = self.recipe.get("channels")
        if channels is None:
            return None
        shown = channels.model_dump() | {
            "step": channels.kind,
            "amount": STEPS["channels"].model_fields["amount"].default,
        }
        alone = self.request_for(Recipe.from_dict({**self.plain.to_dict(), "quality": "best", "steps": [shown]}))
        return self.answer("reachable", insight.reachable, alone)

    def find_positions(self) -> None:
        """Has sliders stop where something is reached, if that is known; to be called before they are drawn."""
        told, amount = self.ask_positions(), st.session_state.get(AMOUNT)
        self.told = told if told and told.done() else None
        known = self.told.result() if self.told and self.told.exception() is None else ()
        stops = {floor(100 * share + 1e-9) / 100 for share in known}
        positions = {AMOUNT: tuple(sorted({0.0, *(s for s in stops if s <= MOST), amount}))} if stops else {}
        if positions != self.positions:
            self.positions = positions
            st.session_state[AMOUNT] = amount  # another widget now, or other stops: it keeps its value

    @property
    def neighbours(self) -> list[Recipe]:
        """A coarse grid around the current recipe, once that is measured: what an idle worker may measure too."""
        return around(self.recipe)[:NEIGHBOURS] if self.point and self.recipe == self.recipe.untrained else []

    @property
    def unknown(self) -> list[Recipe]:
        """The neighbours that are still to be measured."""
        known = {point.key for point in self.trail.points}
        return [recipe for recipe in self.neighbours if recipe.hash not in known | self.tried]

    def fill(self) -> bool:
        """Has an idle worker measure the next neighbour; whether one has been measured since the last call."""
        filler, self.filler = self.filler, None
        news = filler[2].news if filler else News(state="overtaken")
        if filler and news.state == "working":
            self.filler = filler
            return False
        if filler and news.state in ("done", "refused", "lost"):
            self.tried.add(filler[1].hash)
        if self.unknown and not lab().long.working:
            recipe = self.unknown[0]
            self.filler = (self.subject, recipe, lab().fill(self.request_for(recipe)))
        if filler is None or news.state != "done" or news.measurement is None:
            return False
        subject, recipe, _ = filler
        about: dict[str, Any] = {"layers": news.layers, "ledger": news.ledger, "run": news.run or ""}
        self.trails[subject].know([Point(recipe, news.measurement, True, news.file, "neighbour", **about)])
        return True

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
        st.session_state.update(forms.fill(self.subject, recipe))

    def _say_nothing(self) -> None:
        self.notice, self.remark, self.opened = "", "", None

    def pin(self, key: str) -> None:
        """Marks a point, or takes the mark off."""
        self.trail.pinned ^= {key}

    def news(self) -> Iterator[News]:
        """How the current recipe stands, at once and whenever that changes, until it is measured.

        Of a training there is one piece of news: whoever shows it looks again by itself.
        """
        if self.point is not None:
            self.trail.add(self.point)
            yield News(state="done", measurement=self.point.measurement, full=True, file=self.point.file)
            return
        assert self.job is not None
        news = self.job.news
        yield self._kept(news)
        while news.state == "working" and not self.training:
            seen, news = news.number, self.job.wait(after=news.number, timeout=TICK_S)
            visit()  # Streamlit looks here whether the user has moved something, and if so starts the page afresh
            if news.number > seen:
                yield self._kept(news)

    def waits(self, answer: Future[Any]) -> bool:
        """Waits for an answer, unless the user moves something; whether it is one."""
        while not answer.done():
            with suppress(TimeoutError):
                answer.exception(TICK_S)
            visit()  # as in `news`
        return answer.exception() is None

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
        st.session_state.update(forms.fill(subject, recipe) | views.fill(view))

    def _open_run(self, wanted: str) -> None:
        """Shows the very run that a link names, where the store has it; what there is to say becomes the remark."""
        try:
            run = store().run(wanted)
            point, subject = remembered(run), Subject(run.subject.model, run.subject.weights, run.subject.dataset)
            if not subject.is_trained:
                raise UnknownName("network", subject.title, [])
        except UserError:
            self.remark = MISSING.format(run=wanted)
            return
        self.subject, self.recipe, self.opened = subject, run.recipe, point
        self.trail.add(point)
        self.remark = links.told(run, store().latencies(run.id), engine_version())

    def _write_link(self) -> None:
        link = link_of(self.subject, self.recipe, self.view, self.opened.run if self.opened else "")
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
    here.settle()
    if here.next_recipe:
        (recipe, remark), here.next_recipe = here.next_recipe, None
        here.load(recipe)
        here.remark = remark
    if here.next_view:
        st.session_state.update(views.fill(here.next_view))
        here.next_view = None
    for name, value in (forms.fill(here.subject, here.recipe) | views.fill(here.view)).items():
        st.session_state.setdefault(name, value)  # widgets lose what they show when they leave the page
    here.find_positions()
    return here


def asked(key: Hashable, question: Callable[..., Any], *about: Any) -> Future[Any]:
    """The worker's answer to a question; asked once in a tab, again where it failed."""
    return awaited_once(key, lambda: lab().ask(question, *about))


def awaited_once(key: Hashable, ask: Callable[[], Future[Any]]) -> Future[Any]:
    """What `ask` returns; called once in a tab, again where its answer failed."""
    answers: dict[Hashable, Future[Any]] = st.session_state.setdefault("answers", {})
    answer = answers.get(key)
    if answer is None or (answer.done() and answer.exception() is not None):
        answers[key] = ask()
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
    return Point(run.recipe, run.measurement, run.full, store().file(run), "earlier", run=run.id)


def kept(path: Path | None) -> bytes | None:
    """The bytes of a file that was measured, if it still lies there."""
    return path.read_bytes() if path is not None and path.exists() else None


def _went_through_history() -> bool:
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation
