"""What modules read and give in a forward pass."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")


def output(module: nn.Module, inputs: tuple[Any, ...], value: torch.Tensor) -> torch.Tensor:
    """What a module gives."""
    return value


@contextmanager
def captured(
    network: nn.Module, names: Iterable[str], keep: Callable[[nn.Module, tuple[Any, ...], Any], T]
) -> Iterator[dict[str, list[T]]]:
    """`keep(module, inputs, output)` of each call of the modules `names` while the context is open, by name.

    Names stand in the order of their first calls. The caller may empty the dictionary between passes.
    """
    found: dict[str, list[T]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda module, inputs, value: found.setdefault(name, []).append(keep(module, inputs, value))

    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
