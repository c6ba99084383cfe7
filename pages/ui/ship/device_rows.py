"""How a file fares on devices, as rows and sentences; every number here but the measured ones is an estimate."""

from typing import Any

import streamlit as st

from compression.analysis.devices import NETWORKS, Deployment, Fit, transfer_seconds
from compression.analysis.tflm_kernels import SOURCE
from compression.records.analysis import Growth
from compression.records.measurement import Latency
from pages.ui.model import wording

YES, NO = "fits", "does not fit"
MEASURED = "measured"

COLUMNS = {
    "Flash": st.column_config.ProgressColumn("Flash used", format="percent", min_value=0, max_value=1),
    "RAM": st.column_config.ProgressColumn("RAM used", format="percent", min_value=0, max_value=1),
    "ms": st.column_config.NumberColumn("Latency, ms (estimated)", format="%.2f"),
    "fp32 ms": st.column_config.NumberColumn("fp32 latency, ms (estimated)", format="%.2f"),
    "mJ": st.column_config.NumberColumn("Energy per image, mJ (estimated)", format="%.2f"),
}


def rows(ours: Deployment, fp32: Deployment) -> list[dict[str, Any]]:
    """A row for each device, from small to large."""
    return [_row(found, fp32.fits[name]) for name, found in ours.fits.items()]


def _row(found: Fit, fp32: Fit) -> dict[str, Any]:
    return {
        "Device": found.device.title,
        "This file": verdict(found),
        "fp32 file": verdict(fp32),
        "Flash": found.need.flash / found.device.flash_bytes,
        "RAM": found.need.ram / found.device.ram_bytes,
        "Memory": MEASURED if found.need.measured else "estimated",
        "ms": found.estimated_ms,
        "fp32 ms": fp32.estimated_ms,
        "mJ": found.estimated_mj,
        "Runtime": found.device.runtime.title,
    }


def verdict(found: Fit) -> str:
    """'fits', or what is too small: 'flash is too small'."""
    if found.fits:
        return YES
    lacking = [name for name, enough in (("flash", found.flash), ("RAM", found.ram)) if not enough]
    return f"{' and '.join(lacking)} too small"


def details(found: Fit) -> list[str]:
    """How one device's verdict comes about, line by line."""
    need, device = found.need, found.device
    if need.measured:
        return [*_measured(found), *_sources(found)]
    stored = (
        "the packed file" if device.runtime.decodes else "unpacked weights (this runtime cannot decode packed ones)"
    )
    lines = [
        f"Flash {wording.size(need.flash)} of {wording.size(device.flash_bytes)}: "
        f"{wording.size(need.weights)} for {stored}, {wording.size(need.runtime_flash)} for {device.runtime.title}.",
        f"RAM {wording.size(need.ram)} of {wording.size(device.ram_bytes)}: "
        f"{wording.size(need.activations)} for peak activations, "
        f"{wording.size(need.decoded_weights)} for decoded weights, {wording.size(need.runtime_ram)} for "
        f"{device.runtime.title}.",
    ]
    return [*lines, *_sources(found)]


def _measured(found: Fit) -> list[str]:
    need, device = found.need, found.device
    return [
        f"Flash {wording.size(need.flash)} of {wording.size(device.flash_bytes)}: "
        f"{wording.size(need.weights)} for the .tflite file (measured), {wording.size(need.runtime_flash)} for the "
        f"program with its kernels ({SOURCE}).",
        f"RAM {wording.size(need.ram)} of {wording.size(device.ram_bytes)}: {wording.size(need.activations)} of arena "
        f"(measured), {wording.size(need.runtime_ram)} for stack and program (assumed).",
    ]


def _sources(found: Fit) -> list[str]:
    device = found.device
    return [
        f"Memory and clock: {device.source}.",
        f"Speed: {device.basis}; a fraction of the peak is assumed to be reached.",
    ]


def on_this_machine(found: Deployment, measured: Latency | None) -> str:
    """The estimate for this machine beside what was measured, and the factor between them."""
    text = f"Estimated {wording.milliseconds(found.estimated_ms)} for one image over {found.operators} operators"
    if measured is None:
        return f"{text}; not measured yet."
    factor = found.estimated_ms / measured.p50_ms
    return f"{text}; measured {wording.milliseconds(measured.p50_ms)} (estimate ÷ measured = {factor:.2f})."


def memory(found: Deployment, grown: Growth | None) -> str:
    """Live activations, and what a process really grew by."""
    text = f"Peak activation memory: {wording.size(found.peak_bytes)}, at a {found.peak_operator} operator."
    if grown is None:
        return text
    rest = ", buffers of the 8-bit kernels for the rest" if found.integer else ""
    return (
        f"{text} With a batch of {grown.batch:,} images, the process grew by {wording.size(grown.growth_bytes)}; "
        f"activations account for {wording.size(grown.expected_bytes)} of it{rest}."
    )


def transfers(size_bytes: int, fp32_bytes: int) -> list[dict[str, Any]]:
    """Seconds to download both files at usual rates."""
    return [
        {
            "Connection": name,
            "This file, s": round(transfer_seconds(size_bytes, name), 3),
            "fp32 file, s": round(transfer_seconds(fp32_bytes, name), 3),
        }
        for name in NETWORKS
    ]
