"""Small networks that are not in the zoo, for tests that need one at once."""

import copy
from functools import cache

import torch
from torch import fx, nn

from compression.network.tracing import trace


class Tiny(nn.Module):
    """A residual classifier of 8×8 images with every kind of edge: add, concat, split, pools, depthwise, signs of γ."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16))
        self.left, self.right = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.pool, self.drop = nn.MaxPool2d(2), nn.Dropout(0.5)
        self.head = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.depthwise(x) + x)
        left, right = x.chunk(2, dim=1)
        x = torch.cat([self.left(left).relu_(), self.right(right)], dim=1)
        x = self.pool(x).mean((2, 3))
        return self.head(self.drop(x))


def tiny(seed: int = 0) -> Tiny:
    """A `Tiny` with batch-norm scales of both signs and one channel whose scale is zero."""
    torch.manual_seed(seed)
    network = Tiny()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.get_buffer("running_mean"))
        nn.init.uniform_(norm.get_buffer("running_var"), 0.5, 2)
        norm.weight.data[3] = 0
    return network.eval()


def traced_tiny() -> fx.GraphModule:
    """The canonical graph of `tiny()`, a copy of the test's own: it is traced once."""
    return copy.deepcopy(_traced_tiny())


@cache
def _traced_tiny() -> fx.GraphModule:
    return trace(tiny(), (1, 8, 8))


class OnMaps(nn.Module):
    """A classifier of 8×8 images with linear layers that read feature maps whose channels are last, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 12, 3, padding=1), nn.Linear(12, 10)
        self.wide, self.narrow = nn.Linear(12, 24), nn.Linear(24, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        y = self.narrow(self.wide(x.permute(0, 2, 3, 1)).relu()).permute(0, 3, 1, 2)
        return self.head((x + y).mean((2, 3)))


class Again(nn.Module):
    """A network that calls one of its layers twice, on maps of two sizes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1))
        self.twice, self.head = nn.Conv2d(12, 12, 3, padding=1), nn.Linear(12, 10)

    def forward(self, x):
        x = torch.max_pool2d(self.twice(self.stem(x).relu()).relu(), 2)
        return self.head(self.twice(x).relu().mean((2, 3)))


def trained(data, epochs: int = 8) -> Tiny:
    """A `Tiny` that has learned `data` (about 95% of Digits), for tests of accuracy."""
    torch.manual_seed(0)
    network = Tiny().train()
    images, labels = data.normalize(data.train.images), data.train.labels
    steps = epochs * -(-len(images) // 32)
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[part]), labels[part]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()
