"""What a tab remembers whatever its page: answers of the worker, and where its link came from."""

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import DeletedFile

from pages.ui.state.server import lab

ANSWERS = 20
"""So many answers of the worker are kept for a tab."""

TICK_S = 0.05
"""How long a page waits for something before it looks whether the user has touched something."""


def look() -> None:
    """Begins the page afresh if the user has touched something.

    Streamlit looks by itself whenever something is drawn, and here; a page that only waits has to do so.
    """
    st.session_state.get("visit")


def came(answer: Any, timeout_s: float = float("inf")) -> bool:
    """Whether an answer, or an error in its place, came in time."""
    end = time.monotonic() + timeout_s
    while not answer.done() and time.monotonic() < end:
        with suppress(TimeoutError):
            answer.exception(TICK_S)
        look()
    return answer.done()


def elsewhere() -> None:
    """Says that this page is none that shows the visit: a link that leads from it to Explore is taken up there."""
    st.session_state["elsewhere"] = True


def asked(key: Hashable, question: Callable[..., Any], *about: Any) -> Future[Any]:
    """The worker's answer to a question; asked once in a tab, again where it failed."""
    return awaited_once(key, lambda: lab().ask(question, *about))


def watched(key: Hashable, question: Callable[..., Any], *about: Any) -> Any:
    """The same for a question that takes long and tells how far it is; see `Lab.watch`."""
    return awaited_once(key, lambda: lab().watch(question, *about))


def watched_beside(key: Hashable, question: Callable[..., Any], *about: Any) -> Any:
    """The same for a question that lets all others go first."""
    return awaited_once(key, lambda: lab().watch(question, *about, beside=True))


def asked_about(subject: Hashable, name: str, question: Callable[..., Any], *about: Any) -> Future[Any]:
    """The same for a question about a network and its images; files among what it is `about` are no part of the key."""
    return asked((name, subject, *(a for a in about if not isinstance(a, bytes))), question, *about)


def begun(key: Hashable) -> Future[Any] | None:
    """What was asked under a key in this tab, if anything was."""
    return st.session_state.get("answers", {}).get(key)


def forgotten(which: Callable[[Hashable], bool]) -> None:
    """Lets go of the answers in this tab that have come under such keys; asked again, they come anew."""
    answers: dict[Hashable, Future[Any]] = st.session_state.setdefault("answers", {})
    for key in [key for key, answer in answers.items() if answer.done() and which(key)]:
        del answers[key]


def awaited_once(key: Hashable, ask: Callable[[], Any]) -> Any:
    """What `ask` returns; called once in a tab, again where its answer failed."""
    answers: dict[Hashable, Any] = st.session_state.setdefault("answers", {})
    answer = answers.get(key)
    if answer is None or (answer.done() and answer.exception() is not None):
        answers[key] = ask()
        while len(answers) > ANSWERS:
            answers.pop(next(iter(answers)))
    return answers[key]


def put(key: str, value: Any) -> None:
    """Has a widget show a value; to be called before it is drawn."""
    st.session_state[key] = value


def key_showing(value: Any, name: str) -> str:
    """The key of a widget that shows a value which other widgets change too; to be called before it is drawn.

    A value that others have changed comes with a key of its own. Under the same one, a message that the browser sent
    before it had the new value would bring the old, and Streamlit takes it for a change that the user made.
    """
    turns: dict[str, int] = st.session_state.setdefault("turns", {})
    key = f"{name}.{turns.get(name, 0)}"
    if st.session_state.get(key, value) != value:
        turns[name] = turns.get(name, 0) + 1
        key = f"{name}.{turns[name]}"
    put(key, value)
    return key


def is_replaced(key: str) -> bool:
    """Whether a widget whose key `key_showing` gave has made room for another by now."""
    name, _dot, turn = key.rpartition(".")
    return st.session_state.get("turns", {}).get(name, 0) != int(turn)


def taken(key: str) -> Any:
    """What was put under a key, the first time that it is asked for; then None."""
    return st.session_state.pop(key, None)


def shown(key: str) -> Any:
    """What a widget shows."""
    return st.session_state[key]


def shown_or_none(key: str) -> Any:
    """What a widget shows that may not be drawn, or whose file is no longer there; None then."""
    found = st.session_state.get(key)
    return None if isinstance(found, DeletedFile) else found


def went_through_history() -> bool:
    """Whether the Back or the Forward button brought the link."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation
