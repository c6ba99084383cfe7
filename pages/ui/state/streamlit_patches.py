"""What Streamlit does between two runs of a page, so that every click is heard and none waits for it."""

import gc
import logging
from functools import cache
from typing import Any

import streamlit
from streamlit.runtime.state.safe_session_state import SafeSessionState

log = logging.getLogger(__name__)

MENDED = "1.67."
"""The versions of Streamlit that `hear_all` knows the inside of."""


@cache
def hear_all() -> None:
    """Has every click heard, however quickly another follows; to be called when the app starts, again does no harm.

    Streamlit 1.67 looks for a newer request before it applies the one that it begins with, and again whenever the
    button's callback touches the session's state; then it drops what it has. What other widgets show comes again with
    each request; that a button was clicked does not, so the click was lost, or half of what it does. Here the request
    is applied first, and whole; Streamlit looks for newer ones right after that too. The setting `runner.fastReruns` is
    off for the same reason: a run that had not begun was stopped together with the click that had asked for it.

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


def _apply(session: SafeSessionState, *states: Any, **options: Any) -> None:
    look = session._yield_callback
    object.__setattr__(session, "_yield_callback", lambda: None)  # as its own constructor sets it
    try:
        with session._lock:
            session._state.on_script_will_rerun(*states, **options)
    finally:
        object.__setattr__(session, "_yield_callback", look)


@cache
def spare_imports() -> None:
    """Has the garbage collection that follows each run of a page pass over what was imported, which stays for good.

    To be called when a page has run: it went through all modules each time, for a tenth of a second and more, in which
    no page of any tab could run. What the first visitor holds by then stays for good too, as far as it is a cycle.
    """
    gc.collect()
    gc.freeze()
