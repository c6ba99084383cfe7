"""The one table of architectures. No torch in here: pages list names before they build models."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """A network by name; `module` holds its constructor, a function of the same name as the architecture."""

    name: str
    title: str
    module: str

    @property
    def build(self) -> "Callable[[tuple[int, int, int], int], nn.Module]":
        """The constructor: (input shape (C, H, W), number of classes) → the untrained network."""
        return getattr(import_module(f"compression.models.{self.module}"), self.name)


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("lenet300", "LeNet-300-100", "lenet"),
        Architecture("lenet5", "LeNet-5 (Caffe)", "lenet"),
        Architecture("vgg11", "VGG-11 (slim)", "vgg"),
        Architecture("resnet20", "ResNet-20", "resnet"),
        Architecture("resnet56", "ResNet-56", "resnet"),
        Architecture("resnet20_half", "ResNet-20 ×0.5", "resnet"),
        Architecture("resnet20_quarter", "ResNet-20 ×0.25", "resnet"),
        Architecture("resnet8", "ResNet-8", "resnet"),
        Architecture("mobilenetv2", "MobileNetV2 ×0.5", "mobile"),
        Architecture("shufflenetv2", "ShuffleNetV2 ×0.5", "mobile"),
    )
}


NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
"""What a network may be called. A name becomes a part of a file's, so it is checked before anything else is done."""

OWN = "own"
"""In place of a dataset's name for imported networks: what they were trained on is not known."""


def title(model: str) -> str:
    """'ResNet-20'; a brought network's own name."""
    return ARCHITECTURES[model].title if model in ARCHITECTURES else model
