"""Which runs a tab compares."""

from dataclasses import dataclass, field

import streamlit as st

from compression.errors import Unsupported, UserError
from compression.language import N_
from compression.store import Run
from pages.ui.state import language
from pages.ui.state.server import store
from pages.ui.state.tab import went_through_history


@dataclass
class Table:
    """The page Compare in one tab: which two runs stand side by side, and what was deleted last.

    `listed` are the runs in the table now, which is the one with the number `lists`.
    """

    a: str = ""
    b: str = ""
    notice: tuple[str, ...] = ()
    deleted: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    lists: int = 0

    def number_of(self, runs: list[Run]) -> int:
        """The number of the table that lists these runs: another one whenever its rows become others."""
        ids = [run.id for run in runs]
        if ids != self.listed:
            self.listed, self.lists = ids, self.lists + 1
        return self.lists

    def put(self, chosen: list[Run]) -> None:
        """Puts two runs side by side."""
        self.a, self.b = (run.id for run in chosen)
        self._show()

    def fit(self, runs: list[Run]) -> None:
        """Keeps A and B among the runs there are: the two newest of one network, or the newest beside the other."""
        by_id = {run.id: run for run in runs}
        ids = set(by_id)
        if self.b not in ids:
            self.b = _beside(by_id.get(self.a), runs).id
        if self.a not in ids:
            self.a = _beside(by_id[self.b], runs).id
        for side in ("a", "b"):
            if st.session_state.get(f"compare.{side}") not in ids:
                st.session_state[f"compare.{side}"] = getattr(self, side)

    def look(self) -> None:
        """Takes over which two runs the lists show, and writes the link."""
        self.a, self.b = st.session_state["compare.a"], st.session_state["compare.b"]
        link = {"a": self.a, "b": self.b}
        if language.query() != link:
            language.show(link)

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
        self.deleted += [run.id for run in chosen]

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
    link = language.query()
    if link and (new or went_through_history()):
        here.notice = ()
        try:
            for side in ("a", "b"):
                if side in link:
                    setattr(here, side, _there(link[side]).id)
                    st.session_state[f"compare.{side}"] = link[side]
        except UserError as error:
            here.notice = (N_("This link cannot be opened, so the page shows the newest runs."), str(error))
    return here


def _beside(run: Run | None, runs: list[Run]) -> Run:
    """The newest run to compare with one, of the same network if there is one; with None, the newest of all."""
    others = [other for other in runs if run is None or other.id != run.id]
    alike = [other for other in others if run and other.subject == run.subject]
    return next(iter(alike or others), runs[0])


def _there(wanted: str) -> Run:
    run = store().run(wanted)
    if run.deleted:
        raise Unsupported(f"The run {wanted} was deleted.")
    return run
