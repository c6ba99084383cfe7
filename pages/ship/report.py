"""Report: the question, the recommendation with its reason, and the numbers, as a file for those who decide."""

from dataclasses import replace
from datetime import datetime

import streamlit as st

from compression.analysis.comparison import Comparison
from compression.language import N_, _
from pages.ui.compare import sections
from pages.ui.explore import view_controls
from pages.ui.model import wording
from pages.ui.model.budget import usual
from pages.ui.model.points import Point
from pages.ui.ship import report, report_html, report_pdf
from pages.ui.ship.report import Report
from pages.ui.state import opened, store

NO_LIMIT = N_("Switch on “{}” to set your own limit.")
NOTHING = N_("Nothing has been measured yet for this network and dataset. Measure a few recipes on Explore first.")


def page() -> None:
    """The limits and the files on top, the report below."""
    visit = opened()
    st.space("small")
    if visit.notice:
        st.warning(wording.told(visit.notice))
    st.markdown(f"### {_('{page}: {subject}', page=_('Report'), subject=wording.quoted(visit.subject.title))}")
    with st.container(key="budget-bar"):
        budget = view_controls.budget(visit.trail.words)
        visit.look(replace(visit.view, budget=budget))
    named = st.columns([3, 2])[0]
    with named:
        usual_title = _("{title}: compression results", title=visit.subject.title)
        key = f"report.title.{visit.subject.model}.{visit.subject.dataset}"
        title = st.text_input(_("Title"), max_chars=120, key=key, placeholder=usual_title).strip() or usual_title
        files = st.container()
        if budget.asked != budget:
            st.info(wording.in_a_row(usual(visit.trail.words), _(NO_LIMIT).format(_(visit.trail.words.limit))))
    when, compared = datetime.now().astimezone(), beside_fp32(report.recommended(visit.trail, budget))
    told = report.report(title, visit.trail, budget, when, compared)
    if told is None:
        st.info(_(NOTHING))
        st.page_link("pages/lab/explore.py", label=_("Open Explore"))
        return
    with files:
        downloads(told, wording.file_name(visit.subject, visit.recipe).removesuffix(".onnx"))
    st.iframe(report_html.to_html(told), height=1100)


def beside_fp32(point: Point | None) -> Comparison | str:
    """The predictions of the recommended file beside those of its fp32 file, or why they are not there (yet)."""
    if point is None or not point.run:
        return report.NOT_STORED
    run = store().run(point.run)
    base = store().baseline(run.subject)
    if base is None or not sections.are_stored(base, run):
        return report.NOT_STORED
    return sections.compared(base, run) or report.COMPARING


def downloads(told: Report, stem: str) -> None:
    """The report in each form."""
    files: dict[str, tuple[str | bytes, str, str]] = {
        "PDF": (report_pdf.to_pdf(told), "pdf", "application/pdf"),
        "HTML": (report_html.to_html(told), "html", "text/html"),
        "Markdown": (report.to_markdown(told), "md", "text/markdown"),
        "CSV": (report.to_csv(told), "csv", "text/csv"),
        "JSON": (report.to_json(told), "json", "application/json"),
    }
    with st.container(horizontal=True):
        for name, (content, suffix, kind) in files.items():
            st.download_button(
                name, content, f"{stem}-report.{suffix}", kind, key=f"report.{suffix}", on_click="ignore",
                type="primary" if name == "PDF" else "secondary",
            )  # fmt: skip
        st.caption(_("All files work offline. PDF and HTML are laid out for A4."))


page()
