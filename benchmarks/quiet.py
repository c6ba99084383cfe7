"""Is the machine quiet enough to measure on, and which machine is it?"""

from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from compression.errors import Unsupported

SAMPLE_S = 2.0
MOST_BUSY_CORES = 0.25  # processor use by everything else while we do nothing, in cores
MOST_LOAD_PER_CORE = 0.6  # one-minute load average


@dataclass(frozen=True)
class Quiet:
    """What was found before the start: `busy_cores` over two idle seconds, the one-minute `load`, and when (UTC)."""

    busy_cores: float
    load: float
    at: str


def require_quiet(*, load_counts: bool = True) -> Quiet:
    """Samples the processor for two seconds; raises `Unsupported` with one sentence where others are using it.

    `load_counts=False` is for what follows another benchmark, whose own work still stands in the load average.
    """
    cores = psutil.cpu_count() or 1
    busy = psutil.cpu_percent(interval=SAMPLE_S) / 100 * cores
    load = psutil.getloadavg()[0]
    if busy > MOST_BUSY_CORES:
        raise Unsupported(
            f"The machine is not quiet: {busy:.2f} of {cores} cores are in use, at most {MOST_BUSY_CORES} may be; "
            "stop what runs beside the benchmark and start it again."
        )
    if load_counts and load > MOST_LOAD_PER_CORE * cores:
        raise Unsupported(
            f"The machine is not quiet: its load over the last minute is {load:.2f}, at most "
            f"{MOST_LOAD_PER_CORE * cores:.2f} may be; wait a minute and start again."
        )
    return Quiet(round(busy, 3), round(load, 2), datetime.now(UTC).isoformat(timespec="seconds"))


def found() -> Quiet:
    """The same without asking for quiet: for numbers that do not depend on time."""
    busy = psutil.cpu_percent(interval=SAMPLE_S) / 100 * (psutil.cpu_count() or 1)
    return Quiet(round(busy, 3), round(psutil.getloadavg()[0], 2), datetime.now(UTC).isoformat(timespec="seconds"))
