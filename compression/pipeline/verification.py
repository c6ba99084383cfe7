"""A network, the graph traced from it and the file written of that graph, side by side on the same images."""

import numpy as np
import onnxruntime as ort
import torch
from torch import fx, nn
from torch.export import ExportedProgram

from compression.errors import Unsupported
from compression.export import with_values
from compression.host.onnx_runtime import session
from compression.network import agreement
from compression.network.tracing import check_alike

IMAGES = 16
"""Images that are compared: every operator takes part, and the comparison takes milliseconds."""

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
    check_alike(model, graph, images)
    with torch.inference_mode():
        expected = graph(images)
    found = _answers(runner, images)[0]
    tolerance = agreement.tolerance_of(graph)
    if not agreement.agree(expected, found, tolerance):
        first = _first_difference(graph, images, tolerance)
        raise Unsupported(
            f"The fp32 file answers differently from the network{first}, so no file of it can be trusted."
        )


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
