"""Time by kernel, from ONNX Runtime's profiler."""

import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort

from compression.host.machine_lock import machine_lock
from compression.host.onnx_runtime import session
from compression.records.analysis import OperatorTime, Profile

RUNS, WARM_UP = 50, 10
SMALL_MS = 0.01


def profile(model: bytes, image: np.ndarray, *, runs: int = RUNS, threads: int = 1) -> Profile:
    """Runs the file on `image` [1, C, H, W] without and with ONNX Runtime's profiler, under the machine's lock.

    Raises `InvalidFile` where ONNX Runtime does not accept the bytes.
    """
    with machine_lock(), tempfile.TemporaryDirectory() as folder:
        runner = session(model, threads=threads, profile=str(Path(folder) / "profile"))
        feed = {runner.get_inputs()[0].name: image}
        _milliseconds(runner, feed, WARM_UP + runs)
        events = json.loads(Path(runner.end_profiling()).read_text(encoding="utf-8"))
        plain = session(model, threads=threads)
        run_ms = float(np.median(_milliseconds(plain, feed, WARM_UP + runs)[WARM_UP:]))
    return read(events, run_ms=run_ms, runs=runs, threads=threads)


def read(events: list[dict[str, Any]], *, run_ms: float, runs: int, threads: int) -> Profile:
    """A profile from ONNX Runtime's trace events (times in µs), of which only the last `runs` runs count.

    A kernel's time is its median over them: a run that was interrupted says nothing of the kernel that it stood in.
    """
    calls = [event for event in events if event.get("name") == "model_run"][-runs:]
    begin = min(event["ts"] for event in calls)
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= begin:
            taken[event["args"]["op_name"], event["args"]["node_index"]].append(event["dur"] / 1e3)
    kernels = {kernel: median(ms) for kernel, ms in taken.items()}
    total = sum(kernels.values())
    times: dict[str, list[float]] = defaultdict(list)
    for (operator, _), ms in kernels.items():
        times[operator].append(ms)
    operators = [OperatorTime(name, len(ms), sum(ms), sum(ms) / total if total else 0.0) for name, ms in times.items()]
    return Profile(
        operators=tuple(sorted(operators, key=lambda operator: -operator.ms)),
        run_ms=run_ms,
        kernels_ms=total,
        small_kernels=sum(ms for ms in kernels.values() if ms < SMALL_MS) / total if total else 0.0,
        runs=len(calls),
        threads=threads,
    )


def _milliseconds(runner: ort.InferenceSession, feed: dict[str, np.ndarray], runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        runner.run(None, feed)
        times.append(1e3 * (time.perf_counter() - begin))
    return times
