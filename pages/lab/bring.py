"""Bring: a network of one's own, from its file into the list of networks."""

from functools import partial

import streamlit as st

from pages.ui.explore import import_network
from pages.ui.page.guard import repeated
from pages.ui.state import elsewhere, opened


def page() -> None:
    """The form, drawn as a part of the page.

    Streamlit 1.67 drops the server's answer to an uploader, and with it the file, where the page as a whole is drawn
    anew before that answer is sent; of a part that is drawn anew, it does not. Explore, which is drawn anew whenever
    something is measured, has no uploader for that reason.
    """
    visit = opened()
    elsewhere()
    st.space("small")
    st.subheader("Bring your own network", anchor=False)
    repeated(partial(import_network.draw, visit), None)


page()
