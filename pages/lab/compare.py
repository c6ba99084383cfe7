"""Compare: everything that was measured, in a table; and any two runs side by side."""

from functools import partial

import streamlit as st

from compression.language import _
from compression.store import FORMS, Run, export
from pages.ui.charts.plot import plot
from pages.ui.compare import run_rows, sections, ways_to_a_size
from pages.ui.model import wording
from pages.ui.page.guard import heard
from pages.ui.page.table import columns
from pages.ui.ship import run_story
from pages.ui.state import Table, shown, store, table


def page() -> None:
    """Filters and table, parallel coordinates, two runs."""
    here = table()
    st.subheader(_("Compare"), anchor=False)
    if here.notice:
        st.warning(wording.told(here.notice))
    everything = store().runs()
    if here.deleted:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(_("{count} deleted.", count=len(here.deleted)))
            st.button(_("Undo"), on_click=heard(here.restore))
    if not everything:
        st.info(_("No runs yet. Every file measured on Explore appears here."))
        ways_to_a_size.draw()
        return
    found = list(filter(choose(everything).keeps, everything))
    if not found:
        st.info(_("No runs match these filters."))
        return
    act(here, listed(here, found), found)
    lines = wording.counted(min(len(found), run_rows.LINES), "run")
    title = _("Settings and measures of {lines} as parallel coordinates", lines=lines)
    with (opened := st.expander(title, key="runs.parallel", on_change="rerun")):
        if opened.open:
            plot(run_rows.parallel(found), _("Settings and measures of each run as a line."), key="parallel")
            drag = _("Drag along an axis to filter runs; double-click it to clear the filter.")
            st.caption(f"{drag} {run_rows.untimed(found)}")
    ways_to_a_size.draw(everything[0].subject.dataset)
    two(here, everything + store().runs(role="baseline"))


def choose(everything: list[Run]) -> run_rows.Filter:
    """What is looked for."""
    text, subject, favourites = st.columns([3, 3, 2], vertical_alignment="bottom")
    titles = {None: _("All")} | {(run.subject.model, run.subject.dataset): run_rows.title(run) for run in everything}
    chosen = subject.selectbox(_("Network and dataset"), titles, key="runs.subject", format_func=titles.__getitem__)
    return run_rows.Filter(
        text.text_input(_("Search"), key="runs.text", placeholder=_("a setting, a value, a note")),
        chosen if chosen in titles else None,  # a browser may send a label of the language before
        favourites.toggle(_("Favourites only"), key="runs.favourites"),
    )  # fmt: skip


def listed(here: Table, found: list[Run]) -> list[Run]:
    """The table; returns the runs that are ticked. Ticks are of rows: where other runs come into them, they are off."""
    key = f"runs.{here.number_of(found)}"
    rows, height = [run_rows.row(run) for run in found], min(360, 40 + 35 * len(found))
    told = st.dataframe(rows, hide_index=True, key=key, on_select="rerun", selection_mode="multi-row",
                        column_config=columns(rows, sections.COLUMNS), height=height)  # fmt: skip
    return [found[i] for i in told["selection"]["rows"] if i < len(found)]


def act(here: Table, chosen: list[Run], found: list[Run]) -> None:
    """What can be done with the ticked runs, and the table as a file."""
    count = wording.counted(len(found), "run")
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.button(_("Compare selected"), type="primary", disabled=len(chosen) != 2, on_click=here.put, args=(chosen,))
        untold = run_story.refusal(chosen)
        if st.button(_("Tell as a story"), disabled=bool(untold), help=untold or None):
            st.switch_page("pages/ship/demo.py", query_params={"runs": ",".join(run.id for run in chosen)})
        starred = bool(chosen) and all(run.favourite for run in chosen)
        st.button(_("Remove from favourites") if starred else _("Add to favourites"), disabled=not chosen,
                  on_click=heard(here.favour), args=(chosen, not starred))  # fmt: skip
        st.button(_("Delete"), disabled=not chosen, on_click=heard(here.delete), args=(chosen,))
        with st.popover(_("Note"), disabled=len(chosen) != 1):
            key = f"note.{[run.id for run in chosen]}"
            st.text_area(_("Note"), chosen[0].note if len(chosen) == 1 else "", key=key)
            st.button(_("Save"), on_click=keep_note, args=(here, chosen, key))
        with st.popover(_("Export")):
            for form in FORMS:
                content = partial(export, store(), found, form)
                st.download_button(_("{count} as {form}", count=count, form=form), content, f"runs.{form}",
                                   key=f"export.{form}", on_click="ignore", width="stretch")  # fmt: skip
        place = wording.place(store().place)
        st.caption(
            _("{count}, {selected} selected. Stored in {place}.", count=count, selected=len(chosen), place=place)
        )


@heard
def keep_note(here: Table, chosen: list[Run], key: str) -> None:
    """Takes the text as it stands now, though it was not left yet when the button was drawn."""
    here.annotate(chosen, shown(key))


def two(here: Table, everything: list[Run]) -> None:
    """A and B, of which one may be a network's fp32 file, and one section at a time of what tells them apart."""
    by_id, labels = {run.id: run for run in everything}, run_rows.labels(everything)
    here.fit(everything)
    for side, place in zip("ab", st.columns(2), strict=True):
        place.selectbox(side.upper(), list(by_id), key=f"compare.{side}", format_func=labels.__getitem__)
    here.look()
    a, b = by_id[here.a], by_id[here.b]
    if a.id == b.id:
        st.info(_("Choose two different runs."))
        return
    section = st.segmented_control(_("Section"), list(sections.SECTIONS), key="compare.section", default="Measures",
                                   required=True, label_visibility="collapsed", format_func=_)  # fmt: skip
    sections.SECTIONS[section](a, b)


page()
