"""Waiting for the worker: its answer to a question, how far a measurement is, and what is said where none comes."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException

from compression.errors import UserError, WorkerLost
from compression.jobs import News, Refusal, Watched
from compression.language import _
from pages.ui.model import wording
from pages.ui.page.guard import repeated
from pages.ui.state import came

PATIENCE_S = 60
EVERY_S = 1.0
LOOK_S = 0.5


def awaited(answer: "Future[Any]", doing: str) -> Any:
    """What was asked for, or None and a line that says why it is not there.

    Where it takes long, the rest of the page is drawn without it, and the whole page again when it is there.
    """
    with st.spinner(f"{doing} …"):
        there = came(answer, PATIENCE_S)
    if not there:
        st.caption(_("Waiting: the worker is busy with another task."))
        repeated(partial(_drawn_again, answer), EVERY_S)
        return None
    try:
        return answer.result()
    except (UserError, WorkerLost) as error:
        st.error(wording.said(str(error)))
    return None


def _drawn_again(answer: "Future[Any] | Watched[Any]") -> None:
    """Begins the page afresh when the answer is there."""
    if answer.done():
        st.rerun()


def answered(answer: "Future[Any] | Watched[Any]", doing: str) -> Any:
    """What was asked for, however long it takes; None and a sentence where the worker refuses it."""
    with st.spinner(f"{doing} …"):
        came(answer)
    try:
        found = answer.result()
    except (UserError, WorkerLost) as error:
        found = Refusal(str(error))
    if isinstance(found, Refusal):
        st.error(wording.said(found.sentence))
        return None
    return found


def followed(answer: "Watched[Any]", again: Callable[[], None] | None = None) -> Any:
    """As `answered`, with what is done line by line and a button that stops it; None while it is not there.

    Streamlit hears no click while a part of a page is drawn, so the part that this is called in is drawn anew every
    `LOOK_S` seconds. Where the answer was stopped, a button calls `again`.
    """
    if not answer.done():
        _tell_lines(st.empty(), answer)
        st.button(_("Cancel"), key=f"stop.{answer.id}", on_click=answer.stop)
        came(answer, LOOK_S)
        _draw_part_again(answer)
        return None
    if answer.stopped:
        st.info(_("Stopped."))
        if again:
            st.button(_("Start again"), key=f"again.{answer.id}", on_click=again)
        return None
    return answered(answer, _("Finishing"))


def progress_of(answer: "Watched[Any]") -> None:
    """How far it is, in one line, for a part of a page that is drawn alone; the page again when it is there."""
    _drawn_again(answer)
    now = answer.lines[-1] if answer.lines else _("Waiting: other tasks go first")
    st.progress(answer.share, f"{wording.said(now)} …")


def _draw_part_again(answer: "Watched[Any]") -> None:
    """Where not a part but the page is being drawn, it is drawn anew once the answer is there."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        repeated(partial(_drawn_again, answer), EVERY_S)


def _tell_lines(place: DeltaGenerator, answer: "Watched[Any]") -> None:
    done, now = answer.lines[:-1], answer.lines[-1] if answer.lines else _("Waiting for the worker")
    with place.container():
        for line in done:
            st.markdown(f":material/check: {wording.said(line)}")
        st.progress(answer.share, f"{wording.said(now)} …")


def tell(news: News, again: Callable[[], None]) -> None:
    """How far a measurement is; where it failed, why, and a button that begins it anew."""
    if news.state == "working":
        st.progress(min(news.share, 1.0), f"{wording.said(news.sentence)} …")
    elif news.state in ("lost", "refused"):
        st.error(wording.said(news.sentence))
        st.button(_("Measure again"), on_click=again)
