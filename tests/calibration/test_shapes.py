"""Whether a graph has the shapes of the network that was calibrated, told without reading what was found out."""

from collections.abc import Mapping

import torch

from compression.calibration import Calibration, collect
from compression.network.tracing import trace
from tests.networks import tiny


class Unread(dict):
    """Moments that lie on a disk, which nobody reads."""

    def __getitem__(self, name: str) -> object:
        raise AssertionError(f"the moments of {name} were read")

    def items(self):
        raise AssertionError("all moments were read")

    values = items


def test_moments_of_an_unchanged_network_are_handed_on_unread() -> None:
    graph = trace(tiny(), (1, 28, 28))
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    kept: Mapping = Unread(collect(graph, images)[0])
    assert Calibration(images, images, None, kept, network=graph).moments(graph) is kept


def test_moments_that_are_not_there_are_collected() -> None:
    graph = trace(tiny(), (1, 28, 28))
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert (
        Calibration(images, images, None, {}, network=graph).moments(graph).keys() == collect(graph, images)[0].keys()
    )
