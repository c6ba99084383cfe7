"""What stands below the charts, one panel at a time: points, bytes, time, layers, the recipe, files."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression import jobs
from compression.language import N_, _
from compression.store.records import digest
from pages.ui.charts import byte_figures, tables
from pages.ui.charts.plot import plot
from pages.ui.charts.scatter_data import Chart
from pages.ui.explore.learning_curve import learning
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.model.view import PANELS
from pages.ui.page.table import columns
from pages.ui.page.waiting import awaited, tell
from pages.ui.state import Visit, kept, opened, shown

COMES = N_("Available after the full measurement.")
GONE = N_("The file is not on this machine. Measure again to recreate it.")
WAITING = N_("Available after the first measurement.")


def draw(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """The choice of a panel, and the panel."""
    chosen = (
        st.segmented_control(
            _("Panel"), PANELS, key="panel", required=True, label_visibility="collapsed", format_func=_
        )
        or PANELS[0]
    )
    visit.look(replace(visit.view, panel=chosen))
    with st.container(key="panel-body"):
        SHOWN[chosen](visit, point, drawn)


def points(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """The table behind the charts; a row selects its point."""
    rows = tables.points(visit.trail, point)
    if not rows:
        st.caption(_(WAITING))
        return
    keys, height = [row["key"] for row in rows], min(420, 45 + 36 * len(rows))
    name = f"points.{digest(*keys, str(visit.selection.cleared))}"  # a tick is of a row: among other rows it comes off
    st.dataframe(rows, hide_index=True, key=name, on_select=partial(_tick, visit, keys, name),
                 selection_mode="single-row", column_config=columns(rows, tables.COLUMNS), height=height)  # fmt: skip


def _tick(visit: Visit, keys: list[str], name: str) -> None:
    """Selects the point of the ticked row, if there is one."""
    ticked = shown(name)["selection"]["rows"]
    visit.selection.key = keys[ticked[0]] if ticked else ""


def books(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """Where the bytes of the file went."""
    if point is None or point.ledger is None:
        st.caption(_(COMES))
        return
    by_layer = st.toggle(_("Per layer"), key="books.layers")
    shown = byte_figures.layer_by_layer(point.ledger) if by_layer else byte_figures.whole_file(point.ledger)
    plot(byte_figures.figure(shown), shown.alt, key=f"books.{by_layer}")
    st.caption(byte_figures.summary(point.ledger))


def speed(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """Why is it not faster? And ONNX Runtime's own account, beside the fp32 file's."""
    file = kept(point.file) if point else None
    if point is None or file is None:
        st.caption(_(GONE) if point and point.full else _(COMES))
        return
    request = visit.request_for(point.recipe)
    answer = visit.answer("explain", jobs.explain_latency, request, file, point.layers)
    told = awaited(answer, _("Profiling the file"))
    if told is None:
        return
    reasons, times = st.columns(2, gap="large")
    with reasons:
        st.markdown(_("**Why isn't it faster?**"))
        st.markdown(
            "\n".join(f"- {line}" for line in byte_figures.findings(told.findings)) or _("No known bottleneck.")
        )
        st.caption(
            _(
                "Transfer size: {size} with gzip, {size_2} with zstd.",
                size=wording.size(told.wire.gzip),
                size_2=wording.size(told.wire.zstd),
            )
        )
    with times:
        st.markdown(_("**Time per operator**"), help=_("ONNX Runtime's profiler; medians of 50 runs with one image."))
        rows = byte_figures.operators(told.profile, told.baseline)
        st.dataframe(rows, hide_index=True, column_config=columns(rows, tables.OPERATORS))


def layers(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """One row for each layer of the file."""
    if point is None or not point.layers:
        st.caption(_(COMES))
        return
    rows = tables.layers(point.layers)
    st.dataframe(rows, hide_index=True, column_config=columns(rows, tables.LAYERS))


def curve(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """How the network recovers."""
    learning(visit)


def recipe(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """The recipe, to take along."""
    yaml, command = st.columns(2)
    yaml.code(visit.recipe.to_yaml(), language="yaml")
    command.code(wording.command(visit.subject, visit.recipe), language="bash", wrap_lines=True)


def files(visit: Visit, point: Point | None, drawn: list[Chart]) -> None:
    """The file, and the same network in other formats, which are written when they are asked for."""
    file = kept(point.file) if point else None
    if point is None or file is None:
        st.caption(_(GONE) if point and point.full else _(COMES))
        return
    stem = wording.file_name(visit.subject, point.recipe).removesuffix(".onnx")
    for format_name, title in tables.FORMATS.items():
        name, place = st.columns([3, 2], vertical_alignment="center", gap="small")
        name.markdown(_(title))
        _downloads(visit, point, file, format_name, stem, place)


def _downloads(visit: Visit, point: Point, file: bytes, format_name: str, stem: str, place: DeltaGenerator) -> None:
    key = f"files.{format_name}.{point.key}"
    with place.container(key=f"written.{format_name}", horizontal=True, gap="small"):
        contents: dict[str, bytes] | None = {".onnx": file}
        if format_name != "onnx" and key not in visit.prepared_files:
            st.button(_("Prepare"), key=key, on_click=visit.prepared_files.add, args=(key,))
            return
        if format_name != "onnx":
            request = visit.request_for(point.recipe)
            if format_name == "pixels":
                answer = visit.answer(format_name, jobs.write_with_preprocessing, request, file)
            else:
                answer = visit.answer(format_name, jobs.write_format, request, format_name)
            contents = awaited(answer, _("Exporting"))
        for suffix, content in (contents or {}).items():
            st.download_button(f"{suffix}, {wording.size(len(content))}", content, f"{stem}{suffix}", on_click="ignore",
                               key=f"download.{suffix}.{point.key}")  # fmt: skip


def explored(page: str) -> tuple[Visit, Point | None]:
    """The head of a page on the recipe that was explored last, and its point; None where that is not measured yet."""
    visit = opened()
    visit.choose(visit.subject, visit.recipe)
    st.space("small")
    if visit.notice:
        st.warning(wording.told(visit.notice))
    st.markdown(f"### {_('{page}: {subject}', page=page, subject=wording.quoted(visit.subject.title))}")
    st.caption(wording.quoted(wording.recipe_line(visit.recipe)))
    point = measured(visit, st.empty())
    if point and point.recipe != visit.recipe:
        st.caption(_("This is the file before training. Start the training on Explore."))
    return visit, point


def measured(visit: Visit, status: DeltaGenerator) -> Point | None:
    """The recipe's point with its file, once it is measured; until then a line says what is being done."""
    for news in visit.news():
        with status.container():
            tell(news, visit.measure_again)
    point = visit.now
    if point is None or not point.full:
        return None
    status.empty()
    if kept(point.file) is None:
        with status.container():
            st.warning(_(GONE))
            st.button(_("Measure again"), on_click=visit.measure_again)
        return None
    return point


SHOWN: dict[str, Callable[[Visit, Point | None, list[Chart]], None]] = dict(
    zip(PANELS, (points, books, speed, layers, curve, recipe, files), strict=True)
)
