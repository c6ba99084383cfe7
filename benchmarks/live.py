"""From a network to points on a chart, at the size that the network has: seconds, and memory of its own.

A network of the list (`--model NAME --dataset folder:PATH`), or one of torchvision or timm with random weights and
random images (`--model torchvision:resnet50`), is prepared; then recipes are carried out with both settings, from the
prepared network to the first measured point and to all test images. In the same run ONNX Runtime's `quantize_static`
makes its file of as many images, which answers the same test images. Wall-clock seconds stand beside those of the
processor: where others compute too, only the latter, and ratios, say anything. Memory is the highest RssAnon.
"""

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.files import quantized_static
from benchmarks.memory import Watch
from benchmarks.report import table
from benchmarks.untrained import built, images
from compression.cli import inputs
from compression.cli.console import Progress
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, order, predict
from compression.pipeline import compress, measuring
from compression.pipeline.candidate import Prepared
from compression.recipe import Recipe

RECIPES = {"W8A8": 8, "W4A8": 4}
WARM = 6
"""Bits of a recipe that goes ahead with each setting, and is told apart: it fills caches."""

VALIDATION = 64


def run(model: str, dataset: str, calibration: int, tests: int, progress: Progress) -> str:
    """A table of steps with seconds, the processor's seconds, MiB, and accuracy where there is one."""
    progress("Loading", 0.0)
    network, data = _inputs(model, dataset, calibration, tests)
    rows: list[tuple[str, ...]] = []

    def row(title: str, work: Callable[[], Any]) -> Any:
        progress(title, 0.5)
        gc.collect()
        processor = time.process_time()
        with Watch() as watch:
            made = work()
        told = made[1] if isinstance(made, tuple) else ""
        rows.append(
            (title, f"{watch.seconds:.1f}", f"{time.process_time() - processor:.1f}", f"{watch.own:,.0f}", told)
        )
        return made

    prepared = row("preparing", lambda: compress.prepare(network, data, calibration_images=calibration))
    for quality in ("fast", "best"):
        for title, bits in ((f"W{WARM}A8, ahead", WARM), *RECIPES.items()):
            recipe = Recipe(quality=quality, calibration_images=calibration).with_setting("quantize.weight_bits", bits)
            points = row(f"{title}, {quality}: file and first point", lambda r=recipe: _first(prepared, r))[0]  # type: ignore[misc]
            if bits != WARM:
                row(f"{title}, {quality}: the other test images", lambda p=points: _rest(p))  # type: ignore[misc]
    row("quantize_static: file", lambda: _quantized(prepared))
    row("quantize_static: all test images", lambda: _answered(prepared))
    heading = (
        f"{model}, {'×'.join(map(str, data.input_shape))}: {calibration} calibration and {len(data.test):,} test images"
    )
    header = ("step", "seconds", "of the processor", "MiB", "accuracy")
    return f"{heading}; {torch.get_num_threads()} threads.\n\n{table(header, rows)}"


def _inputs(model: str, dataset: str, calibration: int, tests: int) -> tuple[Any, Any]:
    if ":" in model:
        network, shape = built(model)
        with torch.no_grad():
            classes = network(torch.zeros(1, *shape)).shape[1]
        return network, images(shape, classes, (calibration, VALIDATION, tests))
    return inputs.load_inputs(model, dataset)


def _first(prepared: Prepared, recipe: Recipe) -> tuple[Any, str]:
    points = measuring.stream(compress.compress_prepared(prepared, recipe), prepared)
    first = next(points)
    return points, _told(first.accuracy)


def _rest(points: Any) -> tuple[None, str]:
    found = list(points)
    return None, _told(found[-1].accuracy) if found else "all were answered"


def _told(found: Any) -> str:
    return f"{found.value:.1%} of {found.n:,}, drop {100 * found.drop:.1f}"


_files: dict[int, bytes] = {}


def _quantized(prepared: Prepared) -> None:
    _files[id(prepared)] = quantized_static(prepared)


def _answered(prepared: Prepared) -> tuple[None, str]:
    data = prepared.data
    found = predict(session(_files.pop(id(prepared))), data, order(len(data.test)))
    return None, _told(accuracy(found, prepared.baseline_predictions, data.truth))
