"""Milliseconds of each operator of a network, as ONNX Runtime's profiler has them."""

import numpy as np
from torch import fx

from compression.analysis.layer_inspection import shown_names
from compression.export import with_node_names
from compression.measure.profile import kernels
from compression.pipeline.candidate import Prepared
from compression.pipeline.placing import CONVERSIONS, PROFILED, head_of, kernel_heads
from compression.records.analysis import OperatorTimes


def operator_times(prepared: Prepared, graph: fx.GraphModule, *, threads: int = 1) -> OperatorTimes:
    """What each operator of `graph` takes for the first test image, in its file with plain weights: the same kernels.

    Several operators that one kernel computes count as the one that it is named after. Kernels that belong to no
    operator, and conversions between types or layouts, are `conversions_ms`.
    """
    image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
    return times_of(graph, image, threads=threads)


def times_of(graph: fx.GraphModule, image: np.ndarray, *, threads: int = 1) -> OperatorTimes:
    """The same for an image [1, C, H, W]."""
    _, channels, height, width = image.shape
    names = shown_names(graph)
    heads, found, elsewhere = kernel_heads(graph), dict[str, float](), 0.0
    file = with_node_names(graph, (channels, height, width))
    for kernel in kernels(file, image, runs=PROFILED, threads=threads):
        name = names.get(head_of(kernel, heads))
        if name is None or kernel.operator in CONVERSIONS:
            elsewhere += kernel.ms
        else:
            found[name] = found.get(name, 0.0) + kernel.ms
    return OperatorTimes(found, elsewhere)
