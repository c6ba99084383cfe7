"""What a visit holds, and the only place that touches `st.session_state`, the link, and the one Lab of the server."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from compression.errors import UserError
from compression.jobs import Job, Lab, News, Request
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from pages.ui import forms
from pages.ui import subject as subjects
from pages.ui.subject import Subject
from pages.ui.trail import Point, Trail

START = Recipe(steps=(Prune(), Quantize()), quality="fast")
"""What a first visit shows: the two best-known techniques at their defaults, found quickly enough to play with."""

TICK_S = 0.25
"""How long the page waits for news before it looks whether the user has touched something."""


@st.cache_resource(show_spinner=False)
def lab() -> Lab:
    """The one of this server; its first use starts the worker."""
    return Lab()


@dataclass
class Visit:
    """One browser tab."""

    subject: Subject
    recipe: Recipe = START
    notice: str = ""
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    job: Job | None = None
    link: dict[str, str] = field(default_factory=dict)
    trails: dict[Subject, Trail] = field(default_factory=dict)

    @property
    def trail(self) -> Trail:
        """The points of the network and images chosen now."""
        return self.trails.setdefault(self.subject, Trail())

    @property
    def point(self) -> Point | None:
        """The current recipe's point, if it was measured in full."""
        return self.trail.visited.get(self.recipe.hash)

    def choose(self, subject: Subject, recipe: Recipe) -> None:
        """Takes over what the widgets say, writes the link, and asks for a measurement where one is missing."""
        if (subject, recipe) != (self.subject, self.recipe):
            self.subject, self.recipe, self.notice = subject, recipe, ""
        self._write_link()
        request = Request(subject.model, subject.weights, subject.dataset, recipe.to_json())
        if self.point is None and (self.job is None or self.job.request != request):
            self.job = lab().submit(request, owner=self.owner)

    def measure_again(self) -> None:
        """Forgets the job that failed, so that the next run of the page sends the request again."""
        self.job = None

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

    def now(self, news: News) -> Point | None:
        """The current recipe's point as far as the news have it."""
        if news.measurement is None:
            return None
        return Point(self.recipe, news.measurement, news.full, news.file)

    def _kept(self, news: News) -> News:
        if news.baseline is not None:
            self.trail.baseline = news.baseline
        if news.state == "done" and news.measurement is not None:
            self.trail.add(Point(self.recipe, news.measurement, full=True, file=news.file))
        return news

    def open(self, link: dict[str, str]) -> None:
        """Takes over a link, whole or not at all; what is wrong with it becomes the notice."""
        self.link, self.notice = link, ""
        try:
            subject, recipe = read_link(link)
        except UserError as error:
            self.notice = f"This link cannot be opened, so the page shows its usual start. {error}"
            subject, recipe = subjects.default(), START
        self.subject, self.recipe = subject, recipe
        st.session_state.update(forms.fill(subject, recipe))

    def _write_link(self) -> None:
        link = link_of(self.subject, self.recipe)
        if link != self.link:
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
    new = "visit" not in st.session_state
    here, link = visit(), st.query_params.to_dict()
    if link and link != here.link and (new or _went_through_history()):
        here.open(link)
    for name, value in forms.fill(here.subject, here.recipe).items():
        st.session_state.setdefault(name, value)  # widgets lose what they show when they leave the page
    return here


def _went_through_history() -> bool:
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def link_of(subject: Subject, recipe: Recipe) -> dict[str, str]:
    """The query of a link to this network, images and recipe."""
    return subject.to_query() | dict(parse_qsl(recipe.to_query(), keep_blank_values=True))


def read_link(link: dict[str, str]) -> tuple[Subject, Recipe]:
    """What a link names; it may leave out the network and images, or the recipe. Raises `UserError`."""
    rest = dict(link)
    named = {name: rest.pop(name) for name in ("model", "dataset", "weights") if name in rest}
    subject = subjects.from_query(subjects.default().to_query() | named) if named else subjects.default()
    return subject, Recipe.from_query(urlencode(rest)) if rest else START
