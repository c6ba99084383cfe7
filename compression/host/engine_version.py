"""Which engine made a file: the same sources and the same libraries write the same bytes."""

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DECIDING = {
    "calibration", "data", "export", "measure", "models", "network", "pipeline", "recipe", "solvers", "steps",
    "techniques", "training",
}  # fmt: skip
"""The packages that decide on the bytes of a file or on what is measured."""

LIBRARIES = ("torch", "torchvision", "numpy", "onnx", "onnxruntime", "scikit-learn")


@functools.cache
def engine_hash() -> str:
    """12 hex digits over the engine's sources and the versions of its libraries, as they were at the first call."""
    root, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        part = path.relative_to(root)
        if part.parts[0] in DECIDING:
            digest.update(str(part).encode() + b"\0" + path.read_bytes() + b"\0")
    for library in LIBRARIES:
        digest.update(f"{library} {_version(library)}\n".encode())
    return digest.hexdigest()[:12]


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"
