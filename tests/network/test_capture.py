"""What modules read and give is kept call by call, and only while the context is open."""

import torch
from torch import nn

from compression.network.capture import captured, output


class Twice(nn.Module):
    """y = doubling(doubling(x)) - 1"""

    def __init__(self) -> None:
        super().__init__()
        self.doubling, self.last = nn.Linear(1, 1), nn.Identity()
        nn.init.constant_(self.doubling.weight, 2.0)
        nn.init.zeros_(self.doubling.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.doubling(self.doubling(x))) - 1


def test_every_call_is_kept_in_order() -> None:
    network, x = Twice(), torch.ones(1, 1)
    with captured(network, ["last", "doubling"], output) as found:
        network(x)
        network(3 * x)
    network(x)
    assert list(found) == ["doubling", "last"]  # in the order of the calls
    assert [float(value) for value in found["doubling"]] == [2.0, 4.0, 6.0, 12.0]
    with captured(network, ["doubling"], lambda module, inputs, value: float(inputs[0])) as read:
        network(x)
    assert read == {"doubling": [1.0, 2.0]}


def test_a_pass_that_fails_leaves_nothing_behind() -> None:
    network = Twice()
    try:
        with captured(network, ["doubling"], output):
            network(torch.ones(1, 2))
    except RuntimeError:
        pass
    assert not network.doubling._forward_hooks
