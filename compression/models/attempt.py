"""The first load of an untrusted network, in the process that `compression.confined` starts for it."""

from pathlib import Path

from torch import nn

from compression.network.pt2 import load_pt2
from compression.network.tracing import trace, trace_grey_or_colours


def ready() -> None:
    """Makes PyTorch import what it imports lazily: that creates a folder, which the limits forbid."""
    trace(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (1, 8, 8))


def read(path: Path, *, input_shape: list[int] | None) -> None:
    """Reads, traces and runs the network in a `.pt2` file for images of `input_shape`, or of its own. Grey images
    fit networks for colours, and the other way round. Raises what `load_pt2` and `trace` raise."""
    if input_shape is None:
        network = load_pt2(path)
        trace(network, network.program.shape)
        return
    channels, height, width = input_shape
    trace_grey_or_colours(load_pt2(path), (channels, height, width))
