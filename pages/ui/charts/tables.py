"""The tables behind the charts, as rows: numbers stay numbers, so that a column sorts."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from compression.analysis.energy import energy_microjoules
from compression.language import N_
from compression.records.measurement import LayerReport
from pages.ui.charts.scatter_data import where
from pages.ui.model import wording
from pages.ui.model.points import Point, Trail
from pages.ui.model.words import WORDS

MEASURED = {
    **{words.measure: st.column_config.NumberColumn(words.title, format="%.2f") for words in WORDS.values()},
    "Drop": st.column_config.NumberColumn(N_("Drop, points"), format="%.2f"),
    "Size": st.column_config.NumberColumn(N_("Size, KB"), format="%.1f"),
    "Latency": st.column_config.NumberColumn(N_("Latency, fp32 = 1"), format="%.2f"),
    "MACs": st.column_config.NumberColumn(N_("MACs, million"), format="%.2f"),
    "Images": st.column_config.NumberColumn(N_("Test images"), format="localized"),
}
"""Columns of every table of measured files."""

COLUMNS = {
    "key": None,
    **MEASURED,
    "Energy": st.column_config.NumberColumn(N_("Energy, µJ (estimated)"), format="%.1f"),
}

OPERATORS = {
    name: st.column_config.NumberColumn(format=form, width="small")
    for form, names in {
        "localized": ("Calls", "fp32 calls"), "%.3f": ("ms", "fp32 ms"),
        "percent": ("Share", "fp32 share"),
    }.items()
    for name in names
}  # fmt: skip
"""Columns of `byte_figures.operators`, side by side in half a page."""

BITS = N_(
    "Bits of a stored weight. On x86 processors without VNNI, 8-bit weights use seven (Quantize, option Reduce range)."
)

LAYERS = {
    "Sparsity": st.column_config.NumberColumn(format="percent"),
    "Bytes": st.column_config.NumberColumn(format="localized"),
    "Bits": st.column_config.NumberColumn(help=BITS),
    "Weights": st.column_config.NumberColumn(format="localized"),
    "MACs": st.column_config.NumberColumn(format="localized"),
    "SQNR, dB": st.column_config.NumberColumn(
        format="%.1f", help=N_("Signal-to-quantization-noise ratio of the weights.")
    ),
    "Output error": st.column_config.NumberColumn(
        format="percent",
        help=N_("Relative error of the layer's output on calibration images, with all earlier layers compressed too."),
    ),
}

FORMATS = {
    "onnx": N_("ONNX, packed weights (the measured file)"),
    "pixels": N_("ONNX with preprocessing (input: uint8 pixels, n × height × width × channels)"),
    "qdq": N_("ONNX, QDQ format (QuantizeLinear, DequantizeLinear)"),
    "ort": N_("ORT format (ONNX Runtime)"),
    "safetensors": N_("PyTorch weights and settings"),
}
"""The formats of `export.formats`, and the measured file with preprocessing inside, in the words of the page."""


def points(trail: Trail, now: Point | None) -> list[dict[str, Any]]:
    """A row for each point, the current one first, then the latest."""
    known = [point for point in reversed(trail.points) if now is None or point.key != now.key]
    return [_point(point) for point in (*([now] if now else []), *known)]


def _point(point: Point) -> dict[str, Any]:
    measured = point.measurement
    return {
        "key": point.key,
        "Recipe": wording.recipe_line(point.recipe),
        WORDS[measured.accuracy.reference].measure: 100 * measured.accuracy.value,
        "Drop": 100 * measured.accuracy.drop,
        "Size": measured.size_bytes / 1000,
        "Latency": measured.latency and measured.latency.ratio,
        "MACs": measured.macs and measured.macs / 1e6,
        "Energy": energy_microjoules(point.recipe, measured),
        "Images": measured.accuracy.n,
        "Where": where(point),
    }


def layers(reports: Sequence[LayerReport]) -> list[dict[str, Any]]:
    """A row for each layer, in the order of the network."""
    return [
        {
            "Layer": report.name,
            "Kind": report.kind,
            "Shape": " × ".join(map(str, report.shape)),
            "Weights": report.weights,
            "Bits": report.bits,
            "Sparsity": report.sparsity,
            "MACs": report.macs,
            "Bytes": report.size_bytes,
            "Stored as": report.encoding,
            "SQNR, dB": report.sqnr_db,
            "Output error": report.output_error,
        }
        | ({"Product": report.product} if any(each.product for each in reports) else {})
        for report in reports
    ]
