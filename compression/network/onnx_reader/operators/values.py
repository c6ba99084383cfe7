"""Values as operators take them: tensors, numbers where torch takes numbers, and lists of sizes."""

from typing import Any

import numpy as np
import torch

from compression.errors import InvalidModel
from compression.network.onnx_reader.program import Node
from compression.network.onnx_reader.sizes import is_host


def tensor(value: Any) -> torch.Tensor:
    """A host value as a tensor; tensors as they are."""
    if isinstance(value, torch.Tensor):
        return value
    if not is_host(value):
        return torch.tensor(value)
    if value.dtype == object:
        return torch.stack([torch.scalar_tensor(each, dtype=torch.int64) for each in value.reshape(-1)]).reshape(
            value.shape
        )
    kept = value if value.dtype not in (np.uint16, np.uint32, np.uint64) else value.astype(np.int64)
    return torch.from_numpy(np.array(kept, order="C"))


def operands(*values: Any) -> list[Any]:
    """What arithmetic reads: numbers in place of host values of one number, where that keeps the answer's shape."""
    rank = max((value.dim() for value in values if isinstance(value, torch.Tensor)), default=0)
    tensors = any(isinstance(value, torch.Tensor) for value in values)
    return [
        _number(value) if is_host(value) and tensors and value.size == 1 and value.ndim <= rank else
        value if isinstance(value, torch.Tensor) else tensor(value)
        for value in values
    ]  # fmt: skip


def _number(value: np.ndarray) -> Any:
    found = value.reshape(-1)[0]
    return found.item() if isinstance(found, np.generic) else found


def number(node: Node, value: Any, what: str, default: Any = None) -> Any:
    """One plain number. Raises `InvalidModel` where it is computed from the image."""
    if value is None:
        return default
    if not is_host(value) or value.size != 1:
        raise InvalidModel(f"The {what} of {node.said} is computed, or several numbers; one stored number is possible.")
    return _number(value)


def axis_of(node: Node, value: torch.Tensor, default: int) -> int:
    """The attribute `axis` as a number from 0 on. Raises `InvalidModel` for one that the value does not have."""
    axis = node.get("axis", default)
    if not -value.dim() <= axis <= value.dim():
        raise InvalidModel(f"{node.said} has axis {axis}, but what it reads has {value.dim()} axes.")
    return axis + value.dim() if axis < 0 else axis
