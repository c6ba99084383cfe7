"""What a measurement was taken on."""

import functools
import os
import platform
from pathlib import Path

import onnxruntime
import torch

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
        torch=str(torch.__version__),
        onnxruntime=onnxruntime.__version__,
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
