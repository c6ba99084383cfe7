"""The dense network's answers by layer, of which only the first stay in memory: a large network has 2 GB of them."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

import torch

log = logging.getLogger(__name__)

IN_MEMORY = 128 << 20
"""Bytes of answers that are kept in memory; all further ones are read from a file when they are asked for."""


class _Place(NamedTuple):
    begin: int
    shape: torch.Size


class Targets(Mapping[str, torch.Tensor]):
    """Float answers [m, out] by layer. Read anew from an unnamed file, which goes with the last who holds this."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor | _Place] = {}
        self._file: BinaryIO | None = None
        self._left = IN_MEMORY

    def keep(self, name: str, answers: torch.Tensor) -> None:
        """Keeps a layer's answers: in memory while there is room for them, or where the disk has none."""
        place = None if answers.nbytes <= self._left else self._write(answers)
        if place is None:
            self._left -= answers.nbytes
        self._kept[name] = place or answers

    def _write(self, answers: torch.Tensor) -> _Place | None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="compression-targets-")  # noqa: SIM115  as long as this lives
            begin = self._file.seek(0, 2)
            self._file.write(answers.contiguous().numpy().data)
            self._file.flush()
        except OSError as error:
            log.warning("the network's answers stay in memory, as they cannot be written to the disk (%s)", error)
            return None
        return _Place(begin, answers.shape)

    def __getitem__(self, name: str) -> torch.Tensor:
        kept = self._kept[name]
        if isinstance(kept, torch.Tensor):
            return kept
        assert self._file is not None
        self._file.seek(kept.begin)
        values = torch.empty(kept.shape)
        read = self._file.readinto(values.numpy().data.cast("B"))  # type: ignore[attr-defined]
        assert read == values.nbytes
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def in_memory(self) -> bool:
        """Whether all are."""
        return self._file is None
