"""ONNX Runtime sessions, made in one place so that every measurement runs under the same options. No torch in here."""

import re

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from compression.errors import InvalidFile

ort.disable_telemetry_events()

REFUSALS = (
    state.EPFail, state.EngineError, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
    state.ModelLoadCanceled, state.ModelRequiresCompilation, state.NoModel, state.NoSuchFile, state.NotFound,
    state.NotImplemented, state.RuntimeException, MemoryError,
)  # fmt: skip
"""What ONNX Runtime raises where it does not load a file, or does not run it on its inputs."""

NO_MEMORY = ("bad_alloc", "bad allocation", "bfc_arena.cc", "Failed to allocate memory")
"""Words by which ONNX Runtime says that memory is short."""

SAID = 200
"""Characters of what ONNX Runtime says that are passed on."""


def session(model: bytes, *, threads: int = 1, profile: str | None = None) -> ort.InferenceSession:
    """A CPU session on the bytes of an ONNX file, with `threads` intra-op threads.

    Raises `InvalidFile` where ONNX Runtime does not accept the bytes.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except REFUSALS as error:
        raise InvalidFile(f"ONNX Runtime cannot load this file: {reason(error)}.") from None


def reason(error: Exception) -> str:
    """Why ONNX Runtime refused, in its first line's words, without the error's number and without a full stop."""
    text = str(error)
    if isinstance(error, MemoryError) or any(word in text for word in NO_MEMORY):
        return "it takes more memory than there is for it"
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", next(iter(text.splitlines()), "")).rstrip(" .")
    return f"{said[:SAID]} …" if len(said) > SAID else said


def optimized(model: bytes, path: str, *, threads: int = 1, portable: bool = False) -> None:
    """Writes the graph that ONNX Runtime really runs to `path`, in its own format where that ends in .ort.

    portable=True leaves out what is arranged for this machine's processor.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.optimized_model_filepath = path
    if portable:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if path.endswith(".ort"):
        options.add_session_config_entry("session.save_model_format", "ORT")
    options.log_severity_level = 3
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
