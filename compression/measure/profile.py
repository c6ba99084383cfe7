"""Time by kernel, from ONNX Runtime's profiler."""

import json
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
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

KERNEL = "_kernel_time"
"""What the name of an event ends with that times a node's kernel."""


@dataclass(frozen=True)
class Kernel:
    """A kernel that ONNX Runtime runs once for an image: its node's name, its operator, the median of its times."""

    name: str
    operator: str
    ms: float


def kernels(model: bytes, image: np.ndarray, *, runs: int = RUNS, threads: int = 1) -> list[Kernel]:
    """What runs where the file answers `image` [1, C, H, W], in the order of the run; under the machine's lock.

    Raises `InvalidFile` where ONNX Runtime does not accept the bytes.
    """
    with machine_lock(), tempfile.TemporaryDirectory() as folder:
        return _medians(_events(model, image, WARM_UP + runs, threads, folder), runs)


def profile(model: bytes, image: np.ndarray, *, runs: int = RUNS, threads: int = 1) -> Profile:
    """Runs the file on `image` [1, C, H, W] without and with ONNX Runtime's profiler, under the machine's lock.

    Raises `InvalidFile` where ONNX Runtime does not accept the bytes.
    """
    with machine_lock(), tempfile.TemporaryDirectory() as folder:
        events = _events(model, image, WARM_UP + runs, threads, folder)
        plain = session(model, threads=threads)
        feed = {plain.get_inputs()[0].name: image}
        run_ms = float(np.median(_milliseconds(plain, feed, WARM_UP + runs)[WARM_UP:]))
    return read(events, run_ms=run_ms, runs=runs, threads=threads)


def read(events: list[dict[str, Any]], *, run_ms: float, runs: int, threads: int) -> Profile:
    """A profile from ONNX Runtime's trace events (times in µs), of which only the last `runs` runs count.

    A kernel's time is its median over them: a run that was interrupted says nothing of the kernel that it stood in.
    """
    found = _medians(events, runs)
    total = sum(kernel.ms for kernel in found)
    times: dict[str, list[float]] = defaultdict(list)
    for kernel in found:
        times[kernel.operator].append(kernel.ms)
    operators = [OperatorTime(name, len(ms), sum(ms), sum(ms) / total if total else 0.0) for name, ms in times.items()]
    return Profile(
        operators=tuple(sorted(operators, key=lambda operator: -operator.ms)),
        run_ms=run_ms,
        kernels_ms=total,
        small_kernels=sum(kernel.ms for kernel in found if kernel.ms < SMALL_MS) / total if total else 0.0,
        runs=len(_runs(events, runs)),
        threads=threads,
    )


def _events(model: bytes, image: np.ndarray, runs: int, threads: int, folder: str) -> list[dict[str, Any]]:
    """The trace of ONNX Runtime's profiler over some runs."""
    runner = session(model, threads=threads, profile=str(Path(folder) / "profile"))
    _milliseconds(runner, {runner.get_inputs()[0].name: image}, runs)
    return json.loads(Path(runner.end_profiling()).read_text(encoding="utf-8"))


def _runs(events: list[dict[str, Any]], runs: int) -> list[dict[str, Any]]:
    """The events of the last `runs` runs as a whole."""
    return [event for event in events if event.get("name") == "model_run"][-runs:]


def _medians(events: list[dict[str, Any]], runs: int) -> list[Kernel]:
    begin = min(event["ts"] for event in _runs(events, runs))
    taken: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL) and event["ts"] >= begin:
            args, name = event["args"], event["name"].removesuffix(KERNEL)
            taken[name, args["op_name"], args["node_index"]].append(event["dur"] / 1e3)
    return [Kernel(name, operator, median(ms)) for (name, operator, _), ms in taken.items()]


def _milliseconds(runner: ort.InferenceSession, feed: dict[str, np.ndarray], runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        runner.run(None, feed)
        times.append(1e3 * (time.perf_counter() - begin))
    return times
