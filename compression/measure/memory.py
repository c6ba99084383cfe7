"""Peak memory of the values between layers: live tensors of the graph that ONNX Runtime runs, step by step."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from compression.host.onnx_runtime import optimized, session
from compression.records.analysis import Growth

GROWTH = Path(__file__).with_name("growth.py")
LEAST_GROWTH = 64 << 20
"""Bytes of live tensors from which the process's own growth tells more about them than about the allocator."""


IN_PLACE = {
    "Add": (0, 1),
    "Mul": (0, 1),
    "Relu": (0,),
    "Clip": (0,),
    "Sigmoid": (0,),
    "HardSigmoid": (0,),
    "Tanh": (0,),
}
"""Operators that write their result over an input that no later operator reads, and which inputs."""

SUMMAND = 3
"""The input of a convolution to which ONNX Runtime has fused an addition; the result is written over it."""


@dataclass(frozen=True)
class Step:
    """One operator of the optimized graph, and the bytes of all tensors that are live while it runs.

    `saved_bytes` is the size of its result where the kernel writes that over an input that no later operator reads.
    """

    operator: str
    name: str
    live_bytes: int
    saved_bytes: int


@dataclass(frozen=True)
class Activations:
    """Live bytes at each step for `batch` images; weights are not counted, the images and the scores are."""

    batch: int
    steps: tuple[Step, ...]

    @property
    def peak_bytes(self) -> int:
        """The most that is live at once."""
        return max(step.live_bytes for step in self.steps)

    @property
    def peak(self) -> Step:
        """The first step at which so much is live."""
        return max(self.steps, key=lambda step: step.live_bytes)

    @property
    def resident_bytes(self) -> int:
        """The most memory that live tensors take, those counted once that share it."""
        return max(step.live_bytes - step.saved_bytes for step in self.steps)


def activations(
    model: bytes, input_shape: tuple[int, int, int], *, batch: int = 1, portable: bool = False
) -> Activations:
    """Walks the optimized graph for `batch` images of (C, H, W); a `portable` one is not laid out for this processor.

    A tensor lives from the step that makes it to the last that reads it; images live from the start, scores to the
    end. Raises `InvalidFile` for bytes that do not load.
    """
    graph = optimized_model(model, portable=portable)
    sizes = {name: value.nbytes for name, value in values_of(graph, input_shape, batch).items()}
    last = {name: i for i, node in enumerate(graph.graph.node) for name in node.input}
    last |= {value.name: len(graph.graph.node) for value in graph.graph.output}
    live = {value.name: sizes[value.name] for value in graph.graph.input if value.name in sizes}
    steps = []
    for i, node in enumerate(graph.graph.node):
        made = {name: sizes[name] for name in node.output if name in sizes}
        dying = {name for name in node.input if last[name] == i}
        live |= made
        saved = _saved(node, sum(made.values()), dying, live)
        steps.append(Step(node.op_type, node.name, sum(live.values()), saved))
        live = {name: size for name, size in live.items() if last.get(name, -1) > i}
    return Activations(batch, tuple(steps))


def optimized_model(model: bytes, *, portable: bool = False) -> onnx.ModelProto:
    """The model that ONNX Runtime really runs on this machine, or would on any (`portable`).

    Raises `InvalidFile` for bytes that do not load.
    """
    session(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        optimized(model, str(path), portable=portable)
        return onnx.load(path)


def growth(model: bytes, input_shape: tuple[int, int, int]) -> Growth:
    """Runs the file in a process of its own, on a batch whose live tensors exceed 64 MB (Linux only)."""
    alone = activations(model, input_shape)
    batch = -(-LEAST_GROWTH // alone.peak_bytes) * 2
    expected = activations(model, input_shape, batch=batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        command = [sys.executable, str(GROWTH), str(path), *map(str, (batch, *input_shape))]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    images = 4 * batch * int(np.prod(input_shape))
    return Growth(batch, found, expected.resident_bytes - images)


def _saved(node: onnx.NodeProto, made: int, dying: set[str], sizes: dict[str, int]) -> int:
    """Bytes of the result where it is written over an input that dies here, else 0."""
    places = (SUMMAND,) if node.op_type in ("Conv", "FusedConv") else IN_PLACE.get(node.op_type, ())
    reusable = (node.input[place] for place in places if place < len(node.input))
    return made if any(name in dying and sizes.get(name) == made for name in reusable) else 0


def values_of(model: onnx.ModelProto, input_shape: tuple[int, int, int], batch: int = 1) -> dict[str, np.ndarray]:
    """Every value that an optimized graph computes for blank images, by name, and the images themselves."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in watched.graph.output}
    stored = {tensor.name for tensor in watched.graph.initializer}
    for name in (name for node in watched.graph.node for name in node.output if name and name not in known):
        watched.graph.output.add().name = name
    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, 3
    runner = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    images = {v.name: np.zeros((batch, *input_shape), np.float32) for v in runner.get_inputs() if v.name not in stored}
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(names, images), strict=True)) | images
