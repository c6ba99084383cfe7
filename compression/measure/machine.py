"""What a measurement was taken on. No torch in here: pages ask which machine this is."""

import functools
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

from compression.results import Machine


@functools.cache
def this_machine() -> Machine:
    """The machine that runs this process."""
    info = _cpuinfo()
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        vnni="vnni" in info.get("flags", ""),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=version("torch"),
        onnxruntime=version("onnxruntime"),
        id=_id(info.get("model name", "")),
    )


def _id(cpu: str) -> str:
    """12 hex digits that stay the same for this installation of this machine, and differ from its twins'."""
    try:
        name = Path("/etc/machine-id").read_text().strip()
    except OSError:
        name = ""
    parts = (name or platform.node(), platform.machine(), cpu, str(os.cpu_count()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
