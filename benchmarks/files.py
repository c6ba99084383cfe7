"""What a packed file costs beside its unpacked twin, the fp32 file and what ONNX Runtime's own quantizer makes.

Bytes as ratios to the smallest plain fp32 ONNX file (batch norm folded, no metadata). Latency is one image at one
thread, in turns with the file it is compared with. Loading a file and its peak memory are taken in a process of its
own. `quantize_static` gets the same fp32 file and the same calibration images in the same run.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression.cli import inputs
from compression.cli.console import Progress
from compression.export import export
from compression.export.ledger import over_the_wire
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, predict
from compression.measure.latency import latency
from compression.pipeline import candidate, compress
from compression.records.measurement import Latency

ROWS: dict[str, tuple[str, ...]] = {
    "W8A8": ("quantize.weight_bits=8",),
    "W4A8": ("quantize.weight_bits=4",),
    "80% sparse, W4A8": ("prune.sparsity=0.8", "quantize.weight_bits=4"),
    "85% sparse, W4A8": ("prune.sparsity=0.85", "quantize.weight_bits=4"),
    "90% sparse, W3A8": ("prune.sparsity=0.9", "quantize.weight_bits=3"),
    "W4, weights only": ("quantize.weight_bits=4", "quantize.activation_bits=32"),
    "80% sparse": ("prune.sparsity=0.8",),
}
"""Recipes by the name that the table shows, as `--set` writes them."""

PEER = "ONNX Runtime quantize_static"
LOADS = 5

LOAD = """\
import json, re, sys, time
from pathlib import Path
import onnxruntime

def peak():
    status = Path("/proc/self/status")
    return int(re.search("VmHWM:\\s+(\\d+)", status.read_text())[1]) if status.exists() else None

options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
before = peak()
times = []
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    times.append(1e3 * (time.perf_counter() - begin))
grown = None if before is None else peak() - before
print(json.dumps({"load_ms": sorted(times)[len(times) // 2], "peak_kilobytes": grown}))
"""


class Images(CalibrationDataReader):
    """Calibration images one by one, as `quantize_static` reads them."""

    def __init__(self, images: np.ndarray):
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image as a batch of one, or None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """Writes and measures every row."""
    data = inputs.load_data(dataset)
    prepared = compress.prepare(inputs.load_model(model, data), data)
    peer = quantized_static(prepared)
    rows = {"fp32": _row(prepared, prepared.baseline.onnx, None), PEER: _row(prepared, peer, None)}
    for position, (name, settings) in enumerate(ROWS.items()):
        progress(name, position / len(ROWS))
        graph = compress.simulate(prepared, inputs.read_recipe(None, list(settings), 0))
        packed, twin = export(graph, data.input_shape), export(graph, data.input_shape, packed=False).onnx
        row = _row(prepared, packed.onnx, twin)
        row["payload_bytes"] = sum(encoding.size_bytes for encoding in packed.encodings.values())
        if name == "W8A8":
            row["to_peer"] = asdict(_in_turns(prepared, packed.onnx, peer))
        rows[name] = row
    title = (
        f"{model} on {dataset}; smallest plain fp32 ONNX file {len(prepared.baseline.onnx):,} bytes; 1 thread, 1 image."
    )
    return Report("files", model, dataset, this_machine(), quiet, {"rows": rows}, f"{title}\n\n{_table(rows)}")


def _row(prepared: candidate.Prepared, onnx: bytes, twin: bytes | None) -> dict[str, Any]:
    predictions = predict(session(onnx), prepared.data, prepared.baseline_predictions.images)
    found = accuracy(predictions, prepared.baseline_predictions, prepared.data.test.labels.numpy())
    return {
        "size_bytes": len(onnx),
        "size_ratio": len(prepared.baseline.onnx) / len(onnx),
        "drop": found.drop,
        "wire": asdict(over_the_wire(onnx)),
        "to_fp32": asdict(_in_turns(prepared, onnx, prepared.baseline.onnx)),
        "to_twin": asdict(_in_turns(prepared, onnx, twin)) if twin else None,
        **_loaded(onnx),
    }


def _in_turns(prepared: candidate.Prepared, first: bytes, second: bytes) -> Latency:
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    return latency(session(first), session(second), image)


def _loaded(onnx: bytes) -> dict[str, float | None]:
    """Median milliseconds until a session stands, and kilobytes that the process grew by at most (Linux only)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx)
        done = subprocess.run([sys.executable, "-c", LOAD, str(path), str(LOADS)], capture_output=True, check=True)
    return json.loads(done.stdout)


def quantized_static(prepared: candidate.Prepared) -> bytes:
    """ONNX Runtime's quantizer with uint8 activations and int8 weights per channel, min-max."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(prepared.baseline.onnx)
        quantize_static(
            source, target, Images(prepared.calibration.images.numpy()), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return target.read_bytes()


def _table(rows: dict[str, dict[str, Any]]) -> str:
    header = (
        "file", "bytes", "times smaller", "gzip", "zstd", "drop, points", "latency to fp32", "to the unpacked twin",
        "to quantize_static", "load, ms", "peak memory, MB",
    )  # fmt: skip
    return table(header, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    return (
        name, f"{row['size_bytes']:,}", f"{row['size_ratio']:.1f}",
        f"{row['wire']['gzip']:,}", f"{row['wire']['zstd']:,}",
        f"{100 * row['drop']:.2f}", _ratio(row["to_fp32"]), _ratio(row["to_twin"]), _ratio(row.get("to_peer")),
        f"{row['load_ms']:.0f}", "" if row["peak_kilobytes"] is None else f"{row['peak_kilobytes'] / 1000:.1f}",
    )  # fmt: skip


def _ratio(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    return f"{found['ratio']:.2f} ({found['ratio_interval']['low']:.2f} to {found['ratio_interval']['high']:.2f})"
