"""Tensors by name, in memory while they are few: those of a large network take gigabytes.

More of them lie in an unnamed file in the user's folder, which goes with the last who holds the mapping, and are read
anew, the same numbers, each time somebody asks for them.
"""

import logging
import tempfile
import threading
from collections.abc import Iterator, MutableMapping
from dataclasses import fields, is_dataclass, replace
from io import FileIO
from typing import Any, NamedTuple, TypeVar

import torch

from compression.host.folders import user_folder
from compression.host.process_memory import give_back

log = logging.getLogger(__name__)

T = TypeVar("T")

IN_MEMORY = 192 << 20
"""Bytes of one mapping that stay in memory; once there are more, all of them lie in the file."""


TRIMMED = 256 << 20
"""After so many bytes went to a file, memory that was freed on the way goes back to the system."""


class _Place(NamedTuple):
    """Where a tensor lies in the file."""

    begin: int
    shape: torch.Size
    dtype: torch.dtype


class _File:
    """Tensors one after the other, in an unnamed file that is there once something was written."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        self._turn, self._since, self._full = threading.Lock(), 0, False

    def write(self, tensor: torch.Tensor, over: _Place | None) -> _Place | None:
        """Writes a tensor over one of its shape, else behind all; None where the disk has no room, now or before."""
        with self._turn:
            if self._full:
                return None
            try:
                place = self._written(tensor, over)
            except OSError as error:
                self._full = True
                log.warning("numbers about a network stay in memory, as they cannot be written to the disk (%s)", error)
                return None
            self._since += tensor.nbytes
        if self._since > TRIMMED:
            self._since = 0
            give_back()
        return place

    def _written(self, tensor: torch.Tensor, over: _Place | None) -> _Place:
        if self._file is None:
            folder = user_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(prefix="compression-", dir=folder, buffering=0)  # noqa: SIM115 - as long as this lives
        assert self._file is not None
        again = over is not None and (over.shape, over.dtype) == (tensor.shape, tensor.dtype)
        begin = self._file.seek(over.begin) if over and again else self._file.seek(0, 2)
        left = tensor.contiguous().numpy().data.cast("B") if tensor.numel() else memoryview(b"")
        while left:  # the system takes up to 2 GB at once
            left = left[self._file.write(left) :]
        return _Place(begin, tensor.shape, tensor.dtype)

    def read(self, place: _Place) -> torch.Tensor:
        """The tensor at a place, where linear algebra finds it as aligned as any other."""
        values = torch.empty(place.shape, dtype=place.dtype)
        if values.numel():
            with self._turn:
                assert self._file is not None
                self._file.seek(place.begin)
                left = values.numpy().data.cast("B")
                while left:
                    read = self._file.readinto(left)
                    assert read  # what was written is there
                    left = left[read:]
        return values


class Spilled(MutableMapping[str, T]):
    """Tensors, or frozen dataclasses that hold some, by name.

    A field that is a dictionary is one of what was computed from the others: of what lies in the file it does too.
    """

    def __init__(self, in_memory: int = IN_MEMORY, file: _File | None = None) -> None:
        self._kept: dict[str, Any] = {}
        self._places: dict[str, dict[str, _Place]] = {}
        self._free: dict[str, dict[str, _Place]] = {}  # where what has such a name next is written
        self._left, self._file = in_memory, file or _File()

    def __setitem__(self, name: str, value: T) -> None:
        self._let_go(name)
        self._kept[name] = value
        self._left -= _nbytes(value)
        if self._left < 0:
            for each in [each for each in self._kept if each not in self._places]:
                self._spill(each)

    def _spill(self, name: str) -> None:
        value = self._kept[name]
        tensors = _tensors(value)
        if (places := self._write(tensors, self._free.get(name, {}))) is not None:
            self._places[name] = places
            self._kept[name] = _emptied(value, tensors, self._file)

    def _write(self, tensors: dict[str, torch.Tensor], free: dict[str, _Place]) -> dict[str, _Place] | None:
        places = {field: self._file.write(tensor, free.get(field)) for field, tensor in tensors.items()}
        found = {field: place for field, place in places.items() if place is not None}
        return found if found.keys() == places.keys() else None

    def __getitem__(self, name: str) -> T:
        kept, places = self._kept[name], self._places.get(name)
        if places is None:
            return kept
        tensors = {field: self._file.read(place) for field, place in places.items()}
        return tensors[""] if "" in tensors else replace(kept, **tensors)  # type: ignore[return-value]

    def __delitem__(self, name: str) -> None:
        self._let_go(name)
        del self._kept[name]

    def _let_go(self, name: str) -> None:
        if name in self._places:
            self._free[name] = self._places.pop(name)
        elif name in self._kept:
            self._left += _nbytes(self._kept[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __contains__(self, name: object) -> bool:
        return name in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def in_memory(self) -> bool:
        """Whether all are."""
        return not self._places


def _tensors(value: Any) -> dict[str, torch.Tensor]:
    """The tensors of a value by the names of its fields; one that is a tensor itself is called ''."""
    if isinstance(value, torch.Tensor):
        return {"": value}
    assert is_dataclass(value)
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: part for name, part in found.items() if isinstance(part, torch.Tensor)}


def _nbytes(value: Any) -> int:
    return sum(tensor.nbytes for tensor in _tensors(value).values())


def _emptied(value: Any, tensors: dict[str, torch.Tensor], file: _File) -> Any:
    """The value without its tensors."""
    if "" in tensors:
        return None
    derived: dict[str, Any] = {
        field.name: Spilled(0, file) for field in fields(value) if isinstance(getattr(value, field.name), dict)
    }
    return replace(value, **(dict.fromkeys(tensors) | derived))
