"""Compression Lab's app: page settings, navigation and style. Start it with `streamlit run app.py`."""

import before_compression  # noqa: F401 - before everything else: see there

import streamlit as st

from pages.ui.style import ICON, LOGO, STYLE

st.set_page_config(page_title="Compression Lab", page_icon=ICON, layout="wide", initial_sidebar_state="expanded")
st.logo(LOGO, size="large")
st.html(STYLE)

explore = st.Page("pages/lab/explore.py", title="Explore", icon=":material/tune:")


def start() -> None:
    """The bare address leads to the first page, so that every page has an address of its own."""
    st.switch_page(explore, query_params=st.query_params.to_dict())


home = st.Page(start, title="Compression Lab", default=True, visibility="hidden", url_path="start")
st.navigation([home, explore], position="top").run()
