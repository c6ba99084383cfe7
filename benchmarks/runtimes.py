"""The int8 `.tflite` file of every network with weights: its answers in LiteRT and TFLM beside the int8 ONNX file's.

All test images are answered by the ONNX file and by LiteRT; TensorFlow Lite Micro answers the first of them, in the
fixed order of measurements. *Gap* is by how much the ONNX file's best score lies above its second: the median of the
images to which TFLM gives another class, and of all.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from benchmarks import kept_results
from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression import models
from compression.analysis.devices import TFLM, device, estimate_ms
from compression.analysis.tflm_kernels import program_bytes
from compression.cli.console import Progress
from compression.cli.inputs import load_data
from compression.data import Dataset
from compression.export.tflite import export
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure import tflite_runs
from compression.measure.accuracy import normalized_values
from compression.measure.arena import MOST
from compression.measure.roofline import work_of
from compression.measure.tflite_images import Takes, fed
from compression.network.decisions import classes
from compression.pipeline import compress
from compression.pipeline.tflite_file import in_integers
from compression.recipe.presets import PRESETS
from compression.records.measurement import order

BATCH = 250
NANO = device("nano33")


def run(
    preset: str, quiet: Quiet, progress: Progress, *, lines: Path, only: tuple[str, ...] = (), most: int = 10_000
) -> Report:
    """One row a network; `only` names them, as "lenet5/digits"; each is kept in `lines`, and not measured again."""
    known = {row["name"]: row for row in kept_results.read(lines)}
    cards = [card for card in models.cards() if not only or f"{card.model}/{card.dataset}" in only]
    for number, card in enumerate(cards):
        name = f"{card.model}/{card.dataset}"
        progress(name, number / len(cards))
        if name not in known:
            known[name] = _network(card, preset, most) | {"name": name}
            kept_results.keep(known[name], lines)
    rows = [known[f"{card.model}/{card.dataset}"] for card in cards]
    return Report("runtimes", preset, "zoo", this_machine(), quiet, {"rows": rows}, _markdown(preset, rows))


def _network(card: models.Card, preset: str, most: int) -> dict[str, Any]:
    data = load_data(card.dataset)
    prepared = compress.prepare(models.load(card.model, card.dataset), data)
    candidate = compress.compress_prepared(prepared, in_integers(PRESETS[preset].recipe))
    content = export(candidate.books.graph, data.input_shape, prepared.calibration.images, "int8")
    images = order(len(data.test))
    about = tflite_runs.about(content, data.input_shape)
    scores = _scores(candidate.onnx, data, images)
    ours = classes(scores)
    lite, times = tflite_runs.predict(content, data, images, about.classes)
    micro = _micro(content, about, data, images[:most])
    labels = data.test.labels.numpy()[images]
    best = np.sort(scores, axis=1)
    gaps = best[:, -1] - best[:, -2]
    apart = micro != ours[: len(micro)]
    arena = tflite_runs.arena(content, about, data).size_bytes
    program = program_bytes(about.kernels)
    fits = arena is not None and (
        len(content) + program <= NANO.flash_bytes and arena + TFLM.own_ram_bytes <= NANO.ram_bytes
    )
    return {
        "images": len(images), "tflm_images": len(micro), "file_bytes": len(content), "program_bytes": program,
        "arena_bytes": arena, "fits_nano33": fits,
        "nano33_ms": estimate_ms(work_of(candidate.onnx, data.input_shape), NANO),
        "litert_p50_ms": times.p50_ms, "kernels": about.kernels,
        "right": {
            "onnx": float(np.mean(ours == labels)), "litert": float(np.mean(lite.classes == labels)),
            "tflm": float(np.mean(micro == labels[: len(micro)])),
        },
        "litert_as_onnx": float(np.mean(lite.classes == ours)), "tflm_as_onnx": float(np.mean(~apart)),
        "tflm_as_litert": float(np.mean(micro == lite.classes[: len(micro)])),
        "gap_apart": float(np.median(gaps[: len(micro)][apart])) if apart.any() else None,
        "gap_apart_most": float(gaps[: len(micro)][apart].max()) if apart.any() else None,
        "gap_all": float(np.median(gaps)),
    }  # fmt: skip


def _scores(onnx: bytes, data: Dataset, images: np.ndarray) -> np.ndarray:
    """The file's scores [n, classes]."""
    file, table = session(onnx), normalized_values(data)
    parts = []
    for start in range(0, len(images), BATCH):
        pixels = data.test.pixels(images[start : start + BATCH]).numpy()
        values = np.stack([table[channel][pixels[:, channel]] for channel in range(len(table))], axis=1)
        parts.append(file.run(None, {file.get_inputs()[0].name: values})[0])
    return np.concatenate(parts)


def _micro(content: bytes, about: tflite_runs.About, data: Dataset, images: np.ndarray) -> np.ndarray:
    """TFLM's classes [n]: int32. The file is our own, so that it runs in this process, for as long as it takes."""
    takes = Takes(0, 1, about.channels, about.channels_last, np.dtype(about.type).type, about.image_grid)
    table, file = normalized_values(data), runtime.Interpreter.from_bytes(content, arena_size=MOST)
    named = np.zeros(len(images), np.int32)
    for at in range(len(images)):
        file.set_input(fed(takes, data.test.pixels(images[at : at + 1]).numpy(), table), 0)
        file.invoke()
        named[at] = classes(file.get_output(0).astype(np.float32))[0]
    return named


def _markdown(preset: str, rows: list[dict[str, Any]]) -> str:
    header = (
        "network", "images", ".tflite", "arena", "right: ONNX", "LiteRT", "TFLM", "LiteRT as ONNX", "TFLM as ONNX",
        "TFLM as LiteRT", "gap", "Nano 33 BLE",
    )  # fmt: skip
    least = min(min(row["litert_as_onnx"], row["tflm_as_onnx"]) for row in rows)
    return f"`--preset {preset}`, all operators in integers; {least:.2%} is the least agreement.\n\n" + table(
        header, [_cells(row) for row in rows]
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    count = f"{row['images']:,}" + ("" if row["tflm_images"] == row["images"] else f"; TFLM {row['tflm_images']:,}")
    gap = "" if row["gap_apart"] is None else f"{row['gap_apart']:.3f} of {row['gap_all']:.2f}"
    alike = (f"{row[name]:.2%}" for name in ("litert_as_onnx", "tflm_as_onnx", "tflm_as_litert"))
    fits = f"fits, about {row['nano33_ms']:.0f} ms" if row["fits_nano33"] else "does not fit"
    right = (f"{row['right'][name]:.2%}" for name in ("onnx", "litert", "tflm"))
    return row["name"], count, f"{row['file_bytes']:,}", f"{row['arena_bytes']:,}", *right, *alike, gap, fits
