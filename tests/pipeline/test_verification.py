"""Network, traced graph and file are compared on real images; a difference is a refusal that names an operator."""

import pytest
import torch
from torch import fx, nn

from compression.data import load
from compression.errors import InvalidModel, Unsupported
from compression.export import export
from compression.export.translate import TRANSLATIONS
from compression.host.onnx_runtime import session
from compression.network import rewriting
from compression.network.graph import operator_name
from compression.network.tracing import trace
from compression.pipeline import compress
from compression.pipeline.verification import verify

SHAPE = (1, 8, 8)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first = (nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Conv2d(8, 8, 3), nn.Hardtanh(-0.5, 0.5), nn.Flatten(), nn.Linear(32, 10)).eval()


def exported(model: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(model, (torch.zeros(2, *SHAPE),), dynamic_shapes=({0: torch.export.Dim("batch")},))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    data = load("digits")
    return data.normalize(data.train.images[:20])


@pytest.mark.parametrize("form", [lambda model: model, exported], ids=["module", "program"])
def test_a_graph_that_is_another_network_is_refused(form, images: torch.Tensor) -> None:
    graph = trace(network(), SHAPE)
    verify(form(network()), graph, session(export(graph, SHAPE, packed=False).onnx), images)
    with torch.no_grad():
        graph.get_parameter("4.weight")[3] *= 1.2
    with pytest.raises(InvalidModel) as refused:
        verify(form(network()), graph, session(export(graph, SHAPE, packed=False).onnx), images)
    assert str(refused.value) == (
        "The traced network gives different outputs from the original, first at Conv2d '4', so it cannot be "
        "compressed safely."
    )


def clipped_lower_(source: fx.GraphModule) -> None:
    """A fault of tracing."""
    for node in source.graph.nodes:
        if operator_name(node) == "hardtanh":
            node.args = (node.args[0], -0.5, 0.4)


@pytest.mark.parametrize("form", [lambda model: model, exported], ids=["module", "program"])
def test_whatever_is_traced_is_compared_with_its_graph(form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "recompose_", clipped_lower_)
    with pytest.raises(InvalidModel) as refused:
        trace(form(network()), SHAPE)
    assert str(refused.value) == (
        "The traced network gives different outputs from the original, first at 'hardtanh' (hardtanh), so it cannot be "
        "compressed safely."
    )


def test_a_file_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda c, node, a: c.writer.node("Clip", [c.value(a["self"]), c.value(-0.5), c.value(0.4)])  # noqa: E731
    monkeypatch.setitem(TRANSLATIONS, "hardtanh", wrong)
    with pytest.raises(Unsupported) as refused:
        compress.prepare(network(), load("digits"), calibration_images=64)
    assert str(refused.value) == (
        "The fp32 file gives different outputs from the network, first at 'hardtanh' (hardtanh), so the export "
        "is not reliable."
    )


def test_what_only_images_show_is_found(images: torch.Tensor) -> None:
    """Blank images and noise may look the same to a network that real ones tell apart."""
    graph = trace(network(), SHAPE)
    graph.get_parameter("7.bias").data[0] += 0.1
    with pytest.raises(InvalidModel, match="first at Linear '7'"):
        verify(network(), graph, session(export(graph, SHAPE, packed=False).onnx), images)


class Dead(nn.Module):
    """Answers the same about every image."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

    def forward(self, x):
        return self.last((self.first(x) - 1e3).relu().mean((2, 3)))


class Far(nn.Module):
    """Scores that are large and lie close together."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

    def forward(self, x):
        return self.last(self.first(x).mean((2, 3))) * 1e-2 + 1e3


class Steps(nn.Module):
    """Rounds its maps to 16 levels, so that rounding errors become steps."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3), nn.Linear(32 * 16, 10)

    def forward(self, x):
        x = torch.round(self.first(x) * 4) / 4
        return self.last(torch.round(self.second(x) * 4).div(4).flatten(1))


@pytest.mark.parametrize("kind", [Dead, Far, Steps])
def test_networks_are_not_refused_for_rounding(kind: type[nn.Module], images: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    for form in (model, exported(model)):
        graph = trace(form, SHAPE)
        verify(form, graph, session(export(graph, SHAPE, packed=False).onnx), images)


class Counting(nn.Module):
    """Counts how often it is called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return x


def test_comparing_leaves_modes_and_buffers_as_they_were(images: torch.Tensor) -> None:
    model = nn.Sequential(*network(), Counting()).train()
    model[1].eval()
    graph = trace(model, SHAPE)
    verify(model, graph, session(export(graph, SHAPE, packed=False).onnx), images)
    assert [module.training for module in model] == [True, False, *[True] * 7]
    assert model[8].calls == 0
