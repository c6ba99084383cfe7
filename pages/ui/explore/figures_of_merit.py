"""The three figures of merit with their changes, and the line that says what they were measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from streamlit.delta_generator import DeltaGenerator

from compression.language import N_, _, n_
from compression.records.measurement import Measurement
from compression.store.records import FROM_STORE
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.model.words import WORDS, Words

Places = Sequence[DeltaGenerator]

NOTHING = "–"
NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class Figure:
    """One figure of merit as text: its value, a qualifier in small print, and its change against fp32 ('' for none)."""

    label: str
    value: str
    small: str
    change: str
    remark: str
    colour: Literal["normal", "inverse", "off"]
    help: str


SIZE = N_("Size of the .onnx file, and its compression ratio to the smallest plain fp32 file.")
LATENCY = N_(
    "Median latency for one image in ONNX Runtime and its ratio to the fp32 file, ± half of the 95% interval. "
    "Both files are timed alternately."
)


def figures(measured: Measurement | None, words: Words = WORDS["labels"]) -> list[Figure]:
    """Accuracy or agreement, file size and latency; dashes where nothing is measured."""
    return [_accuracy(measured, words), _size(measured), _latency(measured)]


def draw(places: Places, point: Point | None, words: Words, *, old: bool) -> Places:
    """The three figures side by side, grey where they are those of an earlier setting; returns where to draw next."""
    told = figures(point.measurement if point else None, words)
    return [_metric(place, figure, old=old) for place, figure in zip(places, told, strict=True)]


def _metric(place: DeltaGenerator, figure: Figure, *, old: bool) -> DeltaGenerator:
    small = f" :small[:gray[{figure.small.replace(' ', NO_BREAK)}]]" if figure.small else ""
    value = f":gray[{figure.value}]" if old else figure.value
    unchanged = 0 if figure.remark else None
    return place.metric(
        figure.label, f"{value}{small}", figure.change or unchanged, "off" if old else figure.colour,
        delta_description=figure.remark, help=figure.help, border=True,
    )  # fmt: skip


def provenance(measured: Measurement) -> str:
    """'Measured on all 10,000 test images. Latency: 1 thread, Intel(R) Xeon(R) …'."""
    label, latency, n = measured.provenance, measured.latency, measured.accuracy.n
    images = n_("Measured on all {n:,} test image.", "Measured on all {n:,} test images.", n)
    if is_kept(measured):
        when = label.removeprefix(f"{FROM_STORE}, measured ")
        images = _("From the store, measured {when} on all {n:,} test images.", when=when, n=n)
    if latency is None:
        return images
    return _(
        "{images} Latency: {threads} thread{value}, {cpu}.",
        images=images,
        threads=latency.threads,
        value="s" if latency.threads > 1 else "",
        cpu=measured.machine.cpu,
    )


def is_kept(measured: Measurement) -> bool:
    """Whether the numbers were measured earlier and come from the store."""
    return measured.provenance.startswith(FROM_STORE)


def _accuracy(measured: Measurement | None, words: Words) -> Figure:
    if measured is None:
        return Figure(_(words.measure), NOTHING, "", "", "", "off", _(words.about))
    accuracy, n = measured.accuracy, measured.accuracy.n
    words, noise = WORDS[accuracy.reference], not accuracy.significant
    change = wording.points(-accuracy.drop, n)
    remark = f"fp32 {wording.percent(accuracy.baseline, n)}{(_(', within noise') if noise and change else '')}"
    if accuracy.reference == "fp32":
        remark = _("with fp32, {n}", n=wording.counted(n, "image"))
    half = wording.half_width(accuracy.interval.low, accuracy.interval.high, n)
    colour: Literal["normal", "off"] = "off" if noise else "normal"
    return Figure(_(words.measure), wording.percent(accuracy.value, n), half, change, remark, colour, _(words.about))


def _size(measured: Measurement | None) -> Figure:
    if measured is None:
        return Figure(_("File size"), NOTHING, "", "", "", "off", _(SIZE))
    value, small = wording.size(measured.size_bytes), wording.times(measured.size_ratio)
    change = wording.change(measured.size_bytes / measured.baseline_size_bytes)
    remark = f"fp32 {wording.size(measured.baseline_size_bytes)}"
    return Figure(_("File size"), value, small, change, remark, "inverse", _(SIZE))


def _latency(measured: Measurement | None) -> Figure:
    if measured is None or measured.latency is None:
        return Figure(_("Latency"), NOTHING, "", "", "", "off", _(LATENCY))
    latency, value = measured.latency, wording.milliseconds(measured.latency.p50_ms)
    ratio = wording.ratio(latency.ratio, latency.ratio_interval.low, latency.ratio_interval.high)
    remark = f"fp32 {wording.milliseconds(latency.baseline_p50_ms)}"
    return Figure(_("Latency"), value, ratio, wording.change(latency.ratio), remark, "inverse", _(LATENCY))
