"""How a file fares on devices, as rows and sentences; every number here but the measured ones is an estimate."""

from typing import Any

import streamlit as st

from compression.analysis.devices import NETWORKS, Deployment, Fit, transfer_seconds
from compression.analysis.tflm_kernels import SOURCE
from compression.language import N_, _
from compression.records.analysis import Growth
from compression.records.measurement import Latency
from pages.ui.model import wording

YES, NO = N_("fits"), N_("does not fit")
MEASURED, ESTIMATED = N_("measured"), N_("estimated")

COLUMNS = {
    "This file": st.column_config.Column(width=130),  # 'flash too small'
    "fp32 file": st.column_config.Column(width=130),
    "Flash": st.column_config.ProgressColumn(
        N_("Flash used"), format="percent", min_value=0, max_value=1, width="small"
    ),
    "RAM": st.column_config.ProgressColumn(N_("RAM used"), format="percent", min_value=0, max_value=1, width="small"),
    "ms": st.column_config.NumberColumn(N_("Latency, ms (estimated)"), format="plain"),
    "fp32 ms": st.column_config.NumberColumn(N_("fp32, ms (estimated)"), format="plain"),
    "mJ": st.column_config.NumberColumn(N_("Energy, mJ (estimated)"), format="plain", help=N_("For one image.")),
}

TRANSFERS = {
    "This file, s": st.column_config.NumberColumn(format="%.3f"),
    "fp32 file, s": st.column_config.NumberColumn(format="%.3f"),
}


def rows(ours: Deployment, fp32: Deployment) -> list[dict[str, Any]]:
    """A row for each device, from small to large."""
    return [_row(found, fp32.fits[name]) for name, found in ours.fits.items()]


def _row(found: Fit, fp32: Fit) -> dict[str, Any]:
    return {
        "Device": _(found.device.title),
        "This file": verdict(found),
        N_("fp32 file"): verdict(fp32),
        "Flash": found.need.flash / found.device.flash_bytes,
        "RAM": found.need.ram / found.device.ram_bytes,
        "Memory": _(MEASURED if found.need.measured else ESTIMATED),
        "ms": wording.rounded(found.estimated_ms),
        "fp32 ms": wording.rounded(fp32.estimated_ms),
        "mJ": wording.rounded(found.estimated_mj),
        "Runtime": found.device.runtime.title,
    }


def verdict(found: Fit) -> str:
    """'fits', or what is too small: 'flash is too small'."""
    if found.fits:
        return _(YES)
    if found.ram:
        return _("flash too small")
    return _("RAM too small") if found.flash else _("flash and RAM too small")


def details(found: Fit) -> list[str]:
    """How one device's verdict comes about, line by line."""
    need, device = found.need, found.device
    if need.measured:
        return [*_measured(found), *_sources(found)]
    stored = (
        _("the packed file")
        if device.runtime.decodes
        else _("unpacked weights (this runtime cannot decode packed ones)")
    )
    lines = [
        _(
            "Flash {size} of {size_2}: {size_3} for {stored}, {size_4} for {title}.",
            size=wording.size(need.flash),
            size_2=wording.size(device.flash_bytes),
            size_3=wording.size(need.weights),
            stored=stored,
            size_4=wording.size(need.runtime_flash),
            title=device.runtime.title,
        ),
        _(
            "RAM {size} of {size_2}: {size_3} for peak activations, {size_4} for decoded weights, "
            "{size_5} for {title}.",
            size=wording.size(need.ram),
            size_2=wording.size(device.ram_bytes),
            size_3=wording.size(need.activations),
            size_4=wording.size(need.decoded_weights),
            size_5=wording.size(need.runtime_ram),
            title=device.runtime.title,
        ),
    ]
    return [*lines, *_sources(found)]


def _measured(found: Fit) -> list[str]:
    need, device = found.need, found.device
    return [
        _(
            "Flash {size} of {size_2}: {size_3} for the .tflite file (measured), {size_4} for the program"
            " with its kernels ({SOURCE}).",
            size=wording.size(need.flash),
            size_2=wording.size(device.flash_bytes),
            size_3=wording.size(need.weights),
            size_4=wording.size(need.runtime_flash),
            SOURCE=_(SOURCE),
        ),
        _(
            "RAM {size} of {size_2}: {size_3} of arena (measured), {size_4} for stack and program (assumed).",
            size=wording.size(need.ram),
            size_2=wording.size(device.ram_bytes),
            size_3=wording.size(need.activations),
            size_4=wording.size(need.runtime_ram),
        ),
    ]


def _sources(found: Fit) -> list[str]:
    device = found.device
    return [
        _("Memory and clock: {source}.", source=device.source),
        _("Speed: {basis}; a fraction of the peak is assumed to be reached.", basis=device.basis),
    ]


def on_this_machine(found: Deployment, measured: Latency | None) -> str:
    """The estimate for this machine beside what was measured, and the factor between them."""
    text = _(
        "Estimated {estimated_ms} for one image over {operators} operators",
        estimated_ms=wording.milliseconds(found.estimated_ms),
        operators=found.operators,
    )
    if measured is None:
        return _("{text}; not measured yet.", text=text)
    factor = found.estimated_ms / measured.p50_ms
    return _(
        "{text}; measured {p50_ms} (estimate ÷ measured = {factor:.2f}).",
        text=text,
        p50_ms=wording.milliseconds(measured.p50_ms),
        factor=factor,
    )


def memory(found: Deployment, grown: Growth | None) -> str:
    """Live activations, and what a process really grew by."""
    text = _(
        "Peak activation memory: {size}, at a {peak_operator} operator.",
        size=wording.size(found.peak_bytes),
        peak_operator=found.peak_operator,
    )
    if grown is None:
        return text
    rest = _(", buffers of the 8-bit kernels for the rest") if found.integer else ""
    return _(
        "{text} With a batch of {batch:,} images, the process grew by {size}; activations account for"
        " {size_2} of it{rest}.",
        text=text,
        batch=grown.batch,
        size=wording.size(grown.growth_bytes),
        size_2=wording.size(grown.expected_bytes),
        rest=rest,
    )


def transfers(size_bytes: int, fp32_bytes: int) -> list[dict[str, Any]]:
    """Seconds to download both files at usual rates."""
    return [
        {
            "Connection": name,
            "This file, s": round(transfer_seconds(size_bytes, name), 3),
            N_("fp32 file, s"): round(transfer_seconds(fp32_bytes, name), 3),
        }
        for name in NETWORKS
    ]
