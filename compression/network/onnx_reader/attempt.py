"""The first reading of an untrusted ONNX network, in the process that `compression.confined` starts for it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper
from torch import nn

from compression.host.onnx_runtime import session
from compression.network.onnx_reader import read_content
from compression.network.tracing import trace


def ready() -> None:
    """Makes PyTorch and ONNX Runtime load what they load lazily: that creates a folder, which the limits forbid."""
    trace(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (1, 8, 8))
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = helper.make_graph(
        [helper.make_node("Neg", ["one"], ["y"])], "g", [], [onnx.ValueInfoProto(name="y")], [one]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session(inliner.inline_local_functions(model).SerializeToString()).run(None, {})


def read(path: Path, *, folder: str | None = None) -> tuple[dict[str, Any], bytes]:
    """Reads, traces and runs the network in an ONNX file, whose weights may lie in other files of `folder`.

    Where that is not given, it is the folder that the system knows the open file to lie in.

    Returns input_shape, classes and notes. Raises what `read_onnx` and `trace` raise.
    """
    beside = Path(folder) if folder else path.resolve().parent
    network, facts = read_content(path.read_bytes(), beside)
    trace(network, facts.input_shape)
    return {"input_shape": list(facts.input_shape), "classes": facts.classes, "notes": list(facts.notes)}, b""
