"""How good a network is on a split, and where it is trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from compression.data.dataset import Dataset, Split
from compression.errors import Cancelled
from compression.network.decisions import classes

EVALUATION_BATCH = 500  # images, fewer of large ones


def accuracy(
    model: nn.Module,
    data: Dataset,
    split: Split,
    *,
    device: str | torch.device = "cpu",
    stop: Callable[[], bool] | None = None,
) -> float:
    """Share of `split` that `model` (in eval mode) classifies correctly, in float32. Raises Cancelled.

    An image whose scores name no class (`decisions.classes`) is classified wrongly.
    """
    correct, batch = 0, data.at_once(EVALUATION_BATCH)
    with torch.inference_mode():
        for start in range(0, len(split), batch):
            if stop and stop():
                raise Cancelled("Training was stopped while it was evaluated.")
            images, labels = split.pixels(slice(start, start + batch)), split.labels[start:][:batch]
            inputs = data.normalize(images.to(device)).contiguous(memory_format=torch.channels_last)
            correct += int((classes(scores(model(inputs))).cpu() == labels).sum())
    return correct / len(split)


def device() -> str:
    """Where trainings run by default: the GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def scores(outputs: Any) -> torch.Tensor:
    """The class scores [n, classes] of what a model returns: the first where there are several values."""
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]
