"""One network on its way through the engine, in a process of its own: `python -m benchmarks.coverage_network`.

Arguments: NAME ("timm:resnet18") and STAGES, of `coverage.STAGES`, with commas. Each stage is a line of JSON on stdout:
what it is, whether it was done, the sentence of a refusal, seconds of the processor, peak memory of the process in MB.
"""

import before_compression  # noqa: F401 - before everything else: see there

# isort: split
import contextlib
import io
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import peak_memory
from benchmarks.untrained import CALIBRATION, built, images, pictures
from compression.errors import UserError
from compression.export import export
from compression.host.onnx_runtime import session
from compression.measure.latency import median_interval
from compression.network.decisions import classes
from compression.network.onnx_reader import read_onnx
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe

RECIPES: dict[str, dict[str, Any]] = {
    "8-bit": {"quantize.weight_bits": 8, "quantize.activation_bits": 8},
    "zeros": {"prune.sparsity": 0.5},
    "channels": {"channels.amount": 0.3},
    "low rank": {"factorize.amount": 0.3},
    "codebooks": {"share.entries": 16},
}
"""The settings that every network is tried with, at the quality that takes the least time."""

ROUNDS, LATENCY_S = (11, 101), 4.0
"""Fewest and most rounds in which all files answer one image in turns, and after how many seconds no other begins."""


class Subject:
    """One network, and what its stages leave for those after them."""

    def __init__(self, name: str, folder: Path):
        self.folder = folder
        self.model, self.shape = built(name)

    @property
    def facts(self) -> dict[str, Any]:
        """What is told of the network itself."""
        return {"parameters": sum(p.numel() for p in self.model.parameters()), "shape": self.shape}

    @cached_property
    def probe(self) -> torch.Tensor:
        """Two images by which files are compared with the network."""
        return pictures(2, self.shape, seed=1)

    def module(self) -> dict[str, Any]:
        """The fp32 file of the network as it is."""
        return self._entered(self.model)

    def through_onnx(self, exporter: str) -> dict[str, Any]:
        """The fp32 file of the network as it is read back from what an exporter of PyTorch wrote."""
        path = self.folder / f"{exporter}.onnx"
        with contextlib.redirect_stdout(io.StringIO()):
            for free in (True, False):
                try:
                    write_onnx(self.model, self.shape, exporter, path, free=free)
                    break
                except Exception as error:
                    path.unlink(missing_ok=True)
                    reason = first_line(error)
            else:
                return {"ok": False, "exporter": True, "reason": f"PyTorch's exporter refuses it: {reason}"}
        return self._entered(read_onnx(path)[0]) | {"for_one_image": not free}

    def _entered(self, network: nn.Module) -> dict[str, Any]:
        file = export(trace(network, self.shape), self.shape, packed=False).onnx
        return fidelity(self.model, file, self.probe)

    def calibrate(self) -> dict[str, Any]:
        """What every compression begins with."""
        with torch.no_grad():
            classes = self.model(self.probe).shape[1]
        self.data = images(self.shape, classes)
        self.prepared = prepare(self.model, self.data, calibration_images=CALIBRATION)
        self.baseline = fidelity(self.model, self.prepared.baseline.onnx, self.tested)
        (self.folder / "fp32.onnx").write_bytes(self.prepared.baseline.onnx)
        return self.baseline

    @cached_property
    def tested(self) -> torch.Tensor:
        """The test images, normalised."""
        return self.data.normalize(self.data.test.images)

    def compressed(self, title: str) -> dict[str, Any]:
        """One of `RECIPES`."""
        recipe = Recipe(quality="fast", calibration_images=CALIBRATION).with_settings(RECIPES[title])
        made = compress_prepared(self.prepared, recipe)
        if title == "8-bit":
            (self.folder / "8-bit.onnx").write_bytes(made.onnx)
        found = {"macs_ratio": made.macs / self.prepared.baseline.macs, "bytes": len(made.onnx)}
        return fidelity(self.model, made.onnx, self.tested) | found

    def quantize_static(self) -> dict[str, Any]:
        """ONNX Runtime's quantizer on our fp32 file: uint8 activations, int8 weights per channel."""
        quantization = import_module("onnxruntime.quantization")
        batches = iter(self.data.normalize(self.data.train.images).split(4))

        class Images(quantization.CalibrationDataReader):  # type: ignore[name-defined]
            def get_next(self) -> dict[str, np.ndarray] | None:
                batch = next(batches, None)
                return None if batch is None else {"image": batch.numpy()}

        target = self.folder / "static.onnx"
        try:
            quantization.quantize_static(
                self.folder / "fp32.onnx", target, Images(), per_channel=True,
                activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            )  # fmt: skip
        except Exception as error:
            target.unlink(missing_ok=True)
            return {"ok": False, "exporter": True, "reason": f"quantize_static fails: {first_line(error)}"}
        return fidelity(self.model, target.read_bytes(), self.tested)

    def latency(self) -> dict[str, Any]:
        """Times of all files of the network beside our fp32 file's, one image, one thread, in turns."""
        if not any((self.folder / f"{way}.onnx").is_file() for way in ("torchscript", "dynamo")):
            write_onnx(self.model, self.shape, "torchscript", self.folder / "torchscript.onnx")
        files = {path.stem: path for path in self.folder.glob("*.onnx")}
        runs: dict[str, Callable[[], Any]] = {name: partial(_answer, session(path.read_bytes()), self.probe[:1].numpy())
                for name, path in files.items()}  # fmt: skip
        times = np.array(list(_rounds(list(runs.values()))))
        base = list(files).index("fp32")
        found: dict[str, Any] = {"fp32_ms": float(np.median(times[:, base]) * 1e3), "load": os.getloadavg()[0]}
        for place, name in enumerate(files):
            ratios = times[:, place] / times[:, base]
            interval = median_interval(ratios)
            found[name] = [round(float(each), 3) for each in (np.median(ratios), interval.low, interval.high)]
        return found

    def stages(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """What can be done, in its order."""
        return {
            "module": self.module,
            "torchscript": partial(self.through_onnx, "torchscript"),
            "dynamo": partial(self.through_onnx, "dynamo"),
            "calibrate": self.calibrate,
            **{title: partial(self.compressed, title) for title in RECIPES},
            "quantize_static": self.quantize_static,
            "latency": self.latency,
        }


def main(name: str, wanted: str) -> None:
    """Takes one network as far as it goes, and says how that went."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print
    with tempfile.TemporaryDirectory() as folder:
        kept: list[Subject] = []

        def build() -> dict[str, Any]:
            kept.append(Subject(name, Path(folder)))
            return kept[0].facts

        if _stage(answers.write, "build", build):
            for title, work in kept[0].stages().items():
                if title in wanted.split(",") and not _stage(answers.write, title, work) and title == "calibrate":
                    break
    answers.flush()
    os._exit(0)


def _stage(answer: Callable[[str], Any], title: str, work: Callable[[], dict[str, Any]]) -> bool:
    """Whether it was done; what there is to tell goes to `answer`."""
    began, about = time.process_time(), {"stage": title, "ok": True, "reason": ""}
    peak_memory.forget()
    try:
        about |= work()
    except UserError as refusal:
        about |= {"ok": False, "reason": str(refusal)}
    except Exception as error:
        about |= {"ok": False, "reason": f"{type(error).__name__}: {first_line(error)}", "traceback": True}
        traceback.print_exc()
    told = about | {"seconds": round(time.process_time() - began, 1), "peak_mb": peak_memory.peak_bytes() >> 20}
    answer(json.dumps(told) + "\n")
    return bool(about["ok"])


def _rounds(runs: list[Callable[[], Any]]) -> Iterator[list[float]]:
    """Seconds of each run, round after round."""
    for run in runs * 2:
        run()
    fewest, most = ROUNDS
    ends = time.perf_counter() + LATENCY_S
    for number in range(most):
        if number >= fewest and time.perf_counter() > ends:
            return
        yield [_timed(run) for run in runs]


def _timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _answer(runner: Any, images: np.ndarray) -> np.ndarray:
    return runner.run(None, {runner.get_inputs()[0].name: images})[0]


def write_onnx(model: nn.Module, shape: tuple[int, int, int], exporter: str, path: Path, *, free: bool = True) -> None:
    """Writes the file: for any number of images, or for one."""
    example, images = torch.zeros(2 if free else 1, *shape), {0: torch.export.Dim("batch") if free else None}
    if exporter == "dynamo":
        torch.onnx.export(model, (example,), str(path), dynamo=True, dynamic_shapes=(images,), external_data=False)
        return
    axes = {"image": {0: "batch"}, "scores": {0: "batch"}} if free else {}
    torch.onnx.export(
        model, (example,), str(path), dynamo=False, dynamic_axes=axes, input_names=["image"], output_names=["scores"],
    )  # fmt: skip


def first_line(error: Exception) -> str:
    """What a library says, on one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def fidelity(model: nn.Module, onnx: bytes, batch: torch.Tensor) -> dict[str, Any]:
    """How near a file's scores are to the original network's: signal over error, in dB; how much images differ."""
    with torch.no_grad():
        expected = torch.cat([model(part) for part in batch.split(4)]).double().numpy()
    runner = session(onnx)
    found = np.concatenate([_answer(runner, image) for image in np.split(batch.numpy(), len(batch))]).astype(float)
    error = np.square(found - expected).sum()
    signal = np.square(expected - expected.mean(axis=1, keepdims=True)).sum()
    spread = float(expected.std(axis=0).mean() / max(expected.std(), 1e-30))
    agree = float(np.mean(classes(found) == classes(expected)))
    decibels = float(10 * np.log10(max(signal, 1e-300) / max(error, 1e-300)))
    return {"db": round(decibels, 1), "spread": round(spread, 4), "agree": agree}


if __name__ == "__main__":
    main(*sys.argv[1:])
