"""Compression Lab's app: page settings, navigation and style. Start it with `streamlit run app.py`."""

import before_compression  # noqa: F401 - before everything else: see there

from typing import Literal

import streamlit as st

from compression.language import LANGUAGES, _, p_
from pages.ui.lessons.lesson import LESSONS, page_of
from pages.ui.page.entrance import entered, way_out
from pages.ui.page.guard import guarded
from pages.ui.page.style import ICON, LOGO, RELOAD, STYLE
from pages.ui.state import language, streamlit_patches

streamlit_patches.hear_all()
language.settle()

misled = streamlit_patches.looked_for_pages() and st.context.url

search = st.Page("pages/lab/search.py", title=_("Search"))
compare = st.Page("pages/lab/compare.py", title=_("Compare"))
deploy = st.Page("pages/ship/deploy.py", title=_("Deploy"))
layers = st.Page("pages/lab/layers.py", title=p_("page", "Layers"))
demo = st.Page("pages/ship/demo.py", title=_("Demo"))
report = st.Page("pages/ship/report.py", title=_("Report"))
bring = st.Page("pages/lab/bring.py", title=_("Bring your own"))
jobs = st.Page("pages/lab/jobs.py", title=_("Jobs"))
browser = st.Page("pages/ship/browser.py", title=_("Browser"))
explore = st.Page(
    "pages/lab/explore.py", title=_("Explore")
)  # an icon would be fetched from another server for the tab


def start() -> None:
    """The bare address leads to the first page, so that every page has an address of its own; ?demo=1 to the demo."""
    link = st.query_params.to_dict()
    st.switch_page(demo if link.pop("demo", "") == "1" else explore, query_params=link)


home = st.Page(start, title=_("Start"), default=True, visibility="hidden", url_path="start")
learn = [st.Page(page_of(name), title=_(title)) for name, title in LESSONS.items()]
learn.append(st.Page("pages/learn/teacher.py", title=_("Teacher's sheets")))
page = st.navigation(
    {
        "": [home],
        _("Lab"): [explore, search, layers, compare, bring, jobs],
        _("Ship"): [deploy, browser, report, demo],
        _("Learn"): learn,
    },
    position="top",
)
title = f"{page.title} · Compression Lab"
sidebar: Literal["auto", "expanded"] = "auto" if page is browser else "expanded"  # auto: a phone shows the page first
st.set_page_config(page_title=title, page_icon=ICON, layout="wide", initial_sidebar_state=sidebar)
st.logo(LOGO, size="large")
st.html(STYLE)
with st.container(key="language"):
    other = language.other()
    st.button(LANGUAGES[other], on_click=language.choose, args=(other,), type="tertiary", icon=":material/translate:")
if misled and page is not home:
    st.html(RELOAD, unsafe_allow_javascript=True)
    st.stop()
somebody = entered()
guarded(page.run)()
way_out(somebody)
language.drawn()
streamlit_patches.spare_imports()
