"""What a search has found: the front as a table, a point to take along, what a little more would buy, what matters."""

import streamlit as st

from compression.jobs import SearchView, search_importances
from compression.language import N_, _
from compression.records.search import Trial
from pages.ui.charts import search_figures
from pages.ui.charts.plot import plot
from pages.ui.model import search_points, wording
from pages.ui.model.subject import Subject
from pages.ui.page.table import columns
from pages.ui.state import store

COLUMNS = {
    "Size": st.column_config.NumberColumn(N_("Size, KB"), format="%.1f"),
    "Latency": st.column_config.NumberColumn(N_("Latency, fp32 = 1"), format="%.2f"),
    "Drop": st.column_config.NumberColumn(N_("Drop, points (validation)"), format="%.2f"),
    "Drop on test": st.column_config.NumberColumn(N_("Drop, points (test)"), format="%.2f"),
    "Worst class": st.column_config.NumberColumn(N_("Worst-class accuracy, %"), format="%.1f"),
    "Agreement": st.column_config.NumberColumn(N_("Agreement, %"), format="%.1f"),
    "MACs": st.column_config.NumberColumn(N_("MACs, million"), format="%.2f"),
    "Memory": st.column_config.NumberColumn(N_("Peak memory, KB"), format="%.1f"),
}
PAGES = {
    "Explore": "pages/lab/explore.py", "Deploy": "pages/ship/deploy.py", "Report": "pages/ship/report.py",
}  # fmt: skip
SLICES = {"drop": (N_("Drop, points"), False), "size_bytes": (N_("File size, KB"), True)}
FEW = N_("Importances appear after 20 finished or stopped trials.")
ALIKE = N_("fANOVA over the settings that all recipes share.")


def front(view: SearchView) -> str:
    """The table of the front; the key of the row that is ticked, else ''."""
    rows = search_points.rows(view)
    if not rows:
        return ""
    st.markdown(_("#### Pareto front"))
    told = st.dataframe(
        rows, hide_index=True, column_config=columns(rows, COLUMNS), on_select="rerun", selection_mode="single-row",
        key=f"search.front.{view.job}.{len(rows)}", height=min(420, 40 + 35 * len(rows)),
    )  # fmt: skip
    ticked = told["selection"]["rows"]
    return search_points.point(view.front[ticked[0]], view).key if ticked and ticked[0] < len(rows) else ""


def take_along(trial: Trial, subject: Subject) -> None:
    """One file, and where it goes."""
    with st.container(border=True, key="search-selection"):
        st.markdown(_("**Selected** · {described}", described=wording.quoted(search_points.described(trial))))
        with st.container(horizontal=True, gap="small"):
            for label, page in PAGES.items():
                st.page_link(page, label=_(label), query_params=search_points.link(trial, subject),
                             icon=":material/arrow_forward:")  # fmt: skip
        if trial.test_accuracy is None:
            st.caption(_("Not on the Pareto front, or not tested yet. Open it to measure it on the test images."))


def told(view: SearchView) -> None:
    """Why nothing keeps the limits, and what a little more would buy."""
    if view.reason and view.trials:
        st.info(wording.said(view.reason))
    for line in search_points.offers(view):
        st.markdown(f"- {wording.quoted(line)}")


def importances(view: SearchView) -> None:
    """How much each setting decides of each figure."""
    with st.expander(_("Parameter importance"), on_change="rerun", key="search.importances") as folded:
        if not folded.open:
            return
        with st.spinner(_("Comparing trials …")):
            found = search_points.fronts(view, _importances(view.job, len(view.trials)))
        if not found:
            st.caption(_(FEW))
            return
        for (title, pairs), place in zip(found, st.columns(len(found)), strict=True):
            with place:
                st.markdown(f"**{title.capitalize()}**")
                plot(
                    search_figures.importance(pairs),
                    _("Importance of each setting for {title}.", title=title),
                    key=f"search.importance.{title}",
                )
        st.caption(_(ALIKE))
        name = st.selectbox(_("Slice by setting"), search_points.settings_of(view), key="search.slice")
        if name is None:
            return
        for (figure, (called, log)), place in zip(SLICES.items(), st.columns(len(SLICES)), strict=True):
            points, title = search_points.along(view, name, figure), _(called)
            with place:
                drawn = search_figures.slices(points, name, title, log=log)
                plot(
                    drawn,
                    _("{title} of {count} trials by {name}.", title=title, count=len(points), name=name),
                    key=f"search.slice.{figure}",
                )


@st.cache_data(show_spinner=False, max_entries=20)
def _importances(job: str, trials: int) -> dict[str, dict[str, float]]:
    return search_importances(store(), job)
