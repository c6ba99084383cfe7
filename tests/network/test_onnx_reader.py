"""Networks in ONNX files, from both of PyTorch's exporters and as other programs write them."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compression.network.graph import layers
from compression.network.onnx_reader import OnnxFacts, attempt_onnx, check_onnx, read_onnx
from compression.network.tracing import trace
from tests.networks import tiny

WAYS = ("script free", "script fixed", "dynamo free", "dynamo fixed")


def mobilenet_v2() -> nn.Module:
    from torchvision.models import MobileNetV2

    return MobileNetV2(num_classes=10, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]])


def resnet() -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)


def efficientnet() -> nn.Module:
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    settings = [MBConvConfig(1, 3, 1, 32, 16, 1, 1, 1), MBConvConfig(6, 5, 2, 16, 24, 1, 1, 1)]
    return EfficientNet(settings, 0.2, num_classes=10, last_channel=64)


def mobilenet_v3() -> nn.Module:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    settings = [InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1),
                InvertedResidualConfig(16, 5, 64, 24, True, "HS", 2, 1, 1)]  # fmt: skip
    return MobileNetV3(settings, 64, num_classes=10)


def vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    network = VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)
    nn.init.normal_(network.heads[0].weight)
    return network


def swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    network = SwinTransformer([2, 2], 16, [2, 2], [2, 2], [4, 4], num_classes=10)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "tiny": tiny, "mobilenet_v2": mobilenet_v2, "resnet": resnet, "efficientnet": efficientnet,
    "mobilenet_v3": mobilenet_v3, "vit": vit, "swin": swin,
}  # fmt: skip
SHAPES = {"tiny": (1, 8, 8)}


def made(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network with random weights whose batch norms were measured, in eval mode."""
    torch.manual_seed(0)
    network, shape = NETWORKS[name](), SHAPES.get(name, (3, 32, 32))
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(16, *shape))
    return network.eval(), shape


def written(network: nn.Module, shape: tuple[int, int, int], way: str, path: Path, **settings: Any) -> Path:
    """The file that one of PyTorch's exporters writes, for one image or for any number."""
    exporter, batch = way.split()
    images = torch.randn(2 if batch == "free" else 1, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "script":
            free: dict[str, Any] = {"dynamic_axes": {"x": {0: "n"}}, "input_names": ["x"]} if batch == "free" else {}
            torch.onnx.export(network, (images,), str(path), dynamo=False, **free, **settings)
        else:
            free = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if batch == "free" else {}
            torch.onnx.export(
                network, (images,), str(path), dynamo=True, verbose=False, external_data=False, **free, **settings
            )
    return path


def same_as(network: nn.Module, path: Path, shape: tuple[int, int, int]) -> tuple[nn.Module, OnnxFacts]:
    """What is read from `path`, which answers as `network` does, as it is, traced and in ONNX Runtime."""
    found, facts = read_onnx(path)
    assert facts.input_shape == shape
    assert facts.classes == 10
    images = torch.randn(5, *shape)
    graph = trace(found, shape)
    with torch.no_grad():
        expected = network(images)
        for answer in (found(images), graph(images)):
            assert (answer - expected).norm() < 1e-5 * expected.norm()
    attentions = sum(isinstance(part, nn.MultiheadAttention) for part in network.modules())
    assert len(layers(graph)) == attentions + sum(isinstance(part, nn.Conv2d | nn.Linear) for part in network.modules())
    check = check_onnx(path, found, images)
    assert check.relative_error < 1e-5
    assert check.same_classes == 1
    return found, facts


QUICK = {("tiny", WAYS[0]), ("mobilenet_v2", WAYS[1]), ("vit", WAYS[0]), ("tiny", WAYS[3])}
"""The others are read where slow tests are asked for."""


@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param(name, way, marks=() if (name, way) in QUICK else pytest.mark.slow)
        for name in NETWORKS
        for way in WAYS
    ],
)
def test_what_both_exporters_write_is_read_back(name: str, way: str, tmp_path: Path) -> None:
    network, shape = made(name)
    same_as(network, written(network, shape, way, tmp_path / "net.onnx"), shape)


def test_a_file_is_read_in_a_confined_process(tmp_path: Path) -> None:
    network, shape = made("tiny")
    attempt_onnx(written(network, shape, WAYS[0], tmp_path / "net.onnx"))
