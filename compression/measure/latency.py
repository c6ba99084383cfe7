"""Milliseconds, measured so that they can be believed: candidate and baseline in turn, in one process, alone."""

import os
import time

import numpy as np
import onnxruntime as ort

from compression.measure.lock import machine_lock
from compression.results import Interval, Latency

WARM_UP = 10
SECONDS = 0.25
PAIRS = (40, 400)
DRIFT = 0.05
TRIES = 3


def latency(candidate: ort.InferenceSession, baseline: ort.InferenceSession, image: np.ndarray) -> Latency:
    """Latency for one image [1, C, H, W] against the baseline, pair by pair (A B A B …) under the machine's lock.

    Repeated, up to three times, while the baseline's own time drifts by more than 5% between the halves of a run; the
    steadiest run is reported.
    """
    with machine_lock():
        runs = []
        for _ in range(TRIES):
            runs.append(_measure(candidate, baseline, image))
            if runs[-1].drift <= DRIFT:
                break
    return min(runs, key=lambda run: run.drift)


def median_interval(values: np.ndarray) -> Interval:
    """Distribution-free 95% interval of the median, from order statistics (David & Nagaraja 2003, §7.1)."""
    ordered, n = np.sort(values), len(values)
    half = 1.96 * np.sqrt(n) / 2
    low, high = int(np.floor(n / 2 - half)), int(np.ceil(n / 2 + half))
    return Interval(float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)]))


def _measure(candidate: ort.InferenceSession, baseline: ort.InferenceSession, image: np.ndarray) -> Latency:
    once = _time(candidate, image) + _time(baseline, image)
    for _ in range(WARM_UP):
        once = _time(candidate, image) + _time(baseline, image)
    pairs = int(np.clip(SECONDS / max(once, 1e-9), *PAIRS))
    times = np.empty((pairs, 2))
    for pair in times:
        pair[0], pair[1] = _time(candidate, image), _time(baseline, image)
    ratio = times[:, 0] / times[:, 1]
    halves = np.median(times[: pairs // 2, 1]), np.median(times[pairs // 2 :, 1])
    return Latency(
        p50_ms=float(np.median(times[:, 0]) * 1e3),
        p95_ms=float(np.quantile(times[:, 0], 0.95) * 1e3),
        baseline_p50_ms=float(np.median(times[:, 1]) * 1e3),
        ratio=float(np.median(ratio)),
        ratio_interval=median_interval(ratio),
        pairs=pairs,
        warm_up=WARM_UP,
        batch=len(image),
        threads=candidate.get_session_options().intra_op_num_threads,
        drift=float(abs(halves[0] - halves[1]) / min(halves)),
        load=os.getloadavg()[0],
    )


def _time(session: ort.InferenceSession, image: np.ndarray) -> float:
    feed = {session.get_inputs()[0].name: image}
    begin = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - begin
