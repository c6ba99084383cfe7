"""The bytes of a file by what they hold, and the lower bound that entropy sets."""

import gzip
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import zstandard
from google.protobuf.message import Message

from compression.export import Exported, pack
from compression.records.analysis import OverTheWire
from compression.records.measurement import LayerBytes, Ledger

ROLES = ("payload", "positions", "codebooks", "scales", "biases")


def ledger(exported: Exported) -> Ledger:
    """The bytes of a file that was just written, each counted in exactly one place."""
    model = onnx.load_from_string(exported.onnx)
    left = {tensor.name: len(tensor.raw_data) for tensor in model.graph.initializer}
    layers = tuple(
        LayerBytes(name, weights, **_take(exported.tensors[name], left), entropy_bits=bits)
        for name, (weights, bits) in ((n, _entropy_of(e)) for n, e in exported.encodings.items())
    )
    rest = _take(exported.tensors.get("", {}), left)
    parts = {role: rest[role] + sum(getattr(layer, role) for layer in layers) for role in ROLES}
    functions = sum(_embedded_bytes(function) for function in model.functions)
    size = len(exported.onnx)
    return Ledger(size, **parts, graph=size - functions - sum(parts.values()), functions=functions, layers=layers)


def entropy(values: np.ndarray) -> float:
    """Shannon's entropy of the values' frequencies, in bits per value: -Σ p·log₂ p (Shannon 1948, §6)."""
    shares = np.unique(values, return_counts=True)[1] / max(values.size, 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def over_the_wire(onnx_file: bytes) -> OverTheWire:
    """What a download of the file takes where the server compresses it."""
    zstd = zstandard.ZstdCompressor(level=19).compress(onnx_file)
    return OverTheWire(len(gzip.compress(onnx_file, 9, mtime=0)), len(zstd))


def _entropy_of(encoding: pack.Encoding) -> tuple[int, float | None]:
    """Number of weights, and bits per code."""
    codes = pack.decode(encoding)
    return codes.size, entropy(codes) if np.issubdtype(codes.dtype, np.integer) else None


def _take(roles: dict[str, str], left: dict[str, int]) -> dict[str, Any]:
    """Bytes by role of the tensors that `roles` names; each tensor is given out once."""
    return {role: sum(left.pop(n, 0) for n in _named(roles, role)) for role in ROLES}


def _named(roles: dict[str, str], role: str) -> Iterable[str]:
    return [name for name, found in roles.items() if found == role]


def _embedded_bytes(message: Message) -> int:
    """Bytes of a message inside a field of another with a number from 16 up, as functions are: tag, length, content."""
    size = message.ByteSize()
    return 2 + max(1, -(-size.bit_length() // 7)) + size
