"""Report: the question, the recommendation with its reason, and the numbers, as a file for those who decide."""

from dataclasses import replace
from datetime import datetime

import streamlit as st

from pages.ui.explore import view_controls
from pages.ui.model import wording
from pages.ui.model.budget import usual
from pages.ui.ship import report, report_html
from pages.ui.ship.report import Report
from pages.ui.state import opened

NO_LIMIT = "Switch on “{}” to set your own limit."
NOTHING = "Nothing has been measured yet for this network and dataset. Measure a few recipes on Explore first."


def page() -> None:
    """The limits and the files on top, the report below."""
    visit = opened()
    st.space("small")
    if visit.notice:
        st.warning(wording.said(visit.notice))
    asked, named = st.columns(2, gap="large")
    with asked:
        st.markdown("**Budget**")
        budget = view_controls.budget(visit.trail.words)
        visit.look(replace(visit.view, budget=budget))
    with named:
        title = st.text_input("Title", f"{visit.subject.title}: compression results", max_chars=120)
        files = st.container()
        if budget.asked != budget:
            st.info(f"{usual(visit.trail.words)} {NO_LIMIT.format(visit.trail.words.limit)}")
    told = report.report(title.strip() or visit.subject.title, visit.trail, budget, datetime.now().astimezone())
    if told is None:
        st.info(NOTHING)
        st.page_link("pages/lab/explore.py", label="Open Explore")
        return
    with files:
        downloads(told, wording.file_name(visit.subject, visit.recipe).removesuffix(".onnx"))
    st.iframe(report_html.to_html(told), height=1100)


def downloads(told: Report, stem: str) -> None:
    """The report in each form."""
    files = {
        "HTML": (report_html.to_html(told), "html", "text/html"),
        "Markdown": (report.to_markdown(told), "md", "text/markdown"),
        "CSV": (report.to_csv(told), "csv", "text/csv"),
        "JSON": (report.to_json(told), "json", "application/json"),
    }
    with st.container(horizontal=True):
        for name, (content, suffix, kind) in files.items():
            st.download_button(
                name, content, f"{stem}-report.{suffix}", kind, key=f"report.{suffix}", on_click="ignore",
                type="primary" if name == "HTML" else "secondary",
            )  # fmt: skip
        st.caption("The HTML file works offline and is laid out for A4: print it to save a PDF.")


page()
