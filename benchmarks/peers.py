"""The same network, calibration images and test set in one run: this program and other tools, training-free.

Each peer works in its best training-free setting, in a process of its own (`benchmarks.peer`), and hands over an ONNX
file. Accuracy, bytes and latency of all files are then measured by the same functions, one after the other. Seconds are
those from the request to the result on the full test split: compress, write the file, answer all test images, time one.
Memory is the most that the process held while it compressed: ours holds all images and what was prepared besides.
A tool that is not installed, or fails, has a row that says so. `requirements-bench.txt` lists what to install.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from benchmarks import peak_memory
from benchmarks.accuracy import Subject
from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression.cli import inputs
from compression.cli.console import Progress
from compression.errors import InvalidFile, UnknownName, UserError
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, predict
from compression.measure.latency import latency
from compression.pipeline import candidate, compress
from compression.records.measurement import Accuracy, Latency

THREADS = 1
SEED = 0
LIMIT_S = 300
"""A peer that takes longer than this is stopped, unless the caller says otherwise."""

ROOT = Path(__file__).resolve().parent.parent
OURS = "Compression Lab"


@dataclass(frozen=True)
class Peer:
    """A tool as the table names it, which of `peer.TOOLS` carries it out, and its setting."""

    name: str
    tool: str
    setting: dict[str, Any] = field(default_factory=dict)


def _brevitas(bits: int) -> Peer:
    return Peer("Brevitas, GPTQ + bias correction", "brevitas", {"bits": bits})


def _pruned(sparsity: float) -> tuple[Peer, ...]:
    return (
        Peer("torch.nn.utils.prune, L1 global", "torch_prune", {"sparsity": sparsity, "batch_norm": False}),
        Peer("the same + batch norm measured", "torch_prune", {"sparsity": sparsity, "batch_norm": True}),
    )


ROWS: dict[str, tuple[tuple[str, ...], tuple[Peer, ...]]] = {
    "W8A8": (
        ("quantize.weight_bits=8",),
        (
            Peer("ONNX Runtime quantize_static, min-max", "quantize_static", {"method": "MinMax"}),
            Peer("ONNX Runtime quantize_static, percentile", "quantize_static", {"method": "Percentile"}),
            Peer("ONNX Runtime quantize_static, entropy", "quantize_static", {"method": "Entropy"}),
            Peer("NNCF, fast bias correction", "nncf"),
            _brevitas(8),
        ),
    ),
    "W4A8": (("quantize.weight_bits=4",), (_brevitas(4),)),
    "W3A8": (("quantize.weight_bits=3",), (_brevitas(3),)),
    "W2A8": (("quantize.weight_bits=2",), (_brevitas(2),)),
    "80% sparse": (("prune.sparsity=0.8",), _pruned(0.8)),
    "90% sparse": (("prune.sparsity=0.9",), _pruned(0.9)),
    "half the MACs": (
        ("channels.amount=0.5",),
        (
            Peer("Torch-Pruning, best of six", "torch_pruning", {"batch_norm": False}),
            Peer("the same + batch norm measured", "torch_pruning", {"batch_norm": True}),
        ),
    ),
}
"""For each compression our recipe, as `--set` writes it, and the peers."""


@dataclass(frozen=True)
class Found:
    """What was measured on one file, and how long it took from the request to here."""

    accuracy: Accuracy
    size_bytes: int
    latency: Latency | None
    seconds: float
    peak_bytes: int = 0


@dataclass(frozen=True)
class Entry:
    """One row: a measured file, or in `failure` why there is none."""

    task: str
    name: str
    version: str = ""
    found: Found | None = None
    failure: str = ""


@dataclass(frozen=True)
class Bench:
    """What every row is measured on. `limit_s`: seconds that a peer may take. Where `timed` is false, no latency."""

    subject: Subject
    prepared: candidate.Prepared
    limit_s: float
    timed: bool


def run(
    subject: Subject, quiet: Quiet, progress: Progress, *, only: tuple[str, ...] = (), limit_s: float = LIMIT_S,
    busy: bool = False,
) -> Report:  # fmt: skip
    """Measures every compression, or those named in `only`; without latency where the machine is `busy`.

    Raises UnknownName.
    """
    rows = {name: ROWS[name] if name in ROWS else _unknown(name) for name in only or ROWS}
    network, data = inputs.load_inputs(subject.model, subject.dataset, weights=subject.weights)
    prepared = compress.prepare(network, data, seed=SEED, calibration_images=subject.calibration)
    bench = Bench(subject, prepared, limit_s, not busy)
    _compressed(("quantize.weight_bits=8",), "fast", bench)  # all code has been loaded once
    entries: list[Entry] = []
    total = sum(2 + len(peers) for _, peers in rows.values())
    for task, (settings, peers) in rows.items():
        for quality in ("best", "fast"):
            progress(f"{task}: {OURS}, {quality}", len(entries) / total)
            entries.append(_ours(task, settings, quality, bench))
        for peer in peers:
            progress(f"{task}: {peer.name}", len(entries) / total)
            entries.append(_peer(task, peer, bench))
    dense = next((entry.found.accuracy.baseline for entry in entries if entry.found), 0.0)
    title = (
        f"{subject.model} on {subject.dataset}: fp32 {dense:.2%} of {len(data.test):,} test images, "
        f"{len(prepared.baseline.onnx):,} bytes; {len(prepared.calibration.images)} calibration images, the same for "
        f"all; latency of 1 image, {THREADS} thread, as a ratio to fp32."
    )
    values = {"seed": SEED, "baseline_accuracy": dense, "rows": [asdict(entry) for entry in entries]}
    return Report(
        "peers", subject.model, subject.dataset, this_machine(), quiet, values, f"{title}\n\n{_table(entries)}"
    )


def _unknown(name: str) -> NoReturn:
    raise UnknownName("row", name, ROWS)


def _compressed(settings: tuple[str, ...], quality: str, bench: Bench) -> bytes:
    """The file of the recipe."""
    recipe = inputs.read_recipe(None, list(settings), SEED).with_setting("quality", quality)
    recipe = recipe.with_setting("calibration_images", bench.subject.calibration)
    return compress.compress_prepared(bench.prepared, recipe).onnx


def _ours(task: str, settings: tuple[str, ...], quality: str, bench: Bench) -> Entry:
    name = f"{OURS}, {quality}"
    peak_memory.forget()
    began = time.perf_counter()
    try:
        file = _compressed(settings, quality, bench)
    except UserError as error:
        return Entry(task, name, failure=str(error))
    return Entry(task, name, found=_measured(file, time.perf_counter() - began, peak_memory.peak_bytes(), bench))


def _peer(task: str, peer: Peer, bench: Bench) -> Entry:
    subject, prepared = bench.subject, bench.prepared
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = {
            "tool": peer.tool, "setting": peer.setting, "model": subject.model, "dataset": subject.dataset,
            "weights": str(subject.weights.resolve()) if subject.weights else None,
        }  # fmt: skip
        (folder / "task.json").write_text(json.dumps(asked))
        (folder / "fp32.onnx").write_bytes(prepared.baseline.onnx)
        np.save(folder / "calibration.npy", prepared.calibration.images.contiguous().numpy())
        failure = _carry_out(folder, bench.limit_s)
        if failure:
            return Entry(task, peer.name, failure=failure)
        facts = json.loads((folder / "facts.json").read_text())
        file = (folder / "out.onnx").read_bytes()
    try:
        return Entry(task, peer.name, facts["version"], _measured(file, facts["seconds"], facts["peak_bytes"], bench))
    except InvalidFile as error:
        return Entry(task, peer.name, facts["version"], failure=str(error))


def _carry_out(folder: Path, limit_s: float) -> str:
    """Runs the peer; the last line of what it complained of, or nothing."""
    command = [sys.executable, "-m", "benchmarks.peer", str(folder)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit_s:.0f} s"
    if done.returncode <= 0:
        return f"ended by signal {-done.returncode}" if done.returncode else ""
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]


def _measured(file: bytes, seconds: float, peak_bytes: int, bench: Bench) -> Found:
    """A file, ours or a peer's; `seconds` and `peak_bytes` were taken to make it."""
    began, prepared = time.perf_counter(), bench.prepared
    data, base = prepared.data, prepared.baseline_predictions
    runner = session(file, threads=THREADS)
    answers = accuracy(predict(runner, data, base.images), base, data.test.labels.numpy())
    image, took = data.normalize(data.test.images[:1]).numpy(), None
    if bench.timed:
        took = latency(runner, prepared.baseline_session, image)
    return Found(answers, len(file), took, seconds + time.perf_counter() - began, peak_bytes)


def _table(entries: Sequence[Entry]) -> str:
    header = ("compression", "tool", "accuracy", "drop, points", "bytes", "latency ratio", "seconds", "GB")
    return table(header, [_cells(entry) for entry in entries])


def _cells(entry: Entry) -> tuple[str, ...]:
    name, found = f"{entry.name} ({entry.version})" if entry.version else entry.name, entry.found
    if found is None:
        return entry.task, name, entry.failure, "", "", "", "", ""
    return (
        entry.task, name, f"{found.accuracy.value:.2%}", f"{100 * found.accuracy.drop:.2f}", f"{found.size_bytes:,}",
        f"{found.latency.ratio:.2f}" if found.latency else "", f"{found.seconds:.1f}",
        f"{found.peak_bytes / 1e9:.1f}",
    )  # fmt: skip
