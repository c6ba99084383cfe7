"""The file for microcontrollers on the page Deploy: written, measured, and shown beside the estimate."""

from typing import Any

import streamlit as st

from compression import jobs
from compression.analysis.devices import TFLM, Deployment, OnBoard
from compression.analysis.tflm_kernels import SOURCE, program_bytes
from compression.language import N_, _
from compression.recipe import Recipe
from compression.records.tflite import DeviceFile, TfliteMeasurement
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.page.table import columns
from pages.ui.page.waiting import awaited
from pages.ui.ship.device_rows import MEASURED
from pages.ui.state import Visit

AT_ONCE = 2_000_000
"""Weights up to which the file is written unasked; larger networks fit on no microcontroller here."""

HOW = N_(
    "LiteRT and TensorFlow Lite Micro read .tflite files. This one has the scales of the ONNX file, and "
    "computes in integers only."
)

BOARD = N_(
    "An Arduino sketch and PlatformIO project: the model as a C array, its kernels and arena, and a test image that it "
    "classifies; it prints class and microseconds."
)


def written(visit: Visit, point: Point, file: bytes) -> DeviceFile | None:
    """The `.tflite` file of the explored recipe once it is measured; None before, or where nobody has asked for it."""
    key = f"tflite.{point.key}"
    if not computes_in_codes(point.recipe):
        return DeviceFile(
            reason=_("This recipe keeps activations as floats; a file for microcontrollers needs 8 bits.")
        )
    quick = (point.measurement.parameters or AT_ONCE) < AT_ONCE and point.recipe.get("recover") is None
    if not quick and key not in visit.prepared_files:
        return None
    return awaited(
        visit.answer("tflite", jobs.device_file, visit.request_for(point.recipe), file), _("Measuring .tflite")
    )


def computes_in_codes(recipe: Recipe) -> bool:
    """Whether activations have 8 bits."""
    quantize = recipe.get("quantize")
    return quantize is not None and quantize.activation_bits == 8  # type: ignore[attr-defined]


def board(found: DeviceFile | None) -> OnBoard | None:
    """What the file needs under TFLM, where that was measured."""
    if found is None or found.measured is None or found.measured.arena.size_bytes is None:
        return None
    measured = found.measured
    assert measured.arena.size_bytes is not None
    return OnBoard(measured.size_bytes, program_bytes(name for name, _ in measured.kernels), measured.arena.size_bytes)


def draw(visit: Visit, point: Point, found: DeviceFile | None, estimate: Deployment) -> None:
    """What was measured of the file, what had been estimated, and the file itself."""
    st.markdown(_("#### Microcontrollers"), help=_(HOW))
    if found is None:
        key = f"tflite.{point.key}"
        if key not in visit.prepared_files:
            st.button(
                _("Write and measure .tflite"), on_click=visit.prepared_files.add, args=(key,), key="tflite.write"
            )
        return
    if found.measured is None:
        st.caption(wording.quoted(_("No .tflite file: {reason}", reason=wording.shown(found.reason))))
        return
    lines = rows(found.measured, estimate, point)
    st.dataframe(lines, hide_index=True, column_config=columns(lines))
    st.caption(wording.quoted(told(found.measured)))
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        downloads(visit, point, found)


def downloads(visit: Visit, point: Point, found: DeviceFile) -> None:
    """The file, and the folder with a sketch, which is made when it is asked for."""
    stem = wording.file_name(visit.subject, point.recipe).removesuffix(".onnx")
    st.download_button(f".tflite, {wording.size(len(found.content))}", found.content, f"{stem}.tflite",
                       on_click="ignore", key="tflite.download")  # fmt: skip
    key = f"board.{point.key}"
    if key not in visit.prepared_files:
        st.button(
            _("Prepare board.zip"), on_click=visit.prepared_files.add, args=(key,), key="board.write", help=_(BOARD)
        )
        return
    request = visit.request_for(point.recipe)
    content = awaited(visit.answer(key, jobs.board_folder, request, found, visit.subject.title), _("Packing it"))
    if content is not None:
        st.download_button(
            _("board.zip, {size}", size=wording.size(len(content))),
            content,
            "board.zip",
            on_click="ignore",
            key="board.download",
            help=_(BOARD),
        )


def rows(found: TfliteMeasurement, estimate: Deployment, point: Point) -> list[dict[str, Any]]:
    """What is known of the file: measured on it, and estimated from the ONNX file."""
    need = next(fit.need for fit in estimate.fits.values() if fit.device.runtime == TFLM)
    program, arena = program_bytes(name for name, _ in found.kernels), found.arena.size_bytes
    right, onnx = found.accuracy, point.measurement
    words = _("Accuracy") if right.reference == "labels" else _("Agreement with fp32")
    lines = [
        (
            _("Flash"),
            _("{size} file + {size_2} program", size=wording.size(found.size_bytes), size_2=wording.size(program)),
            _("file measured, program counted"),
            _("{size} estimated", size=wording.size(need.flash)),
        ),
        (
            _("RAM: arena"),
            wording.size(arena) if arena else _("not measured"),
            _("measured by TFLM") if arena else "",
            _("{size} estimated", size=wording.size(need.activations)),
        ),
        (
            words,
            wording.percent(right.value, right.n),
            _("measured with LiteRT, {n_test:,} images", n_test=found.n_test),
            _(
                "{percent} measured, ONNX file, {n:,} images",
                percent=wording.percent(onnx.accuracy.value, onnx.accuracy.n),
                n=onnx.accuracy.n,
            ),
        ),
        (
            _("Agreement with the ONNX file"),
            wording.percent(found.equal, found.n_test) if found.equal is not None else "–",
            _(MEASURED) if found.equal is not None else _("not measured"),
            "",
        ),
        (
            _("Latency on this machine"),
            wording.milliseconds(found.times.p50_ms),
            _("measured with LiteRT"),
            _("{p50_ms} measured, ONNX file", p50_ms=wording.milliseconds(onnx.latency.p50_ms)) if onnx.latency else "",
        ),
    ]
    return [dict(zip(("", _(".tflite file"), _("Source"), _("For comparison")), line, strict=True)) for line in lines]


def told(found: TfliteMeasurement) -> str:
    """Where the numbers come from, and what they leave open."""
    kernels = ", ".join(f"{name} {count}" for name, count in found.kernels)
    if found.arena.size_bytes is None:
        arena = _(
            "TensorFlow Lite Micro's arena is not measured: {reason}. What fits is estimated.",
            reason=wording.shown(found.arena.reason),
        )
    else:
        arena = _("The arena is what TensorFlow Lite Micro took here, in 64 bits; on a board of 32 bits it takes less.")
        if found.arena.equal is not None:
            arena += _(
                " Its kernels and LiteRT agree on {equal:.0%} of {answered} test images.",
                equal=found.arena.equal,
                answered=found.arena.answered,
            )
    return _("{arena} Program: {SOURCE}. Kernels: {kernels}.", arena=arena, SOURCE=_(SOURCE), kernels=kernels)
