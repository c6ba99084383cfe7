"""Deploy: take the file along, see on which devices it fits, and what keeps it from being faster."""

import streamlit as st

from compression import jobs
from compression.analysis.devices import Deployment, on_board
from compression.export import snippets
from compression.language import N_, _
from compression.models import OWN
from pages.ui.explore import figures_of_merit, panels
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.page.table import columns
from pages.ui.ship import device_files, device_rows, probe
from pages.ui.state import Visit, kept

PHOTO = N_("Python, a photo")  # lines that run the file with preprocessing inside

DEVICES = N_(
    "Microcontrollers: memory is measured on the .tflite file where there is one, else estimated. Others: counted on "
    "the ONNX file. Times and energies are estimates (roofline)."
)


def page() -> None:
    """The file of the recipe that was explored last, from download to device."""
    visit, point = panels.explored(_("Deploy"))
    if point is None:
        return
    figures_of_merit.draw(st.columns(3), point, visit.trail.words, old=False)
    devices(visit, point)
    take_along(visit, point)
    probe.draw(visit, point)
    panels.speed(visit, point, [])


def devices(visit: Visit, point: Point) -> None:
    """Which devices it fits on, with estimates; this machine's estimate beside what was measured."""
    file, request = kept(point.file) or b"", visit.request_for(point.recipe)
    weights = point.measurement.parameters or 0
    found = panels.awaited(
        visit.answer("deploy", jobs.compare_deployment, request, file, weights), _("Estimating memory and latency")
    )
    if found is None:
        return
    estimate, fp32 = found
    st.markdown(_("#### Devices"), help=_(DEVICES))
    table = st.container()
    written = device_files.written(visit, point, file)
    board = device_files.board(written)
    ours = on_board(estimate, board) if board else estimate
    with table:
        verdicts(ours, fp32)
    device_files.draw(visit, point, written, estimate)
    beside(visit, point, ours)


def verdicts(ours: Deployment, fp32: Deployment) -> None:
    """A row for each device, and the sums of the one that is selected."""
    rows = device_rows.rows(ours, fp32)
    chosen = st.dataframe(
        rows,
        hide_index=True,
        column_config=columns(rows, device_rows.COLUMNS),
        on_select="rerun",
        key="devices",
        selection_mode="single-row",
        placeholder="–",
        height=38 + 35 * len(rows),
    )
    picked = [list(ours.fits.values())[i] for i in chosen["selection"]["rows"]]
    st.caption(
        "\n".join(f"- {line}" for line in device_rows.details(picked[0]))
        if picked
        else _("Select a device to see the calculation.")
    )


def beside(visit: Visit, point: Point, ours: Deployment) -> None:
    """This machine, and the way to another."""
    file, request = kept(point.file) or b"", visit.request_for(point.recipe)
    here, transfer = st.columns(2, gap="large")
    with here:
        st.markdown(_("#### This machine"))
        st.markdown(device_rows.on_this_machine(ours, point.measurement.latency))
        grown = None
        if st.toggle(_("Measure process memory"), key="deploy.grow"):
            grown = panels.awaited(visit.answer("grow", jobs.memory_growth, request, file), _("Running a large batch"))
        st.markdown(device_rows.memory(ours, grown))
    with transfer:
        st.markdown(_("#### Transfer time"), help=_("At an assumed typical data rate of each connection."))
        sizes = point.measurement.size_bytes, point.measurement.baseline_size_bytes
        rows = device_rows.transfers(*sizes)
        st.dataframe(rows, hide_index=True, column_config=columns(rows, device_rows.TRANSFERS))


def take_along(visit: Visit, point: Point) -> None:
    """Every format with its size and the lines that load it."""
    st.markdown(_("#### Download"))
    files, code = st.columns(2, gap="large")
    with files:
        panels.files(visit, point, [])
    stem = wording.file_name(visit.subject, point.recipe).removesuffix(".onnx")
    shape, brought = visit.subject.input_shape, visit.subject.weights == OWN
    with code:
        texts = {PHOTO: snippets.photo_snippet(stem, visit.subject.preprocess)}
        texts |= {name: snippets.snippet(name, stem, brought=brought) for name in snippets.PYTHON}
        texts |= {name: snippets.foreign_snippet(name, stem, shape) for name in snippets.LANGUAGES}
        language = st.selectbox(_("Example code"), texts, key="deploy.language", format_func=snippet_title)
        st.code(texts[language], language={"C++": "cpp", "JavaScript": "javascript"}.get(language, "python"))


def snippet_title(name: str) -> str:
    """What example code is called."""
    return _("Python, {name}", name=name) if name in snippets.PYTHON else _(name)


page()
