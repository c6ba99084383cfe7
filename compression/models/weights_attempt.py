"""The first read of weights that somebody else wrote, in the process that `compression.confined` starts for it."""

import io
from contextlib import suppress
from pathlib import Path

import torch

from compression.models.weights_files import FALSE_READS, saved_tensors


def ready() -> None:
    """Makes PyTorch import what it imports lazily, before the limits forbid it."""
    with suppress(*FALSE_READS):
        torch.load(io.BytesIO(b"nothing"), weights_only=True)


def read(path: Path, *, name: str) -> None:
    """Reads the tensors of a file of `torch.save`, called `name`. Raises what `saved_tensors` raises."""
    saved_tensors(path, name)
