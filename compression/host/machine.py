"""What a measurement was taken on, and what may be done here unasked. No torch in here: pages ask both."""

import functools
import os
import platform
from importlib.metadata import version

from compression.host.cpu import cpuinfo, has_vnni, machine_id
from compression.records.measurement import Machine


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
        id=machine_id(),
    )


def works_unasked() -> bool:
    """Whether an idle engine may compute what nobody has asked for yet; `COMPRESSION_IDLE=0` forbids it."""
    return os.environ.get("COMPRESSION_IDLE", "1") != "0"
