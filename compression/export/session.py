"""ONNX Runtime sessions, made in one place so that every measurement runs under the same options."""

import onnxruntime as ort

from compression.errors import InvalidFile


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
    except (ort.capi.onnxruntime_pybind11_state.Fail, ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
            ort.capi.onnxruntime_pybind11_state.InvalidGraph, ort.capi.onnxruntime_pybind11_state.InvalidArgument,
            ort.capi.onnxruntime_pybind11_state.NotImplemented) as error:  # fmt: skip
        raise InvalidFile(f"ONNX Runtime cannot load this file: {str(error).splitlines()[0]}.") from None


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
