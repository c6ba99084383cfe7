"""Small classifiers of 8×8 digits as people write them, which no default was tuned for."""

import functools

import torch
from torch import nn
from torch.nn import functional as F

from compression.data import load


class Rows(nn.Module):
    """Linear layers with a batch norm of rows, one of them read twice."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(64, 128), nn.BatchNorm1d(128), nn.Linear(128, 64)
        self.last, self.drop = nn.Linear(192, 10), nn.Dropout(0.1)

    def forward(self, x):
        x = self.drop(F.relu(self.norm(self.first(x.flatten(1)))))
        return self.last(torch.cat([x, F.relu(self.second(x))], 1))


class Example(nn.Module):
    """PyTorch's own first example: functional activations, two kinds of dropout, logarithms of probabilities."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 1, 1)
        self.drop1, self.drop2 = nn.Dropout2d(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(512, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.relu(self.fc1(torch.flatten(self.drop1(x), 1)))
        return F.log_softmax(self.fc2(self.drop2(x)), dim=1)


class Block(nn.Module):
    """He et al. 2016, §4.2, option A: a shortcut of every other pixel, padded with channels of zeros."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.more = after - before

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return F.relu(x + y)


class Residual(nn.Module):
    """The residual network for CIFAR as most people have it, small."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 32, 1))
        self.linear = nn.Linear(32, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


class Mobile(nn.Module):
    """A depthwise block with padding of its own, squeeze and excitation, and functional activations."""

    def __init__(self):
        super().__init__()
        self.pad, self.stem, self.bn = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 16, 3, 2), nn.BatchNorm2d(16)
        self.wide, self.wide_bn = nn.Conv2d(16, 48, 1, bias=False), nn.BatchNorm2d(48)
        self.deep, self.deep_bn = nn.Conv2d(48, 48, 5, 1, 2, groups=48, bias=False), nn.BatchNorm2d(48)
        self.squeeze, self.excite, self.slopes = nn.Conv2d(48, 8, 1), nn.Conv2d(8, 48, 1), nn.PReLU(48)
        self.narrow, self.groups, self.last = nn.Conv2d(48, 24, 1), nn.GroupNorm(4, 24), nn.Linear(24, 10)

    def forward(self, x):
        x = F.hardswish(self.wide_bn(self.wide(F.relu6(self.bn(self.stem(self.pad(x)))))))
        x = self.slopes(self.deep_bn(self.deep(x)))
        x = x * torch.sigmoid(self.excite(F.mish(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.last(F.adaptive_max_pool2d(F.elu(self.groups(self.narrow(x))), 1).flatten(1))


ALL = (Rows, Example, Residual, Mobile)


@functools.cache
def learned(kind: type[nn.Module], steps: int = 400) -> nn.Module:
    """One of them after a few seconds of training."""
    torch.manual_seed(0)
    digits, model = load("digits"), kind()
    images, labels = digits.normalize(digits.train.images), digits.train.labels
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        chosen = torch.randint(len(images), (64,))
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
