"""Networks that come decomposed, or with regions of their own inside, become the graph that they are without."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from compression.data import load
from compression.errors import Unsupported
from compression.export import export
from compression.host.onnx_runtime import session
from compression.network.graph import layers, operator_name
from compression.network.tracing import trace
from compression.pipeline import compress
from compression.recipe import Recipe

SHAPE = (3, 32, 32)


def residual() -> nn.Module:
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)


BLOCKS = ((16, 3, 16, 16, True, "RE", 2), (16, 5, 40, 24, True, "HS", 2), (24, 5, 48, 24, True, "HS", 1))


def mobile() -> nn.Module:
    blocks = [models.mobilenetv3.InvertedResidualConfig(*block, 1, 1) for block in BLOCKS]
    return models.MobileNetV3(blocks, 32, num_classes=10)


def vision_transformer() -> nn.Module:
    return models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)


class Activations(nn.Sequential):
    """Whatever is decomposed to several operators, between two layers."""

    def __init__(self):
        shaping = (nn.GLU(1), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.InstanceNorm2d(8, affine=True),
                   nn.ChannelShuffle(2), nn.Dropout(), nn.MaxPool2d(2), nn.ZeroPad2d(1), nn.ReflectionPad2d(1),
                   nn.ReplicationPad2d(1), nn.AdaptiveAvgPool2d((3, 3)), nn.Softmax(1))  # fmt: skip
        acts = (nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.Hardsigmoid(), nn.ReLU6(), nn.Mish(),
                nn.Softplus(), nn.Softplus(2, 5), nn.SELU(), nn.ELU(), nn.CELU(), nn.LeakyReLU(), nn.PReLU(),
                nn.LogSigmoid(), nn.Hardtanh())  # fmt: skip
        super().__init__(nn.Conv2d(3, 16, 3), *acts, *shaping, nn.Flatten(), nn.Linear(72, 10, bias=False))


KINDS = [residual, mobile, vision_transformer, Activations]


def program(network: nn.Module, shape: tuple[int, int, int] = SHAPE) -> torch.export.ExportedProgram:
    return torch.export.export(network, (torch.zeros(2, *shape),), dynamic_shapes=({0: torch.export.Dim("batch")},))


def settled(network: nn.Module) -> nn.Module:
    """With statistics of its own in each batch norm."""
    network.train()
    with torch.no_grad():
        network(torch.randn(16, *SHAPE))
    return network.eval()


def answers(graph: torch.fx.GraphModule, images: torch.Tensor) -> np.ndarray:
    return session(export(graph, (images.shape[1], images.shape[2], images.shape[3])).onnx).run(
        None, {"image": images.numpy()}
    )[0]


def modules(graph: torch.fx.GraphModule) -> dict[str, type[nn.Module]]:
    return {name: type(module) for name, module in graph.named_modules() if name and not isinstance(module, nn.Dropout)}


def operators(graph: torch.fx.GraphModule) -> list[str]:
    """What is called one after another, but for dropout."""
    found = (str(n.target) if n.op == "call_module" else operator_name(n) for n in graph.graph.nodes)
    return [name for name in found if name and not name.endswith("_module")]


LEFT = {Activations: {"slice", "sigmoid", "mul", "reshape", "permute", "index", "sym_size"}}
"""What parts of a network stay decomposed to: gates, shuffles and paddings."""


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow) if kind is mobile else kind for kind in KINDS],
    ids=lambda kind: kind.__name__,
)
def test_a_decomposed_network_has_the_layers_that_it_was_made_of(kind) -> None:
    torch.manual_seed(0)
    network, images = settled(kind()), torch.randn(5, *SHAPE)
    whole, put_together = trace(network, SHAPE), trace(program(network).run_decompositions(), SHAPE)
    assert list(layers(put_together)) == list(layers(whole))
    assert modules(put_together) == modules(whole)
    assert set(operators(put_together)) - set(operators(whole)) == LEFT.get(kind, set())
    if kind in (residual, mobile):
        assert operators(put_together) == operators(whole)
    torch.testing.assert_close(put_together(images), network(images), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(answers(put_together, images), network(images).detach(), rtol=1e-3, atol=1e-4)


class Frozen(nn.Module):
    """A backbone that is not trained, and a head."""

    def __init__(self, region):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.middle, self.head, self.region = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 10), region

    def forward(self, x):
        with self.region():
            x = self.backbone(x)
            with torch.no_grad():
                y = self.middle(x)
            x[:, :4].mul_(2)
        return self.head((x + y).float().mean((2, 3)))


def half() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


REGIONS = {"no_grad": (torch.no_grad, 1e-4), "autocast": (half, 2e-2), "enable_grad": (torch.enable_grad, 1e-4)}


@pytest.mark.parametrize("decompose", [False, True])
@pytest.mark.parametrize("region", REGIONS)
def test_regions_inside_of_a_network_are_part_of_it(region: str, decompose: bool) -> None:
    torch.manual_seed(0)
    entered, atol = REGIONS[region]
    network, images = Frozen(entered).eval(), torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        expected = network(images)
    whole = program(network, (1, 8, 8))
    for form in (whole.run_decompositions(),) if decompose else (network, whole):
        graph = trace(form, (1, 8, 8))
        assert set(layers(graph)) == {"backbone.0", "middle", "head"}
        torch.testing.assert_close(graph(images), expected.float(), rtol=atol, atol=atol)
        np.testing.assert_allclose(answers(graph, images), graph(images).detach(), rtol=1e-4, atol=1e-5)


def test_what_is_computed_in_16_bits_is_computed_in_32() -> None:
    """Neither weights nor casts of another width are left."""
    torch.manual_seed(0)
    network = Halves().eval()
    images = torch.randn(5, 1, 8, 8)
    graph = trace(program(network, (1, 8, 8)), (1, 8, 8))
    assert {tensor.dtype for tensor in graph.state_dict().values()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(graph(images), network.float_answer(images), rtol=1e-4, atol=1e-5)


class Halves(nn.Module):
    """Its convolution and a scale are stored and computed in 16 bits, a bias in 64."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3).to(torch.bfloat16), nn.Linear(8, 10)
        self.scale = nn.Parameter(torch.randn(8, 1, 1, dtype=torch.bfloat16))
        self.register_buffer("bias", torch.randn(10, dtype=torch.float64))

    def forward(self, x):
        maps = self.conv(x.to(torch.bfloat16)) * self.scale
        return (self.head(maps.float().mean((2, 3))).double() + self.bias).float()

    def float_answer(self, x):
        maps = nn.functional.conv2d(x, self.conv.weight.float(), self.conv.bias.float()) * self.scale.float()
        return self.head(maps.mean((2, 3))) + self.bias.float()


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)

    def forward(self, x):
        x = self.conv(x)
        x = torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))
        return self.head(x.mean((2, 3)))


def test_branches_are_refused_with_a_sentence() -> None:
    with pytest.raises(Unsupported) as refused:
        trace(Branches().eval(), (1, 8, 8))
    assert str(refused.value) == "The network calls 'cond', a choice or a loop; a fixed order is needed."


def test_a_network_that_writes_and_freezes_is_compressed() -> None:
    torch.manual_seed(0)
    network = Frozen(torch.no_grad).eval()
    known = compress.prepare(network, load("digits"), calibration_images=64)
    recipe = Recipe(calibration_images=64).with_settings({"quantize.weight_bits": 8, "prune.sparsity": 0.3})
    simulated = compress.simulate(known, recipe)
    images = known.data.normalize(known.data.test.images[:50])
    with torch.inference_mode():
        expected = simulated(images)
    assert float((torch.from_numpy(answers(simulated, images)) - expected).abs().max()) <= 0.05 * float(
        expected.abs().max()
    )


class Drops(nn.Module):
    """Everything that works otherwise while a network is trained, part of it where no gradients are taken."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True))
        self.drop, self.last = nn.Dropout2d(0.3), nn.LazyLinear(10)

    def forward(self, x):
        x = self.drop(self.stem(x)).flatten(2)
        x = F.scaled_dot_product_attention(x, x, x, dropout_p=0.5 if self.training else 0.0)
        with torch.no_grad():
            x = F.dropout(F.rrelu(x, training=self.training), training=self.training)
        return self.last(x.flatten(1))


def test_a_program_of_a_network_in_training_is_read_at_inference() -> None:
    torch.manual_seed(0)
    network, images = Drops(), torch.randn(3, *SHAPE)
    network(torch.randn(16, *SHAPE))
    graph = trace(program(network), SHAPE)
    torch.testing.assert_close(graph(images), network.eval()(images))


def test_statistics_that_a_decomposed_program_would_change_are_read() -> None:
    network, images = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(10)),
        torch.randn(3, *SHAPE),
    )
    network(torch.randn(16, *SHAPE))
    graph = trace(program(network).run_decompositions(), SHAPE)
    torch.testing.assert_close(graph(images), network.eval()(images))
