"""The language of a visitor: the link names it, else the one chosen in this tab, else the browser's."""

from functools import lru_cache
from urllib.parse import parse_qs

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from compression import language
from compression.language import ENGLISH, LANGUAGES, current, fitting
from pages.ui.state.streamlit_patches import put_choices_again

NAME = "lang"
"""Its name in a link."""

DRAWN = "language.drawn"
"""The language of what the tab shows."""


def settle() -> None:
    """Puts the chosen language into the link of the page that opens; to be called first in a run of the app."""
    language.ask(_of_visitor)
    context = get_script_run_ctx()
    if named := _in_link(context.query_string if context else ""):
        st.session_state[NAME] = named
    elif chosen := st.session_state.get(NAME):
        st.query_params[NAME] = chosen
    if st.session_state.get(DRAWN, current()) != current():
        put_choices_again()


def drawn() -> None:
    """Notes that the page is drawn in the language spoken now; to be called last in a run of the app."""
    st.session_state[DRAWN] = current()


def choose(tag: str) -> None:
    """Has the app speak another language from now on."""
    st.session_state[NAME] = st.query_params[NAME] = tag


def other() -> str:
    """The language that is not spoken now."""
    return next(tag for tag in LANGUAGES if tag != current())


def query() -> dict[str, str]:
    """The link without the language: what else it names."""
    return {name: value for name, value in st.query_params.to_dict().items() if name != NAME}


def show(query: dict[str, str]) -> None:
    """Has the browser show a link, in which the language stays."""
    st.query_params.from_dict(query | in_link())


def in_link() -> dict[str, str]:
    """The part of a link that names the language, where one was chosen."""
    return {NAME: st.session_state[NAME]} if NAME in st.session_state else {}


def _of_visitor() -> str | None:
    """Streamlit keeps both with each run of a page, also of a part of it, and of a callback."""
    context = get_script_run_ctx(suppress_warning=True)
    return _named(context.query_string, st.context.locale or "") if context else None


@lru_cache(maxsize=1_000)
def _named(query: str, locale: str) -> str:
    return _in_link(query) or fitting(locale[:20]) or ENGLISH


def _in_link(query: str) -> str | None:
    """The language that a link names; of several the last, as for all that a link says. None where it names none."""
    return fitting(parse_qs(query, keep_blank_values=True).get(NAME, [""])[-1][:20])
