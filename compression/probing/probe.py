"""Measures the files beside it on this machine: python probe.py

Needs Python 3.8 or newer with numpy and onnxruntime (`pip install numpy onnxruntime`), and ai-edge-litert for files
that end in .tflite. It writes report.json: latency in turns with the fp32 file, peak memory, and the answer for each
test image. Give that file to Compression Lab, on its page Deploy or with `python -m compression probe add report.json`.
Nothing is sent anywhere, except by `--send LINK`, with the link that its page Deploy gives.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import math
import os
import platform
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

try:
    from ai_edge_litert import interpreter as litert
except ImportError:
    try:
        from tflite_runtime import interpreter as litert
    except ImportError:
        litert = None

HERE = Path(__file__).resolve().parent
FORMAT, VERSION = "compression-lab probe report", 1
WARM_UP, WARM_UP_S = 10, 1.0
LEAST, MOST = 20, 400
"""Fewest and most pairs."""
BATCH = 16
SEND_S = 20.0
MOST_SENT = 4_000_000
"""Bytes of a report: whoever receives it takes no more."""

FAILURES: tuple[type[Exception], ...] = (
    *(each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception)),
    RuntimeError, ValueError, MemoryError, OSError,
)  # fmt: skip
"""What ONNX Runtime raises: types of its own, which other versions have more or fewer of."""


def main() -> None:
    """Measures all files of the package and writes the report."""
    asked = _arguments()
    if asked.peak:
        return _say(json.dumps(_peak(Path(asked.peak))))
    link = _link(asked.send) if asked.send else None
    if asked.report:
        return _send(link or sys.exit("--report goes with --send LINK."), Path(asked.report))
    manifest = json.loads((HERE / "manifest.json").read_text("utf-8"))
    images, labels = _images(), _labels()
    files = manifest["files"]
    for file in files:
        _check(file)
    baseline = next(file for file in files if file["baseline"])
    measured = []
    for number, file in enumerate(files, 1):
        _say(f"{number} of {len(files)}: {file['title']}")
        measured.append(_measure(file, baseline, images, _threads(asked.threads), asked.seconds))
        _tell(measured[-1], labels)
    report = {
        "format": FORMAT, "version": VERSION, "data_fingerprint": manifest["data_fingerprint"],
        "n_test": manifest["n_test"], "images": len(images), "machine": _machine(asked.name), "files": measured,
    }  # fmt: skip
    Path(asked.out).write_text(json.dumps(report), "utf-8")
    if link:
        return _send(link, Path(asked.out))
    return _say(f"Written: {asked.out}. Give it to Compression Lab: page Deploy, or `compression probe add`.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", default="", help="name of this machine on the charts")
    parser.add_argument("--threads", default="", help="thread counts, e.g. 1,4 (default: 1 and all cores)")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per file and thread count")
    parser.add_argument("--out", default="report.json", help="output file")
    parser.add_argument("--send", default="", metavar="LINK", help="send the report by a link of the page Deploy")
    parser.add_argument("--report", default="", metavar="FILE", help="with --send: send this report; measure nothing")
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _threads(text: str) -> list[int]:
    """'1,4' as numbers; by default one thread, and as many as there are cores."""
    try:
        found = sorted({int(part) for part in text.split(",")}) if text else sorted({1, os.cpu_count() or 1})
    except ValueError:
        found = []
    if not found or found[0] < 1 or found[-1] > 1024 or len(found) > 8:
        sys.exit(f"--threads takes up to eight whole numbers from 1 to 1024, such as 1,4, not {text!r}.")
    return found


def _link(text: str) -> tuple[str, int, str]:
    """Address, port and key of 'http://ADDRESS:PORT/#KEY'; ends the program where nothing takes connections there."""
    found = re.match(r"http://([0-9.]{7,15}):([0-9]{1,5})/#([A-Za-z0-9_-]{16,64})$", text)
    if not found or int(found[2]) > 65535:
        sys.exit(f"--send takes a link as the page Deploy gives it, http://192.168.1.2:40000/#KEY, not {text!r}.")
    address, port, key = found[1], int(found[2]), found[3]
    try:
        socket.create_connection((address, port), SEND_S).close()
    except OSError as error:
        sys.exit(f"Nothing can be sent to {address}:{port} ({error}). A link works once, and for some minutes only.")
    return address, port, key


def _send(link: tuple[str, int, str], file: Path) -> None:
    """Sends a report, signed with the link's key, which stays here."""
    address, port, key = link
    try:
        if file.stat().st_size > MOST_SENT:
            sys.exit(f"Not sent: {file} has more than {MOST_SENT:,} bytes; no report has as many.")
        content = file.read_bytes()
        signature = hmac.new(key.encode(), content, hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection(address, port, timeout=SEND_S)
        connection.request("POST", "/", content, {"Authorization": f"HMAC-SHA256 {signature}"})
        answer = connection.getresponse()
        said, status = answer.read(2000).decode("utf-8", "replace"), answer.status
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        said, status = f"{type(error).__name__}: {error}", 0
    said = "".join(c for c in said.strip() if c.isprintable()) or f"answer {status}"
    if status != 200:
        sys.exit(f"Not sent: {said} To send {file} later: python probe.py --report {file} --send NEW-LINK")
    _say(f"Sent: {said}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _labels() -> np.ndarray | None:
    """The class of each image, int64 [n]; None where it is not known."""
    path = HERE / "labels.npy"
    return np.load(path, allow_pickle=False) if path.exists() else None


def _tell(found: dict[str, Any], labels: np.ndarray | None) -> None:
    if labels is not None and found["classes"]:
        _say(f"   {int((labels == np.array(found['classes'])).sum())} of {len(labels)} images right")
    if found["error"]:
        _say(f"   {found['error']}")
    for took in found["latency"]:
        _say(f"   {took['p50_ms']:.3f} ms, {took['ratio']:.2f} of fp32, threads: {took['threads']}")


def _check(file: dict[str, Any]) -> None:
    """Ends the program where a file is another than the one that was packed."""
    content = (HERE / file["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != file["sha256"]:
        sys.exit(f"{file['file']} is damaged; unpack the zip again.")


def _images() -> np.ndarray:
    """float32 [n, C, H, W], normalised as the networks take them."""
    pixels = np.load(HERE / "pixels.npy", allow_pickle=False)  # uint8 [n, C, H, W]
    table = np.load(HERE / "normalized.npy", allow_pickle=False)  # float32 [C, 256]
    images = np.empty(pixels.shape, np.float32)
    for channel, values in enumerate(table):
        images[:, channel] = values[pixels[:, channel]]
    return images


class _Input:
    """The name of a session's input and its shape, whose first number is how many images go in at once."""

    def __init__(self, name: str, shape: list[int]):
        self.name, self.shape = name, shape


class _Tflite:
    """A .tflite file, asked as ONNX Runtime's sessions are: float32 [n, C, H, W] in, scores in float32 out."""

    def __init__(self, file: Path, threads: int):
        if litert is None:
            raise ValueError(
                "LiteRT is not installed here (pip install ai-edge-litert), so this file was not measured."
            )
        self._run = litert.Interpreter(model_path=str(file), num_threads=threads)
        self._run.allocate_tensors()
        self._takes, self._gives = self._run.get_input_details()[0], self._run.get_output_details()[0]

    def get_inputs(self) -> list[_Input]:
        """The images."""
        return [_Input("image", [int(self._takes["shape"][0])])]

    def run(self, _: Any, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The scores of a batch."""
        images = feed["image"].transpose(0, 2, 3, 1)  # the files of the package have channels last
        scale, zero = self._takes["quantization"]
        if self._takes["dtype"] == np.int8:
            images = np.clip(np.round(images / np.float32(scale)) + zero, -128, 127)
        self._run.set_tensor(self._takes["index"], np.ascontiguousarray(images, self._takes["dtype"]))
        self._run.invoke()
        scores = self._run.get_tensor(self._gives["index"]).astype(np.float32)
        scale, zero = self._gives["quantization"]
        return [(scores - zero) * np.float32(scale) if self._gives["dtype"] != np.float32 else scores]


def _session(file: Path, threads: int = 1) -> Any:
    if file.suffix == ".tflite":
        return _Tflite(file, threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _fixed(session: Any) -> int | None:
    """How many images the file takes at once; None for any number."""
    size = session.get_inputs()[0].shape[0]
    return size if isinstance(size, int) else None


def _batches(session: Any, images: np.ndarray, most: int = BATCH) -> list[dict[str, np.ndarray]]:
    """What answers all images; the last one fills up the last batch where the file takes no fewer."""
    size = _fixed(session) or min(most, len(images))
    count = -(-len(images) // size)
    places = np.arange(count * size).clip(max=len(images) - 1).reshape(count, size)
    if _fixed(session) is None and len(images) % size:
        parts = [images[part] for part in places[:-1]] + [images[(count - 1) * size :]]
    else:
        parts = [images[part] for part in places]
    return [{session.get_inputs()[0].name: part} for part in parts]


def _measure(
    file: dict[str, Any], baseline: dict[str, Any], images: np.ndarray, threads: list[int], seconds: float
) -> dict[str, Any]:
    """One file: times, memory, answers; what fails becomes a sentence, and the others go on."""
    found: dict[str, Any] = {"sha256": file["sha256"], "latency": [], "classes": [], "confidences": [], "error": ""}
    if "of" in file:
        found["of"] = file["of"]
    try:
        found["classes"], found["confidences"] = _answers(_session(HERE / file["file"]), images)
        for count in threads:
            ours, theirs = (_session(HERE / each["file"], count) for each in (file, baseline))
            found["latency"].append(_latency(ours, theirs, images[:1], seconds, count))
    except FAILURES as error:
        found["error"] = (str(error).splitlines() or [type(error).__name__])[0][:500]
    return {**found, **_memory(HERE / file["file"])}


def _answers(session: Any, images: np.ndarray) -> tuple[list[int], list[float]]:
    """Class and confidence of each image. Raises `ValueError` where scores name none."""
    run = [session.run(None, batch)[0] for batch in _batches(session, images)]
    scores = np.concatenate(run)[: len(images)].astype(np.float64)
    named = scores.argmax(1)
    highest = scores[np.arange(len(named)), named]
    if not np.isfinite(highest).all():
        raise ValueError("The file answers some images with NaN or infinite scores, which name no class.")
    confidence = 1 / np.exp(scores - highest[:, None]).sum(1)
    return [int(each) for each in named], [round(float(each), 4) for each in confidence]


def _latency(ours: Any, theirs: Any, image: np.ndarray, seconds: float, threads: int) -> dict[str, Any]:
    """Milliseconds for one image, pair by pair with the fp32 file."""
    first, second = _batches(ours, image), _batches(theirs, image)
    began, warm_up = time.perf_counter(), 0
    while warm_up < WARM_UP and (warm_up < 2 or time.perf_counter() - began < WARM_UP_S):
        _time(ours, first), _time(theirs, second)
        warm_up += 1
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(times) < MOST and (len(times) < LEAST or time.perf_counter() < end):
        times.append((_time(ours, first), _time(theirs, second)))
    pairs = np.array(times)  # [n, 2], seconds
    ratio = pairs[:, 0] / pairs[:, 1]
    low, high = _median_interval(ratio)
    half = len(pairs) // 2
    halves = float(np.median(pairs[:half, 1])), float(np.median(pairs[half:, 1]))
    quantiles = {f"p{q}_ms": float(np.quantile(pairs[:, 0], q / 100) * 1e3) for q in (50, 90, 95, 99)}
    return {
        "threads": threads, "pairs": len(pairs), "warm_up": warm_up, "batch": _fixed(ours) or 1, **quantiles,
        "baseline_p50_ms": float(np.median(pairs[:, 1]) * 1e3), "ratio": float(np.median(ratio)), "ratio_low": low,
        "ratio_high": high, "drift": abs(halves[0] - halves[1]) / min(halves), "load": _load(),
        "temperature_c": _temperature(), "clock_mhz": _clock(),
    }  # fmt: skip


def _time(session: Any, feeds: list[dict[str, np.ndarray]]) -> float:
    begin = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    return time.perf_counter() - begin


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    """Distribution-free 95% interval of the median, from order statistics."""
    ordered, n = np.sort(values), len(values)
    half = 1.96 * math.sqrt(n) / 2
    low, high = max(math.floor(n / 2 - half), 0), min(math.ceil(n / 2 + half), n - 1)
    return float(ordered[low]), float(ordered[high])


def _memory(file: Path) -> dict[str, Any]:
    """What a process of its own grows by, loading the file and answering an image; None where none can tell."""
    command = [sys.executable, str(Path(__file__).resolve()), "--peak", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=300, check=True)
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {name: found[name] for name in ("load_bytes", "peak_bytes") if found.get(name) is not None}


def _peak(file: Path) -> dict[str, Any]:
    image = _images()[:1]
    before = _resident()
    session = _session(file)
    loaded = _highest()
    for batch in _batches(session, image):
        session.run(None, batch)
    after = _highest()
    if before is None or loaded is None or after is None:
        return {}
    return {"load_bytes": max(loaded - before, 0), "peak_bytes": max(after - before, 0)}


def _resident() -> int | None:
    """What this process has in memory now, in bytes; from here on `_highest` counts, where Linux lets it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _highest()
    return _status("VmRSS") or _highest()


def _highest() -> int | None:
    """The most memory that this process has had, in bytes."""
    if found := _status("VmHWM"):
        return found
    try:
        import resource
    except ImportError:  # Windows
        return None
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(highest if platform.system() == "Darwin" else highest * 1024)


def _status(key: str) -> int | None:
    lines = (line.partition(":") for line in _read("/proc/self/status").splitlines())
    found = [int(value.split()[0]) * 1024 for name, _, value in lines if name == key]
    return found[0] if found else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip("\0 \n")
    except OSError:
        return ""


def _numbers(pattern: str) -> list[float]:
    """The numbers in all files of /sys that fit."""
    found = []
    for path in Path("/sys").glob(pattern):
        try:
            found.append(float(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def _temperature() -> float | None:
    """The hottest sensor, in degrees Celsius."""
    found = [each / 1000 for each in _numbers("class/thermal/thermal_zone*/temp") if -50_000 < each < 150_000]
    return max(found) if found else None


def _clock() -> float | None:
    """The fastest core's clock now, in MHz."""
    found = [each / 1000 for each in _numbers("devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")]
    found = found or [float(value) for value in _cpuinfo("cpu MHz")]
    return max(found) if found else None


def _load() -> float:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def _cpuinfo(key: str) -> list[str]:
    pairs = (line.partition(":") for line in _read("/proc/cpuinfo").splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _asked(*command: str) -> str:
    """What a command of the system says; '' where there is none."""
    try:
        told = subprocess.run(command, capture_output=True, timeout=5, check=True).stdout
        return told.decode("utf-8", "replace").strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _cpu() -> str:
    """The board or the processor, by the first name that this system has for it."""
    named = (
        _read("/proc/device-tree/model"), *_cpuinfo("model name")[:1], *_cpuinfo("Hardware")[:1],
        _asked("sysctl", "-n", "machdep.cpu.brand_string") if platform.system() == "Darwin" else "",
        _asked("getprop", "ro.product.model"), platform.processor(), platform.machine(),
    )  # fmt: skip
    return next((name for name in named if name), "unknown")[:80]


def _machine(name: str) -> dict[str, Any]:
    """This machine. `id` tells it from others of its make; it is a hash, from which no name can be read."""
    parts = (_read("/etc/machine-id") or platform.node(), platform.machine(), _cpu(), str(os.cpu_count()))
    flags = " ".join(_cpuinfo("flags")[:1])
    lines = _read("/proc/meminfo").splitlines()
    memory = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal")]
    return {
        "kind": "probe", "id": hashlib.sha256("\n".join(("probe", *parts)).encode()).hexdigest()[:12],
        "name": name[:80], "cpu": _cpu(), "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}"[:80], "python": platform.python_version(),
        "onnxruntime": ort.__version__, "vnni": "vnni" in flags if flags else None, "saturates": _saturates(),
        "memory_bytes": memory[0] if memory else None, "litert": _litert(),
    }  # fmt: skip


def _litert() -> str:
    """LiteRT's version; '' where it is not installed."""
    if litert is None:
        return ""
    package = sys.modules.get(litert.__name__.partition(".")[0])
    return str(getattr(litert, "__version__", "") or getattr(package, "__version__", "") or "unknown")[:80]


def _saturates() -> bool | None:
    """Whether this machine's kernels cut the sum of two 8-bit products off at 16 bits, as tried on 64 such products."""
    try:
        session = _session(HERE / "saturation.onnx")
        (found,) = session.run(None, {"codes": np.full((1, 64), 255, np.uint8)})
    except FAILURES:
        return None
    return bool((found != 64 * 255 * 127).any())


if __name__ == "__main__":
    main()
