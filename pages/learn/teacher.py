"""Teacher's sheets, one for each lesson, laid out to be printed."""

from importlib import import_module

import streamlit as st

from compression.language import _
from pages.ui.lessons import frame
from pages.ui.lessons.lesson import LESSONS, read
from pages.ui.state import chosen_lesson, learning


def page() -> None:
    """A picker that does not print, and the sheet."""
    learning()
    with st.container(key="unprinted"):
        names = list(LESSONS)
        start = names.index(chosen_lesson(names))
        name = st.selectbox(_("Lesson"), names, start, format_func=lambda name: _(LESSONS[name]), key="sheet")
        st.caption(_("Print this page from the browser. Menus and this selector are not printed."))
    facts = import_module(f"compression.lessons.{name.replace('-', '_')}").facts()
    with st.container(key="lesson"):
        frame.sheet(read(name, facts))


page()
