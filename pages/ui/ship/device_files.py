"""The file for microcontrollers on the page Deploy: written, measured, and shown beside the estimate."""

from typing import Any

import streamlit as st

from compression import jobs
from compression.analysis.devices import TFLM, Deployment, OnBoard
from compression.analysis.tflm_kernels import SOURCE, program_bytes
from compression.recipe import Recipe
from compression.records.tflite import DeviceFile, TfliteMeasurement
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.page.waiting import awaited
from pages.ui.state import Visit

AT_ONCE = 2_000_000
"""Weights up to which the file is written unasked; larger networks fit on no microcontroller here."""

HOW = (
    "LiteRT and TensorFlow Lite Micro read .tflite files. This one has the scales of the ONNX file, and "
    "computes in integers only."
)

BOARD = (
    "An Arduino sketch and PlatformIO project: the model as a C array, its kernels and arena, and a test image that it "
    "classifies; it prints class and microseconds."
)


def written(visit: Visit, point: Point, file: bytes) -> DeviceFile | None:
    """The `.tflite` file of the explored recipe once it is measured; None before, or where nobody has asked for it."""
    key = f"tflite.{point.key}"
    if not computes_in_codes(point.recipe):
        return DeviceFile(reason="This recipe keeps activations as floats; a file for microcontrollers needs 8 bits.")
    quick = (point.measurement.parameters or AT_ONCE) < AT_ONCE and point.recipe.get("recover") is None
    if not quick and key not in visit.prepared_files:
        return None
    return awaited(visit.answer("tflite", jobs.device_file, visit.request_for(point.recipe), file), "Measuring .tflite")


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
    st.markdown("#### Microcontrollers", help=HOW)
    if found is None:
        key = f"tflite.{point.key}"
        if key not in visit.prepared_files:
            st.button("Write and measure .tflite", on_click=visit.prepared_files.add, args=(key,), key="tflite.write")
        return
    if found.measured is None:
        st.caption(wording.said(f"No .tflite file: {found.reason}"))
        return
    st.dataframe(rows(found.measured, estimate, point), hide_index=True)
    st.caption(wording.said(told(found.measured)))
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        downloads(visit, point, found)


def downloads(visit: Visit, point: Point, found: DeviceFile) -> None:
    """The file, and the folder with a sketch, which is made when it is asked for."""
    stem = wording.file_name(visit.subject, point.recipe).removesuffix(".onnx")
    st.download_button(f".tflite, {wording.size(len(found.content))}", found.content, f"{stem}.tflite",
                       on_click="ignore", key="tflite.download")  # fmt: skip
    key = f"board.{point.key}"
    if key not in visit.prepared_files:
        st.button("Prepare board.zip", on_click=visit.prepared_files.add, args=(key,), key="board.write", help=BOARD)
        return
    request = visit.request_for(point.recipe)
    content = awaited(visit.answer(key, jobs.board_folder, request, found, visit.subject.title), "Packing it")
    if content is not None:
        st.download_button(f"board.zip, {wording.size(len(content))}", content, "board.zip", on_click="ignore",
                           key="board.download", help=BOARD)  # fmt: skip


def rows(found: TfliteMeasurement, estimate: Deployment, point: Point) -> list[dict[str, Any]]:
    """What is known of the file: measured on it, and estimated from the ONNX file."""
    need = next(fit.need for fit in estimate.fits.values() if fit.device.runtime == TFLM)
    program, arena = program_bytes(name for name, _ in found.kernels), found.arena.size_bytes
    right, onnx = found.accuracy, point.measurement
    words = "Accuracy" if right.reference == "labels" else "Agreement with fp32"
    lines = [
        ("Flash", f"{wording.size(found.size_bytes)} file + {wording.size(program)} program",
         "file measured, program counted", f"{wording.size(need.flash)} estimated"),
        ("RAM: arena", wording.size(arena) if arena else "not measured", "measured by TFLM" if arena else "",
         f"{wording.size(need.activations)} estimated"),
        (words, wording.percent(right.value, right.n), f"measured with LiteRT, {found.n_test:,} images",
         f"{wording.percent(onnx.accuracy.value, onnx.accuracy.n)} measured, ONNX file, {onnx.accuracy.n:,} images"),
        ("Agreement with the ONNX file", wording.percent(found.equal, found.n_test) if found.equal is not None else "–",
         "measured" if found.equal is not None else "not measured", ""),
        ("Latency on this machine", wording.milliseconds(found.times.p50_ms), "measured with LiteRT",
         f"{wording.milliseconds(onnx.latency.p50_ms)} measured, ONNX file" if onnx.latency else ""),
    ]  # fmt: skip
    return [dict(zip(("", ".tflite file", "Source", "For comparison"), line, strict=True)) for line in lines]


def told(found: TfliteMeasurement) -> str:
    """Where the numbers come from, and what they leave open."""
    kernels = ", ".join(f"{name} {count}" for name, count in found.kernels)
    if found.arena.size_bytes is None:
        arena = f"TensorFlow Lite Micro's arena is not measured: {found.arena.reason}. What fits is estimated."
    else:
        arena = "The arena is what TensorFlow Lite Micro took here, in 64 bits; on a board of 32 bits it takes less."
        if found.arena.equal is not None:
            arena += f" Its kernels and LiteRT agree on {found.arena.equal:.0%} of {found.arena.answered} test images."
    return f"{arena} Program: {SOURCE}. Kernels: {kernels}."
