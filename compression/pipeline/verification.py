"""Side by side on the same images: a network, its graph and its file; a file and the one with preprocessing inside."""

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import torch
from torch import fx, nn
from torch.export import ExportedProgram

from compression.data import Dataset
from compression.errors import Unsupported
from compression.export import preprocessing, with_values
from compression.export.writer import INPUT
from compression.host.onnx_runtime import session
from compression.network import agreement
from compression.network.decisions import classes
from compression.network.tracing import check_alike
from compression.records.preprocess import Preprocess

IMAGES = 16
"""Images that are compared: every operator takes part, and the comparison takes milliseconds."""

PICTURES = 64
"""Test images that a file with preprocessing inside is compared on."""

FAILURES = (
    ort.capi.onnxruntime_pybind11_state.InvalidArgument, ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)  # fmt: skip


def verify(
    model: nn.Module | ExportedProgram, graph: fx.GraphModule, runner: ort.InferenceSession, images: torch.Tensor
) -> None:
    """Raises where `graph`, or its fp32 file, answers otherwise than `model`, with the first operator that differs.

    images: [n, C, H, W], normalised; the first 16 are compared. `InvalidModel` speaks of the graph, `Unsupported` of
    the file.
    """
    images = images[:IMAGES].contiguous()
    expected = check_alike(model, graph, images)
    found = _answers(runner, images)[0]
    tolerance = agreement.tolerance_of(graph)
    if not agreement.agree(expected, found, tolerance):
        first = _first_difference(graph, images, tolerance)
        raise Unsupported(
            f"The fp32 file gives different outputs from the network{first}, so the export is not reliable."
        )


def with_preprocessing(content: bytes, data: Dataset, preprocess: Preprocess | None = None) -> bytes:
    """The ONNX file with preprocessing inside, after it has named the same classes as `content` for test images.

    The statistics are those that `data` is normalised with; where nothing says how its pictures were made, they are
    scaled to its images' size. Raises `Unsupported` where one image gets another class.
    """
    channels, height, width = data.input_shape
    how = (
        preprocess
        or data.preprocess
        or Preprocess(height, width, "exact", channels="grey" if channels == 1 else "RGB", mean=data.mean, std=data.std)
    )
    preprocess = replace(how, mean=data.mean, std=data.std, height=height, width=width)
    inside = preprocessing.with_preprocessing(content, preprocess, channels=channels, classes=data.classes)
    images = data.test.images[:PICTURES]
    expected = session(content).run(None, {INPUT: data.normalize(images).numpy()})[0]
    ordered = images.flip(1) if preprocess.channels == "BGR" else images  # pictures come as RGB
    pixels = np.ascontiguousarray(ordered.permute(0, 2, 3, 1).numpy())
    found = session(inside).run(None, {preprocessing.PIXELS: pixels})[0]
    other = int((classes(found) != classes(expected)).sum())
    if other:
        raise Unsupported(
            f"The file with preprocessing inside gives {other} of {len(images)} test images another class, so it is not"
            " offered; the plain file is."
        )
    return inside


def _answers(runner: ort.InferenceSession, images: torch.Tensor) -> list[torch.Tensor]:
    """All outputs of a file."""
    try:
        found = runner.run(None, {runner.get_inputs()[0].name: images.numpy()})
    except FAILURES as error:
        reason = str(error).splitlines()[0][:200]
        raise Unsupported(f"ONNX Runtime fails on {len(images)} images with the fp32 file: {reason}.") from None
    return [torch.from_numpy(np.asarray(value)) for value in found]


def _first_difference(graph: fx.GraphModule, images: torch.Tensor, tolerance: float) -> str:
    """Node by node, in the file that gives all of its values."""
    shape = (images.shape[1], images.shape[2], images.shape[3])
    content, names = with_values(graph, shape)
    runner = session(content)
    outputs = {output.name: value for output, value in zip(runner.get_outputs(), _answers(runner, images), strict=True)}
    found = {node: outputs[name] for node, name in names.items() if name in outputs}
    values = agreement.values_of_program(graph, images)
    return agreement.first_difference(graph, found, lambda node: values.get(node.name), tolerance)
