"""The most memory that this process held since a moment, by Linux' own count (proc(5): clear_refs, VmHWM)."""

from pathlib import Path

from compression.measure.growth import resident


def forget() -> None:
    """The count begins anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Bytes since the process began, or since the last `forget`."""
    return resident("VmHWM")
