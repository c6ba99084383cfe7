"""What a measurement was taken on. No torch in here: pages ask which machine this is."""

import functools
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

from compression.processor import cpuinfo, has_vnni
from compression.results import Machine


@functools.cache
def this_machine() -> Machine:
    """The machine that runs this process."""
    info = cpuinfo()
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        vnni=has_vnni(),
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
