"""Latency in milliseconds: candidate and baseline alternate in one process, while no other job of ours computes."""

import os
import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort

from compression.host.machine_lock import machine_lock
from compression.measure.intake import fed, fixed_batch
from compression.records.measurement import Interval, Latency

WARM_UP, WARM_UP_S = 10, 0.2
"""Pairs that are not counted: so many, or fewer where they take so many seconds; at least three."""
SECONDS = 0.25
PAIRS, LOOK_EVERY = (80, 400), 40
"""Fewest and most pairs, and after how many more the interval is checked."""

BRIEF, BRIEF_S, LEAST = 80, 0.8, 20
"""Pairs of a brief run, or as many as take so many seconds; at least `LEAST`, whose interval is an honest one still."""

PRECISE = 0.01
"""Half the width of the ratio's interval, relative to the ratio, at which a run ends early."""

DRIFT = 0.05
TRIES = 3


def latency(
    candidate: ort.InferenceSession, baseline: ort.InferenceSession, image: np.ndarray, *, brief: bool = False
) -> Latency:
    """Latency for one image [1, C, H, W] against the baseline, pair by pair (A B A B …) under the machine's lock.

    Several images [n, C, H, W] are answered together by a file that takes so many, and in several runs by others.

    Repeated, up to three times, while the baseline's own time drifts by more than 5% between the halves of a run; the
    steadiest run is reported. A brief run, once, is for a first idea; its interval says how good that is.
    """
    with machine_lock():
        runs = []
        for _ in range(1 if brief else TRIES):
            runs.append(_measure(candidate, baseline, image, brief=brief))
            if runs[-1].drift <= DRIFT:
                break
    return min(runs, key=lambda run: run.drift)


def median_interval(values: np.ndarray) -> Interval:
    """Distribution-free 95% interval of the median, from order statistics (David & Nagaraja 2003, §7.1)."""
    ordered, n = np.sort(values), len(values)
    half = 1.96 * np.sqrt(n) / 2
    low, high = int(np.floor(n / 2 - half)), int(np.ceil(n / 2 + half))
    return Interval(float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)]))


def precise(found: Latency) -> bool:
    """Whether more pairs would hardly narrow the interval any further."""
    return found.drift <= DRIFT and _narrow(found.ratio_interval)


def is_slow(session: ort.InferenceSession, image: np.ndarray) -> bool:
    """Whether a run that is not brief takes longer than a brief one may: by the quickest of three answers."""
    feeds = _feeds(session, image)
    return 2 * PAIRS[0] * min(_time(session, feeds) for _ in range(3)) > BRIEF_S


def _narrow(interval: Interval) -> bool:
    return interval.high - interval.low < PRECISE * (interval.high + interval.low)


def _measure(
    candidate: ort.InferenceSession, baseline: ort.InferenceSession, image: np.ndarray, *, brief: bool
) -> Latency:
    ours, theirs = _feeds(candidate, image), _feeds(baseline, image)
    began, warm_up = time.perf_counter(), 0
    while warm_up < WARM_UP and (warm_up < 3 or time.perf_counter() - began < WARM_UP_S):
        _time(candidate, ours), _time(baseline, theirs)
        warm_up += 1
    pair = lambda: (_time(candidate, ours), _time(baseline, theirs))  # noqa: E731
    times = _pairs_in_brief(pair) if brief else pairs_until_precise(pair)
    ratio, pairs = times[:, 0] / times[:, 1], len(times)
    halves = np.median(times[: pairs // 2, 1]), np.median(times[pairs // 2 :, 1])
    return Latency(
        p50_ms=float(np.median(times[:, 0]) * 1e3),
        p95_ms=float(np.quantile(times[:, 0], 0.95) * 1e3),
        baseline_p50_ms=float(np.median(times[:, 1]) * 1e3),
        ratio=float(np.median(ratio)),
        ratio_interval=median_interval(ratio),
        pairs=pairs,
        warm_up=warm_up,
        batch=len(image),
        threads=candidate.get_session_options().intra_op_num_threads,
        drift=float(abs(halves[0] - halves[1]) / min(halves)),
        load=os.getloadavg()[0],
    )


def pairs_until_precise(take: Callable[[], tuple[float, float]], most: int = PAIRS[1]) -> np.ndarray:
    """Pairs of times [n, 2], at most `most`, until their ratio is precise or `SECONDS` have passed.

    That the width decides when to stop, and never the ratio itself, keeps the interval at its level (Chow & Robbins
    1965; simulated in the tests).
    """
    times: list[tuple[float, float]] = []
    while len(times) < most:
        times.extend(take() for _ in range(LOOK_EVERY))
        if len(times) < PAIRS[0]:
            continue
        pairs = np.array(times)
        if _narrow(median_interval(pairs[:, 0] / pairs[:, 1])) or pairs.sum() > SECONDS:
            break
    return np.array(times)


def _pairs_in_brief(take: Callable[[], tuple[float, float]]) -> np.ndarray:
    times: list[tuple[float, float]] = []
    while len(times) < BRIEF and (len(times) < LEAST or sum(map(sum, times)) < BRIEF_S):
        times.append(take())
    return np.array(times)


def _feeds(session: ort.InferenceSession, image: np.ndarray) -> list[dict[str, np.ndarray]]:
    """What answers `image` [n, C, H, W]: one run, or several where the file takes fewer images at once."""
    return [{session.get_inputs()[0].name: part} for part in fed(image, fixed_batch(session))]


def _time(session: ort.InferenceSession, feeds: list[dict[str, np.ndarray]]) -> float:
    begin = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    return time.perf_counter() - begin
