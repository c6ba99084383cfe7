"""Where a tab's demo stands."""

from dataclasses import dataclass, field

import streamlit as st

from compression.errors import Unsupported, UserError
from compression.language import N_
from compression.store import Run
from pages.ui.state import language
from pages.ui.state.server import store

OWN = -1
"""The number of the story of chosen runs."""
MOST_IN_A_LINK = 5
"""Runs; what a link names beyond them is left out."""


@dataclass
class Tale:
    """Where the demo stands. `runs` are the ids of those that its own story is told of."""

    story: int = 0
    slide: int = 0
    runs: list[str] = field(default_factory=list)
    notice: tuple[str, ...] = ()

    def open(self, story: int) -> None:
        """Another story begins with its first slide."""
        if story != self.story:
            self.story, self.slide = story, 0

    def turn(self, by: int) -> None:
        """To a slide before or after; the page keeps it within the story."""
        self.slide = max(0, self.slide + by)

    def tell(self, runs: list[str]) -> None:
        """The story of these runs begins, and the link names them."""
        self.runs, self.story, self.slide, self.notice = runs, OWN, 0, ()
        st.session_state["demo.runs"] = runs
        language.show({"runs": ",".join(runs)} if runs else {})

    def fit(self, ids: list[str]) -> None:
        """Keeps the runs among those there are, and has the page's list show them."""
        self.runs = [run for run in self.runs if run in ids]
        if st.session_state.get("demo.runs") != self.runs:
            st.session_state["demo.runs"] = self.runs

    def take_over(self) -> None:
        """Tells the story of the runs that the page's list shows."""
        self.tell(st.session_state["demo.runs"])


def tale() -> Tale:
    """This tab's place in the demo, with the runs that the link names."""
    here: Tale = st.session_state.setdefault("tale", Tale())
    named = [each for each in st.query_params.get("runs", "").split(",") if each][:MOST_IN_A_LINK]
    if named and named != here.runs:
        here.notice = ()
        try:
            here.tell([_there(run).id for run in named])
        except UserError as error:
            here.notice = (N_("This link cannot be opened, so the page shows the ready stories."), str(error))
    return here


def _there(wanted: str) -> Run:
    run = store().run(wanted)
    if run.deleted:
        raise Unsupported(f"The run {wanted} was deleted.")
    return run
