"""The sessions of `compression.host.onnx_runtime`, under the name by which this package's readers know them."""

from compression.host.onnx_runtime import optimized, session

__all__ = ["optimized", "session"]
