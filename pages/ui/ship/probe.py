"""Another machine on the page Deploy: the zip that goes there, and the report that comes back."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from compression import jobs
from compression.errors import UserError
from compression.language import N_, _
from compression.store import Run
from compression.store.probes import Added
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.page.table import columns
from pages.ui.page.uploader import uploader
from pages.ui.page.waiting import awaited
from pages.ui.ship import receive
from pages.ui.state import Visit, kept, put, shown_or_none, store

OFFERED = 30
"""The newest runs of a network that can be chosen."""

HOW = N_(
    "Unpack the zip on a Raspberry Pi, a Jetson, a server or a phone (Termux) with Python, NumPy and ONNX Runtime, and "
    "run `python probe.py` there. It measures the latency of every file against the fp32 file and classifies 200 test "
    "images. Upload the report.json that it writes here, or have it sent by a one-time link in the same network."
)

TRAINS = N_("its recipe trains")
TFLITE = N_(
    "Each run's network for LiteRT goes along, except those with a training step. probe.py measures it where LiteRT is "
    "installed (`pip install ai-edge-litert`); the results appear on the charts as a machine of their own, “.tflite”."
)


def draw(visit: Visit, point: Point) -> None:
    """Choose runs, take the zip along, and bring the report back."""
    st.markdown(_("#### Another machine"), help=_(HOW))
    st.page_link("pages/ship/browser.py", label=_("Run this file in your browser"), icon=":material/open_in_browser:")
    there, back = st.columns(2, gap="large")
    with there:
        package(visit, point)
    with back:
        report(visit)


def package(visit: Visit, point: Point) -> None:
    """The zip with `probe.py`, made when it is asked for."""
    runs = {run.id: run for run in _runs(visit, point)}
    titles = {run: _title(each) for run, each in runs.items()}
    wanted = shown_or_none("probe.runs")
    put("probe.runs", [run for run in ([point.run] if wanted is None else wanted) if run in runs])
    chosen = st.multiselect(_("Runs to measure"), list(runs), key="probe.runs", format_func=titles.__getitem__)
    contents = {run: kept(store().file(runs[run])) for run in chosen}
    with_tflite = st.toggle(_("Include .tflite files"), key="probe.tflite", help=_(TFLITE))
    there = tuple(
        (run, titles[run], file, _written_from(runs[run]) if with_tflite else "")
        for run, file in contents.items()
        if file is not None
    )
    if len(there) < len(contents):
        st.caption(_("Runs whose file is no longer on this machine are left out."))
    key = f"probe.{'.'.join(run for run, *_ in there)}{'.tflite' if with_tflite else ''}"
    if not there:
        st.caption(_("Choose at least one run; the fp32 file is always included."))
    elif key not in visit.prepared_files:
        st.button(_("Prepare probe.zip"), on_click=visit.prepared_files.add, args=(key,))
    else:
        request = visit.request_for(point.recipe)
        packed = awaited(visit.answer(key, jobs.probe_package, request, there), _("Packing the files"))
        if packed is not None:
            st.download_button(
                _("probe.zip, {size}", size=wording.size(len(packed.content))),
                packed.content,
                "probe.zip",
                on_click="ignore",
                key="probe.download",
            )
            trained = [(titles[run], _(TRAINS)) for run, *_rest, recipe in there if with_tflite and not recipe]
            left_out([*packed.without, *trained])


def left_out(without: Sequence[tuple[str, str]]) -> None:
    """The runs whose `.tflite` file the zip lacks, with the reasons."""
    if without:
        runs = "; ".join(f"{title} ({wording.shown(reason).rstrip('.')})" for title, reason in without)
        st.caption(wording.quoted(_("Without a .tflite file: {runs}.", runs=runs)))


def report(visit: Visit) -> None:
    """The report of a probe, as a file or by a link."""
    file = uploader(
        _("Upload report.json"), ["json"], key="probe.report", most_mb=4, on_change=receive.dismiss, args=(visit,)
    )
    sent = receive.draw(visit)
    if sent is not None:
        told(visit, sent)
    elif file is not None:
        try:
            found = jobs.take_report(file.getvalue())
        except UserError as error:
            st.error(wording.said(str(error)))
        else:
            told(visit, found)
    if machines := store().probes.machines():
        st.caption(_("Machines with reports. The charts on Explore can show the latencies of each."))
        rows = [
            {"Machine": each.machine.title, "Processor": each.machine.cpu, "Cores": each.machine.cores,
             "Runtime": each.machine.runtime_version, "Files": each.files, "Measured": each.measured}
            for each in machines
        ]  # fmt: skip
        moment = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")
        st.dataframe(rows, hide_index=True, column_config=columns(rows, {"Measured": moment}))


def told(visit: Visit, found: Added) -> None:
    """What a report brought, in sentences, and the way to the charts."""
    said = _("{title}: results for {runs} added.", title=found.title, runs=wording.counted(found.runs, "run"))
    st.success(wording.quoted(_("{said} This report had been added before.", said=said) if found.again else said))
    if found.unknown:
        st.caption(
            _("{unknown} in the report belong to no stored run.", unknown=wording.counted(found.unknown, "file"))
        )
    for sentence in found.failed:
        st.caption(wording.quoted(_("A file failed on that machine: {sentence}", sentence=wording.shown(sentence))))
    if st.button(_("Show these latencies on the charts")):
        visit.look_next(replace(visit.view, machine=found.machine))
        st.switch_page("pages/lab/explore.py")


def _runs(visit: Visit, point: Point) -> list[Run]:
    """The newest runs of the very network and images, the explored one first."""
    subject = visit.subject
    found = [run for run in store().runs(model=subject.model, dataset=subject.dataset, limit=OFFERED) if run.full]
    first = [run for run in found if run.id == point.run] or found[:1]
    return [run for run in found if first and run.subject == first[0].subject]


def _written_from(run: Run) -> str:
    """The recipe by which a run's `.tflite` file is written; none where that would take a training."""
    recipe = run.readable
    return "" if recipe is None or recipe.get("recover") else run.recipe_json


def _title(run: Run) -> str:
    recipe = run.readable
    line = wording.recipe_line(recipe) if recipe else _("recipe {recipe_hash}", recipe_hash=run.recipe_hash[:8])
    return f"{line} – {wording.percent(run.accuracy.value, run.accuracy.n)}, {wording.size(run.size_bytes)}"
