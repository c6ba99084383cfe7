"""Parameters, buffers and constants of a `.pt2` archive, from raw bytes and their description in JSON.

Devices are not looked at, so a program saved on a GPU is read like any. Half precision and double precision become
float32, in which everything here is computed.
"""

import math
from typing import Any

import torch
from torch import nn

from compression.errors import InvalidModel
from compression.network.pt2.archive import CONFIGS, CONSTANTS, WEIGHTS, Archive
from compression.network.pt2.fields import Malformed, expected, member, shown, variant, whole

FLOAT, DOUBLE, HALF, BFLOAT16, BOOL = 7, 8, 6, 13, 12

DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, BOOL: torch.bool,
    HALF: torch.float16, FLOAT: torch.float32, DOUBLE: torch.float64, BFLOAT16: torch.bfloat16,
}  # fmt: skip
"""`ScalarType` of `torch._export.serde.schema`, those of them that networks of images have."""

STRIDED = 7
"""`Layout.Strided` there."""

MOST_AXES, MOST_LENGTH = 8, 1 << 40
SPARE = 64 << 20
"""Bytes that expanded tensors may have beyond twice what the archive has."""


def dtype(code: Any) -> torch.dtype:
    """The number type of a `ScalarType`, as it is stored."""
    number = expected(code, int, "a number type")
    if number not in DTYPES:
        raise InvalidModel(
            f"The network holds numbers of type {shown(number)} in torch.export's list; whole numbers up to 64 bits and"
            " floats of 16, 32 and 64 bits are allowed."
        )
    return DTYPES[number]


def computed(stored: torch.dtype) -> torch.dtype:
    """The type in which numbers stored as `stored` are computed with: float32 for every float."""
    return torch.float32 if stored.is_floating_point else stored


class Stored:
    """The tensors of an archive by name; what shares storage and shape there is one tensor here."""

    def __init__(self, archive: Archive):
        self._archive = archive
        self._left = 2 * archive.size_bytes + SPARE
        self._places = {folder: _places(archive, folder) for folder in (WEIGHTS, CONSTANTS)}
        self._read: dict[str, torch.Tensor] = {}

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor of that name, dense, on the CPU, floats as float32; a `Parameter` where it is learned."""
        folder = next((folder for folder, places in self._places.items() if name in places), None)
        if folder is None:
            raise Malformed(f"it holds no tensor {shown(name)}")
        record = self._places[folder][name]
        if member(record, "use_pickle", bool):
            raise Malformed(f"its tensor {shown(name)} is pickled and would run code to load; raw ones are read")
        path, described = folder + member(record, "path_name", str), member(record, "tensor_meta", dict)
        key = f"{path} {described}"
        if key not in self._read:
            found = self._dense(path, described, f"its tensor {shown(name)}")
            learned = member(record, "is_param", bool) and found.is_floating_point()
            self._read[key] = nn.Parameter(found, requires_grad=False) if learned else found
        return self._read[key]

    def _dense(self, path: str, described: dict[str, Any], what: str) -> torch.Tensor:
        if member(described, "layout", int) != STRIDED:
            raise Malformed(f"{what} is sparse; dense ones are read")
        stored = dtype(described.get("dtype"))
        size, stride = _lengths(described, "sizes"), _lengths(described, "strides")
        offset = _length(member(described, "storage_offset", dict), "an offset")
        if len(size) != len(stride):
            raise Malformed(f"{what} has {len(size)} axes and {len(stride)} strides")
        there = self._archive.length(path) // stored.itemsize
        needed = 1 + offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if 0 not in size else 0
        if needed > there:
            raise Malformed(f"{what} reads {needed} numbers where {there} are stored")
        self._left -= math.prod(max(n, 1) for n in size) * max(stored.itemsize, computed(stored).itemsize)
        if self._left < 0:
            raise Malformed(f"{what} of shape {size} is larger than the file")
        if not needed:
            return torch.empty(size, dtype=computed(stored))
        flat = _flat(self._archive.read(path), stored)
        return flat.as_strided(size, stride, offset).to(computed(stored)).clone(memory_format=torch.contiguous_format)


def _places(archive: Archive, folder: str) -> dict[str, Any]:
    """The description of each tensor in a folder, by name."""
    return member(archive.read_json(folder + CONFIGS[folder]), "config", dict)


def _flat(content: bytes, stored: torch.dtype) -> torch.Tensor:
    whole_numbers = len(content) // stored.itemsize
    if stored == torch.bool:
        return torch.frombuffer(bytearray(content), dtype=torch.uint8) != 0
    return torch.frombuffer(bytearray(content), dtype=stored, count=whole_numbers)


def _lengths(described: dict[str, Any], name: str) -> tuple[int, ...]:
    values = member(described, name, list)
    if len(values) > MOST_AXES:
        raise Malformed(f"a tensor has {len(values)} axes; up to {MOST_AXES} are possible")
    return tuple(_length(value, f"one of its {name}") for value in values)


def _length(value: Any, what: str) -> int:
    tag, number = variant(value)
    if tag != "as_int":
        raise Malformed(f"{what} is {shown(value)}, not a whole number")
    return whole(number, what, least=0, most=MOST_LENGTH)
