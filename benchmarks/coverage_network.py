"""One network on its way through the engine, in a process of its own: `python -m benchmarks.coverage_network`.

Arguments: NAME ("timm:resnet18") WAY (module, torchscript, dynamo) STAGES (import or all). Each stage is a line of JSON
on stdout: what it is, whether it was done, the sentence of a refusal, seconds of the processor, peak memory of the
process in MB.
"""

import before_compression  # noqa: F401 - before everything else: see there

# isort: split
import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compression.data.dataset import Dataset, Split
from compression.errors import UserError
from compression.export import export
from compression.host.onnx_runtime import session
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe

CALIBRATION, OTHERS = 16, 8
BATCH_NORM_IMAGES = 16
RECIPES: dict[str, dict[str, Any]] = {
    "8-bit": {"quantize.weight_bits": 8, "quantize.activation_bits": 8},
    "zeros": {"prune.sparsity": 0.5},
    "channels": {"channels.amount": 0.3},
    "low rank": {"factorize.amount": 0.3},
    "codebooks": {"share.entries": 16},
}
"""The settings that every network is tried with, at the quality that takes the least time."""


def main(name: str, way: str, stages: str) -> None:
    """Takes one network as far as it goes, and says how that went."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print
    kept: dict[str, Any] = {}

    def stage(title: str, work: Callable[[], dict[str, Any] | None]) -> bool:
        began, about = time.process_time(), {"stage": title, "ok": True, "reason": ""}
        try:
            about |= work() or {}
        except UserError as refusal:
            about |= {"ok": False, "reason": str(refusal)}
        except Exception as error:
            about |= {"ok": False, "reason": f"{type(error).__name__}: {str(error)[:300]}", "traceback": True}
            traceback.print_exc()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        answers.write(json.dumps(about | {"seconds": round(time.process_time() - began, 1), "peak_mb": peak}) + "\n")
        return bool(about["ok"])

    def build() -> dict[str, Any]:
        kept["model"], kept["shape"] = built(name)
        return {"parameters": sum(p.numel() for p in kept["model"].parameters()), "shape": kept["shape"]}

    def enter() -> dict[str, Any]:
        kept["network"] = kept["model"] if way == "module" else through_onnx(kept["model"], kept["shape"], way)
        file = export(trace(kept["network"], kept["shape"]), kept["shape"], packed=False).onnx
        return fidelity(kept["model"], file, pictures(2, kept["shape"], seed=1))

    def calibrate() -> dict[str, Any]:
        data = images(kept["shape"], answer(kept["model"], kept["shape"]).shape[1])
        kept["prepared"] = prepare(kept["network"], data, calibration_images=CALIBRATION)
        kept["images"] = data.normalize(data.test.images)
        return fidelity(kept["model"], kept["prepared"].baseline.onnx, kept["images"])

    def recipe(settings: dict[str, Any]) -> dict[str, Any]:
        chosen = Recipe(quality="fast", calibration_images=CALIBRATION).with_settings(settings)
        made = compress_prepared(kept["prepared"], chosen)
        measured = fidelity(kept["model"], made.onnx, kept["images"])
        return measured | {"macs_ratio": made.macs / kept["prepared"].baseline.macs, "bytes": len(made.onnx)}

    if stage("build", build) and stage("import", enter) and stages == "all" and stage("calibrate", calibrate):
        for title, settings in RECIPES.items():
            stage(title, partial(recipe, settings))
    answers.flush()
    os._exit(0)


def built(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network with random weights and measured batch norms, and its native input's shape (C, H, W)."""
    library, _, called = name.partition(":")
    torch.manual_seed(0)
    if library == "torchvision":
        from torchvision import models

        more = {"init_weights": False, "aux_logits": False} if called in ("googlenet", "inception_v3") else {}
        side = models.get_model_weights(called).DEFAULT.transforms().crop_size[0]
        model, shape = models.get_model(called, weights=None, **more), (3, side, side)
    else:
        import timm

        model = timm.create_model(called, pretrained=False)
        shape = timm.data.resolve_model_data_config(model)["input_size"]
    draw_zeros_(model)
    measure_batch_norms_(model, shape)
    return model.eval(), shape


def draw_zeros_(model: nn.Module) -> None:
    """Random weights for layers that begin with zeros, with which all images have the same answer."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.any():
            nn.init.trunc_normal_(layer.weight, std=0.02)


def measure_batch_norms_(model: nn.Module, shape: tuple[int, int, int]) -> None:
    """Statistics of random images, so that answers neither vanish nor explode: untrained ones say 0 and 1."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None
    if norms:
        with torch.no_grad():
            model(pictures(BATCH_NORM_IMAGES, shape))
    for norm in norms:
        norm.momentum = 0.1


def pictures(count: int, shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    """Smooth random images with some noise, normalised: float32 [count, C, H, W]."""
    draw = torch.Generator().manual_seed(seed)
    channels, *sides = shape
    smooth = torch.nn.functional.interpolate(
        torch.randn(count, channels, 7, 7, generator=draw), size=sides, mode="bicubic"
    )
    return smooth + 0.2 * torch.randn(count, *shape, generator=draw)


def images(shape: tuple[int, int, int], classes: int) -> Dataset:
    """Random images as a dataset of `classes` classes, of mean 0.5 and deviation 0.25."""
    sizes = [CALIBRATION, OTHERS, OTHERS]
    pixels = pictures(sum(sizes), shape, seed=1).mul(64).add(128).clamp(0, 255).round().to(torch.uint8)
    labels = torch.arange(len(pixels)) % classes
    parts = [Split(*part) for part in zip(pixels.split(sizes), labels.split(sizes), strict=True)]
    mean, std = (0.5,) * shape[0], (0.25,) * shape[0]
    names = tuple(map(str, range(classes)))
    return Dataset(
        "random", "Random images", names, shape, mean, std, "a generator", False, parts[0], parts[1], parts[2]
    )


def answer(model: nn.Module, shape: tuple[int, int, int]) -> torch.Tensor:
    """Scores of two images."""
    with torch.no_grad():
        return model(pictures(2, shape))


def through_onnx(model: nn.Module, shape: tuple[int, int, int], exporter: str) -> nn.Module:
    """The network read back from a file that one of PyTorch's exporters wrote."""
    from compression.network.onnx_reader import read_onnx

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "network.onnx"
        try:
            write_onnx(model, shape, exporter, path)
        except Exception as error:
            raise UserError(f"PyTorch's exporter refuses the network: {first_line(error)}") from None
        return read_onnx(path)[0]


def write_onnx(model: nn.Module, shape: tuple[int, int, int], exporter: str, path: Path) -> None:
    """Writes the file, with a free batch."""
    example = torch.zeros(2, *shape)
    if exporter == "dynamo":
        batch = torch.export.Dim("batch")
        torch.onnx.export(model, (example,), str(path), dynamo=True, dynamic_shapes=({0: batch},))
    else:
        axes = {"image": {0: "batch"}, "scores": {0: "batch"}}
        torch.onnx.export(
            model, (example,), str(path), dynamo=False, dynamic_axes=axes, input_names=["image"],
            output_names=["scores"],
        )  # fmt: skip


def first_line(error: Exception) -> str:
    """What a library says, on one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def fidelity(model: nn.Module, onnx: bytes, batch: torch.Tensor) -> dict[str, Any]:
    """How near a file's scores are to the original network's: signal over error, in dB; how much images differ."""
    with torch.no_grad():
        expected = model(batch).double().numpy()
    found = np.concatenate(list(_answers(session(onnx), batch.numpy()))).astype(np.float64)
    error = np.square(found - expected).sum()
    signal = np.square(expected - expected.mean(axis=1, keepdims=True)).sum()
    spread = float(expected.std(axis=0).mean() / max(expected.std(), 1e-30))
    return {"db": round(float(10 * np.log10(max(signal, 1e-300) / max(error, 1e-300))), 1), "spread": round(spread, 4)}


def _answers(runner: Any, batch: np.ndarray) -> Iterator[np.ndarray]:
    for image in np.split(batch, len(batch)):
        yield runner.run(None, {runner.get_inputs()[0].name: image})[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
