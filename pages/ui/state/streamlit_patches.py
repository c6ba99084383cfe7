"""What Streamlit does between two runs of a page, so that every click is heard, and all that was drawn is sent."""

import gc
import logging
from functools import cache
from typing import Any

import streamlit
from streamlit.delta_generator_singletons import context_dg_stack, get_default_dg_stack_value
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner import RerunData, ScriptRunner, ScriptRunnerEvent, get_script_run_ctx
from streamlit.runtime.state.safe_session_state import SafeSessionState

log = logging.getLogger(__name__)

MENDED = "1.67."
"""The versions of Streamlit whose inside is known here."""

NAMED_BY_TEXT = ("string_value", "string_array_value")
"""How the browser tells of lists, segments, sliders over words and fields of text."""


@cache
def hear_all() -> None:
    """Has every click heard, however quickly another follows, and all that a run draws sent.

    To be called when the app starts; again does no harm.

    Streamlit 1.67 looks for a newer request before it applies the one that it begins with, and again whenever the
    button's callback touches the session's state; then it drops what it has. What other widgets show comes again with
    each request; that a button was clicked does not, so the click was lost, or half of what it does. Here the request
    is applied first, and whole; Streamlit looks for newer ones right after that too. The setting `runner.fastReruns` is
    off for the same reason: a run that had not begun was stopped together with the click that had asked for it.

    What a run draws waits for the server's event loop. Where the run ends and the next request comes before the loop
    gets to it, Streamlit 1.67 has another thread carry out the request, and drops what the former has told. The browser
    then lacks elements that parts of the page lie behind, and objects ("Bad delta path index"). Here it is sent.

    A part of a page that is drawn alone is drawn into its own container. Where the request for the whole page comes
    before its thread has ended, garbage collection included, that thread carries it out, and Streamlit 1.67 draws the
    page into that container as well. The browser has no such places ("Bad delta path index") and shows an empty page.
    Here each run begins at the page's own place; a part finds its container by itself.

    Of two clicks a few milliseconds apart, one in five was lost without it, none of 400 with it. Other versions of
    Streamlit are left as they are, and the log says so.
    """
    if not streamlit.__version__.startswith(MENDED):
        log.warning(
            "Streamlit %s is not %sx, whose loss of clicks is mended here: a click may be lost when another follows at "
            "once. See pages/ui/state/streamlit_patches.py.", streamlit.__version__, MENDED,
        )  # fmt: skip
        return
    setattr(SafeSessionState, "on_script_will_rerun", _apply)  # noqa: B010 - not as an assignment, which is mistyped
    setattr(AppSession, "_handle_scriptrunner_event_on_event_loop", _heed)  # noqa: B010 - the same
    setattr(ScriptRunner, "_run_script", _run_from_the_top)  # noqa: B010 - the same


def looked_for_pages() -> bool:
    """Whether Streamlit has taken the folder `pages` for pages of its own in this run. Ask before `st.navigation`.

    It does until anybody's run has called that, and tells those whom a page's address leads here that there is none;
    opened again, all is well. Its own flag may have been cleared meanwhile, by another of the first visitors.
    """
    context = get_script_run_ctx()
    pages = context.pages_manager.get_pages().values() if context else ()
    return [page.get("url_pathname") for page in pages] == [""]


def _apply(session: SafeSessionState, *states: Any, **options: Any) -> None:
    look = session._yield_callback
    object.__setattr__(session, "_yield_callback", lambda: None)  # as its own constructor sets it
    try:
        with session._lock:
            session._state.on_script_will_rerun(*states, **options)
    finally:
        object.__setattr__(session, "_yield_callback", look)


_heed_current = AppSession._handle_scriptrunner_event_on_event_loop
"""As it comes: what the session does with what its runner tells, and nothing with what another does."""


def _heed(session: AppSession, sender: ScriptRunner | None, event: ScriptRunnerEvent, *about: Any, **more: Any) -> None:
    """The same also for the runner before, which has ended by itself: it told all before the current one was made.

    That it has shut down is its last word, and concerns the current one no more.
    """
    current = session._scriptrunner
    if sender in (None, current) or event == ScriptRunnerEvent.SHUTDOWN:
        _heed_current(session, sender, event, *about, **more)
        return
    session._scriptrunner = sender
    try:
        _heed_current(session, sender, event, *about, **more)
    finally:
        session._scriptrunner = current


_run_current = ScriptRunner._run_script
"""As it comes: a run draws where the one before in its thread has stopped drawing."""


def _run_from_the_top(runner: ScriptRunner, request: RerunData) -> None:
    """The same, where each run draws from the page's own place."""
    context_dg_stack.set(get_default_dg_stack_value())
    _run_current(runner, request)


def put_choices_again() -> None:
    """Has each widget keep what it shows though its texts change; to be called before anything is drawn.

    The browser names a choice by its text, which is read with the texts that the page is drawn with: those of another
    language have no such text, so that the widget would fall back on its default. Here it is read with the texts of
    before, and put anew. Widgets without a key are others when their label changes, so that each has one.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    session = context.session_state
    known, keys = session._state._new_widget_state.widget_metadata, session._state._key_id_mapper.id_key_mapping
    for widget, key in list(keys.items()):
        if widget in known and known[widget].value_type in NAMED_BY_TEXT and key in session:
            session[key] = session[key]


@cache
def spare_imports() -> None:
    """Has the garbage collection that follows each run of a page pass over what was imported, which stays for good.

    To be called when a page has run: it went through all modules each time, for a tenth of a second and more, in which
    no page of any tab could run. What the first visitor holds by then stays for good too, as far as it is a cycle.
    """
    gc.collect()
    gc.freeze()
