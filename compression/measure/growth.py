"""Run as a program, alone in its process: writes by how many bytes a session's run made the process grow.

python growth.py MODEL.onnx BATCH CHANNELS HEIGHT WIDTH
"""

import re
import sys
from pathlib import Path


def resident(line: str) -> int:
    """Bytes in a line of /proc/self/status: VmRSS (now) or VmHWM (the most so far)."""
    found = re.search(rf"{line}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def main(model: str, *shape: int) -> int:
    """Growth while the session answers one batch of zeros of `shape`, without ONNX Runtime's own pool of memory."""
    import numpy as np
    import onnxruntime as ort

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_cpu_mem_arena, options.enable_mem_pattern = 1, False, False
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    images = np.ones(shape, np.float32)
    session.run(None, {session.get_inputs()[0].name: images[:1]})
    before = resident("VmRSS")
    session.run(None, {session.get_inputs()[0].name: images})
    return resident("VmHWM") - before


if __name__ == "__main__":
    sys.stdout.write(str(main(sys.argv[1], *map(int, sys.argv[2:]))))
