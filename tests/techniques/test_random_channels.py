"""Channels of networks drawn at random: whatever ties them, the smaller network is the masked one, at its price."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from compression.network.tracing import trace
from tests.techniques.test_channels import check_removal, randomised

SHAPE = (2, 8, 8)
ACTIVATIONS = (torch.relu, F.relu6, F.silu, F.hardswish)


@dataclass(frozen=True)
class Drawn:
    """One block: what it is, channels in units of 4, whether a batch norm follows, which activation."""

    kind: str
    width: int
    norm: bool
    activation: int


class Block(nn.Module):
    """`inputs` channels to `self.outputs`, in one of `KINDS` ways."""

    def __init__(self, drawn: Drawn, inputs: int):
        super().__init__()
        self.kind, self.activation, wide = drawn.kind, ACTIVATIONS[drawn.activation], 4 * drawn.width
        self.outputs = {
            "shortcut": inputs, "depthwise": inputs, "gate": inputs, "shuffle": inputs, "concat": inputs + wide,
            "split": inputs, "widened": inputs + 4, "twice": 2 * inputs,
        }.get(self.kind, wide)  # fmt: skip
        self.first, self.second = self._layers(inputs, wide)
        self.norm = nn.BatchNorm2d(self.outputs) if drawn.norm else nn.Identity()

    def _layers(self, inputs: int, wide: int) -> tuple[nn.Module, nn.Module]:
        if self.kind in ("plain", "concat"):
            return nn.Conv2d(inputs, wide, 3, padding=1), nn.Identity()
        if self.kind == "projected":
            return nn.Conv2d(inputs, wide, 3, padding=1), nn.Conv2d(inputs, wide, 1, bias=False)
        if self.kind == "depthwise":
            return nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs), nn.Identity()
        if self.kind == "twice":
            return nn.Conv2d(inputs, 2 * inputs, 3, padding=1, groups=inputs), nn.Identity()
        if self.kind == "grouped":
            return nn.Conv2d(inputs, wide, 3, padding=1, groups=4), nn.Identity()
        if self.kind == "split":
            return nn.Conv2d(inputs // 2, inputs // 2, 3, padding=1), nn.Identity()
        return nn.Conv2d(inputs, wide, 1), nn.Conv2d(wide, self.outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self._made(x)))

    def _made(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind in ("plain", "depthwise", "twice", "grouped"):
            return self.first(x)
        if self.kind == "concat":
            return torch.cat([x, self.first(x)], 1)
        if self.kind == "projected":
            return self.first(x) + self.second(x)
        if self.kind == "split":
            kept, changed = x.chunk(2, 1)
            return torch.cat([kept, self.first(changed)], 1)
        if self.kind == "shuffle":
            n, channels, height, width = x.shape
            x = x.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(n, channels, height, width)
        if self.kind == "gate":
            return x * self.second(self.activation(self.first(x.mean((2, 3), keepdim=True)))).sigmoid()
        y = self.second(self.activation(self.first(x)))
        return (F.pad(x, (0, 0, 0, 0, 1, 3)) if self.kind == "widened" else x) + y


KINDS = (
    "plain", "shortcut", "projected", "widened", "concat", "split", "shuffle", "depthwise", "twice", "grouped", "gate",
)  # fmt: skip


class Network(nn.Module):
    """A stem, the blocks one after the other with a pool in the middle, and a classifier."""

    def __init__(self, blocks: list[Drawn]):
        super().__init__()
        self.stem, self.blocks, width = nn.Conv2d(SHAPE[0], 12, 3, padding=1), nn.ModuleList(), 12
        for drawn in blocks:
            block = Block(drawn, width)
            self.blocks.append(block)
            width = block.outputs
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        for number, block in enumerate(self.blocks):
            x = block(x) if number != len(self.blocks) // 2 else torch.max_pool2d(block(x), 2)
        return self.head(x.mean((2, 3)))


BLOCKS = st.lists(
    st.builds(Drawn, st.sampled_from(KINDS), st.integers(2, 5), st.booleans(), st.integers(0, len(ACTIVATIONS) - 1)),
    min_size=1, max_size=5,
)  # fmt: skip


def check(blocks: list[Drawn]) -> None:
    torch.manual_seed(0)
    network = randomised(Network(blocks))
    assert check_removal(trace(network, SHAPE), SHAPE) < 1


@settings(max_examples=4, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(BLOCKS)
def test_a_network_drawn_at_random_loses_its_channels(blocks):
    check(blocks)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(BLOCKS)
def test_many_networks_drawn_at_random_lose_their_channels(blocks):
    check(blocks)
