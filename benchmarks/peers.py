"""The same network, calibration images and test set in one run: this program and other tools, training-free.

Each peer works in its best training-free setting, in a process of its own (`benchmarks.peer`), and hands over an ONNX
file. Accuracy, bytes and latency of all files are then measured by the same functions, one after the other. Seconds are
those from the request to the result on the full test split: compress, write the file, answer all test images, time one.
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
from typing import Any

import numpy as np

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression import cli
from compression.cli import inputs
from compression.cli.console import Progress
from compression.errors import InvalidFile
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, predict
from compression.measure.latency import latency
from compression.pipeline import candidate, compress
from compression.records.measurement import Accuracy, Latency

THREADS = 1
SEED = 0
LIMIT_S = 300
"""A peer that takes longer than this is stopped."""

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


@dataclass(frozen=True)
class Entry:
    """One row: a measured file, or in `failure` why there is none."""

    task: str
    name: str
    version: str = ""
    found: Found | None = None
    failure: str = ""


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """Measures every row."""
    data = inputs.load_data(dataset)
    prepared = compress.prepare(inputs.load_model(model, data), data, seed=SEED)
    first = inputs.read_recipe(None, ["quantize.weight_bits=8"], SEED)
    cli.carry_out(first, prepared)  # all code has been loaded once
    entries: list[Entry] = []
    total = sum(1 + len(peers) for _, peers in ROWS.values())
    for task, (settings, peers) in ROWS.items():
        for quality in ("best", "fast"):
            progress(f"{task}: {OURS}, {quality}", len(entries) / total)
            entries.append(_ours(task, settings, quality, prepared))
        for peer in peers:
            progress(f"{task}: {peer.name}", len(entries) / total)
            entries.append(_peer(task, peer, model, dataset, prepared))
    dense = entries[0].found.accuracy.baseline if entries[0].found else 0.0
    title = (
        f"{model} on {dataset}: fp32 {dense:.2%} of {len(data.test):,} test images, {len(prepared.baseline.onnx):,} "
        f"bytes; {len(prepared.calibration.images)} calibration images, the same for all; latency of 1 image, "
        f"{THREADS} thread, as a ratio to fp32."
    )
    values = {"seed": SEED, "baseline_accuracy": dense, "rows": [asdict(entry) for entry in entries]}
    return Report("peers", model, dataset, this_machine(), quiet, values, f"{title}\n\n{_table(entries)}")


def _ours(task: str, settings: tuple[str, ...], quality: str, prepared: candidate.Prepared) -> Entry:
    recipe = inputs.read_recipe(None, list(settings), SEED).with_setting("quality", quality)
    began = time.perf_counter()
    _, measured = cli.carry_out(recipe, prepared, threads=THREADS)
    seconds = time.perf_counter() - began
    return Entry(
        task, f"{OURS}, {quality}", found=Found(measured.accuracy, measured.size_bytes, measured.latency, seconds)
    )


def _peer(task: str, peer: Peer, model: str, dataset: str, prepared: candidate.Prepared) -> Entry:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = {"tool": peer.tool, "setting": peer.setting, "model": model, "dataset": dataset}
        (folder / "task.json").write_text(json.dumps(asked))
        (folder / "fp32.onnx").write_bytes(prepared.baseline.onnx)
        np.save(folder / "calibration.npy", prepared.calibration.images.contiguous().numpy())
        failure = _carry_out(folder)
        if failure:
            return Entry(task, peer.name, failure=failure)
        facts = json.loads((folder / "facts.json").read_text())
        file = (folder / "out.onnx").read_bytes()
    try:
        return Entry(task, peer.name, facts["version"], _measured(file, facts["seconds"], prepared))
    except InvalidFile as error:
        return Entry(task, peer.name, facts["version"], failure=str(error))


def _carry_out(folder: Path) -> str:
    """Runs the peer; the last line of what it complained of, or nothing."""
    command = [sys.executable, "-m", "benchmarks.peer", str(folder)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {LIMIT_S} s"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]


def _measured(file: bytes, seconds: float, prepared: candidate.Prepared) -> Found:
    """The file measured in the same way as ours; `seconds` were spent on making it."""
    began, data = time.perf_counter(), prepared.data
    runner, base = session(file, threads=THREADS), prepared.baseline_predictions
    answers = accuracy(predict(runner, data, base.images), base, data.test.labels.numpy())
    took = latency(runner, prepared.baseline_session, data.normalize(data.test.images[:1]).numpy())
    return Found(answers, len(file), took, seconds + time.perf_counter() - began)


def _table(entries: Sequence[Entry]) -> str:
    header = ("compression", "tool", "accuracy", "drop, points", "bytes", "latency ratio", "seconds")
    return table(header, [_cells(entry) for entry in entries])


def _cells(entry: Entry) -> tuple[str, ...]:
    name, found = f"{entry.name} ({entry.version})" if entry.version else entry.name, entry.found
    if found is None:
        return entry.task, name, entry.failure, "", "", "", ""
    return (
        entry.task, name, f"{found.accuracy.value:.2%}", f"{100 * found.accuracy.drop:.2f}", f"{found.size_bytes:,}",
        f"{found.latency.ratio:.2f}" if found.latency else "", f"{found.seconds:.1f}",
    )  # fmt: skip
