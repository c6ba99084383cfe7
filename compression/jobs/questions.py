"""Questions about a network or a finished file that a worker answers beside the jobs: profiles, layers, formats.

They are sent by `Lab.ask`. Importing this module is cheap; see `worker`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression.analysis.comparison import Comparison, compare
from compression.analysis.devices import Deployment
from compression.data.class_names import ClassMap
from compression.errors import UserError
from compression.jobs import requested, worker
from compression.jobs.lru_cache import LruCache
from compression.jobs.messages import Request
from compression.models import ARCHITECTURES
from compression.probing.browser import BrowserImages
from compression.recipe import Recipe
from compression.records.analysis import (
    FeatureMaps,
    Finding,
    Growth,
    LayerSensitivity,
    LayerView,
    OperatorTimes,
    OverTheWire,
    Profile,
    Structure,
)
from compression.records.measurement import LayerReport, Predictions

if TYPE_CHECKING:
    from compression.data import Dataset

_loaded: LruCache["Dataset"] = LruCache(2)
_graphs: LruCache[Any] = LruCache(4)


@dataclass(frozen=True)
class Insight:
    """Why a file is as fast as it is: what holds it up, ONNX Runtime's account of it and of the fp32 file."""

    findings: tuple[Finding, ...]
    profile: Profile
    baseline: Profile
    wire: OverTheWire


def explain_latency(request: Request, onnx: bytes, layers: tuple[LayerReport, ...]) -> Insight:
    """Profiles the file and the fp32 one for a single image, and names what keeps the file from being faster."""
    from compression.export.ledger import over_the_wire
    from compression.host.machine import this_machine
    from compression.measure.diagnose import diagnose
    from compression.measure.profile import profile

    prepared = worker.prepared(request)
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    ours, theirs = (profile(file, image, threads=request.threads) for file in (onnx, prepared.baseline.onnx))
    found = diagnose(onnx, layers, this_machine(), profile=ours, threads=request.threads)
    return Insight(found, ours, theirs, over_the_wire(onnx))


def write_format(request: Request, format_name: str) -> dict[str, bytes]:
    """The network of a request in another format: contents by suffix. It is made anew, which gives the same weights."""
    from compression.export import formats

    prepared, recipe = worker.prepared(request), Recipe.from_json(request.recipe)
    known = request.model if request.model in ARCHITECTURES else None
    compressed = formats.Compressed(compressed_graph(request), prepared.data.input_shape, recipe, known)
    with tempfile.TemporaryDirectory() as folder:
        paths = formats.write(format_name, compressed, Path(folder) / "network")
        return {path.name.removeprefix("network"): path.read_bytes() for path in paths}


def class_map_of(request: Request) -> ClassMap | None:
    """Which output of the network each class of the images is; None where they are the network's own, or none."""
    from compression import data, models

    card, images = models.card(request.model, request.weights), data.load(request.dataset)
    return data.class_map(images, card.classes, card.class_names) if images.labelled else None


def correct_classes(request: Request, corrections: Mapping[str, str]) -> ClassMap | None:
    """Keeps what a user says of classes (see `class_names.match`), and how they match now. Raises `InvalidSetting`."""
    from compression import data, models
    from compression.data import class_names

    card = models.card(request.model, request.weights)
    names = data.names_of(card.classes, card.class_names)
    class_names.match(tuple(corrections), names, corrections)  # refuses what names no output
    class_names.keep(names, request.dataset, corrections)
    return class_map_of(request)


def write_with_preprocessing(request: Request, onnx: bytes) -> dict[str, bytes]:
    """The file with preprocessing inside, by its suffix, verified on test images; see `pipeline.verification`."""
    from compression import models
    from compression.export.snippets import PIXELS_SUFFIX
    from compression.pipeline.verification import with_preprocessing

    preprocess = models.preprocess_of(models.card(request.model, request.weights))
    return {PIXELS_SUFFIX: with_preprocessing(onnx, worker.prepared(request).data, preprocess)}


def compare_deployment(request: Request, onnx: bytes, weights: int) -> tuple[Deployment, Deployment]:
    """How the file and the fp32 one would fare on each device."""
    from compression.analysis.deployment import deployment

    prepared = worker.prepared(request)
    shape, baseline = prepared.data.input_shape, prepared.baseline
    ours = deployment(onnx, shape, weights, threads=request.threads)
    return ours, deployment(baseline.onnx, shape, baseline.parameters, threads=request.threads)


def browser_images(request: Request) -> BrowserImages:
    """The fp32 file and test images for a page that runs files in a browser."""
    from compression.probing import browser

    prepared = worker.prepared(request)
    return browser.browser_images(prepared.baseline.onnx, prepared.data)


def memory_growth(request: Request, onnx: bytes) -> Growth:
    """What a process of its own grows by while the file answers a large batch."""
    from compression.measure.memory import growth

    return growth(onnx, worker.prepared(request).data.input_shape)


def known_sensitivities(request: Request, stage: str = "") -> dict[str, LayerSensitivity]:
    """The curves that are known of the network's layers; a `Sweeping` job measures the others.

    `stage` only tells a question from the one before, when more is known.
    """
    from compression.analysis.layer_sensitivity import Sweep

    return Sweep(worker.prepared(request)).known()


def layer_view(request: Request, layer: str) -> LayerView:
    """A layer before and after the request's recipe."""
    from compression.analysis.layer_inspection import inspect

    return inspect(worker.prepared(request), compressed_graph(request), layer)


def reachable_amounts(request: Request) -> tuple[float, ...]:
    """The shares in (0, 1] that `channels.amount` reaches exactly with the request's other settings; () without it."""
    from compression.techniques.channels import remove_channels

    prepared, channels = worker.prepared(request), Recipe.from_json(request.recipe).get("channels")
    if channels is None:
        return ()
    return remove_channels.reachable_amounts(prepared.dense, channels, prepared.calibration)  # type: ignore[arg-type]


def network_structure(request: Request) -> Structure:
    """The dense network as a graph."""
    from compression.analysis import layer_inspection

    return layer_inspection.structure(worker.prepared(request).dense)


def compressed_structure(request: Request) -> Structure:
    """The network that the request's recipe makes of it, as a graph."""
    from compression.analysis import layer_inspection

    return layer_inspection.structure(compressed_graph(request))


def operator_times(request: Request) -> tuple[OperatorTimes, OperatorTimes]:
    """Milliseconds of each operator before and after the request's recipe."""
    from compression.analysis import operator_times

    prepared, graph = worker.prepared(request), compressed_graph(request)
    before, after = (
        operator_times.operator_times(prepared, each, threads=request.threads) for each in (prepared.dense, graph)
    )
    return before, after


def feature_maps(request: Request, layer: str, image: int) -> FeatureMaps:
    """What a layer makes of a test image before and after the request's recipe."""
    from compression.analysis import layer_inspection

    return layer_inspection.feature_maps(worker.prepared(request), compressed_graph(request), layer, image)


def compressed_graph(request: Request) -> Any:
    """The compressed network in torch, made anew the first time: the same weights as those in the file."""
    from compression.pipeline import compress

    key = request, requested.edition(request)
    return _graphs.get(
        key,
        lambda: compress.simulate(worker.prepared(request), Recipe.from_json(request.recipe)),
        wait=worker.wait,
    )


def compare_predictions(
    request: Request, a: Predictions, b: Predictions, fp32: Predictions | None = None
) -> Comparison:
    """Two files' answers on the test images of a request; `fp32`'s are the truth where the images have no labels."""
    from compression import data

    def load() -> "Dataset":
        try:
            return requested.images(request)
        except UserError:  # the network is gone, and what was measured of it stays
            return data.load(request.dataset)

    about = request.model, request.weights, request.dataset, data.edition(request.dataset)
    return compare(a, b, _loaded.get(about, load), fp32)


@dataclass(frozen=True)
class Teaching:
    """What the dense network says of a few images: `scores` [images][classes] before the softmax."""

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    pictures: tuple[bytes, ...]
    scores: tuple[tuple[float, ...], ...]


def teacher_scores(request: Request, teacher: str, images: tuple[int, ...]) -> Teaching:
    """The scores of a network of the zoo, or of the dense one ('self'), for test images: a temperature softens them.

    Raises what `techniques.recovery.recover.named` raises.
    """
    import torch

    from compression.analysis.comparison import picture
    from compression.techniques.recovery.recover import named

    prepared = worker.prepared(request)
    data = prepared.data
    with torch.no_grad():
        scores = named(teacher, prepared.dense, data)(data.normalize(data.test.images[list(images)])).tolist()
    return Teaching(
        classes=data.classes,
        labels=tuple(data.label_of(i) for i in images),
        pictures=tuple(picture(data, i) for i in images),
        scores=tuple(tuple(map(float, row)) for row in scores),
    )


def softmax(scores: Sequence[float], temperature: float) -> list[float]:
    """The softmax of scores / temperature: what a student is shown (Hinton et al. 2015, eq. 1)."""
    highest = max(scores)
    powers = [exp((score - highest) / temperature) for score in scores]
    return [power / sum(powers) for power in powers]
