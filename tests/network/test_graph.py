"""The canonical graph answers as the network does, keeps its names, and refuses what it cannot read."""

import copy

import pytest
import torch
from torch import nn

from compression.errors import InvalidFile, InvalidModel
from compression.network.graph import answering, layers, macs, operator_name
from compression.network.pt2 import load_pt2
from compression.network.tracing import trace
from tests.networks import tiny

SHAPE = (1, 8, 8)


def test_traced_network_answers_the_same_for_any_batch():
    network = tiny()
    graph = trace(network, SHAPE)
    for n in (1, 5):
        images = torch.randn(n, *SHAPE)
        torch.testing.assert_close(graph(images), network(images))


def test_layers_keep_their_names_and_the_model_is_untouched():
    network = tiny().train()
    before = copy.deepcopy(network.state_dict())
    assert list(layers(trace(network, SHAPE))) == ["stem.0", "depthwise.0", "left", "right", "head"]
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_inplace_operators_become_pure():
    graph = trace(tiny(), SHAPE)
    assert not [n for n in graph.graph.nodes if operator_name(n).endswith("_")]


def test_value_changed_in_place_is_read_changed():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

        def forward(self, x):
            y = self.conv(x)
            y.relu_()
            return self.head((y + y).mean((2, 3)))

    network, images = Reads().eval(), torch.randn(3, *SHAPE)
    torch.testing.assert_close(trace(network, SHAPE)(images), network(images))


def test_a_pooled_map_that_is_squeezed_is_flattened():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), Squeezed(), nn.Linear(4, 10))
    graph = trace(network, SHAPE)
    assert [operator_name(n) for n in graph.graph.nodes if n.op == "call_function"] == [
        "adaptive_avg_pool2d",
        "flatten",
    ]


class Masked(nn.Module):
    """Adds a mask of windows that is written place by place, as Swin's is in ONNX files."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.register_buffer("places", torch.tensor([[[0, 1], [2, 3]], [[4, 5], [7, 7]]]))
        self.register_buffer("values", torch.tensor([[1.0, 2.0], [3.0, 4.0]]))

    def forward(self, x):
        rows, columns = self.places.unbind(-1)
        mask = torch.zeros(8, 8).index_put((rows, columns), self.values)
        return (self.conv(x) + mask).flatten(1)


def test_what_is_made_of_stored_tensors_alone_is_computed_once():
    network = Masked().eval()
    graph = trace(network, SHAPE)
    assert {operator_name(n) for n in graph.graph.nodes if n.op == "call_function"} == {"add", "flatten"}
    images = torch.randn(3, *SHAPE)
    torch.testing.assert_close(graph(images), network(images))


class Squeezed(nn.Module):
    """Takes all axes of length one away."""

    def forward(self, x):
        return x.squeeze()


CONV = nn.Conv2d(1, 10, 3)


@pytest.mark.parametrize(("tail", "named"), [
    ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4)], {"3"}),
    ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4), nn.Softmax(1)], {"3"}),
    ([nn.Dropout(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()], {"0"}),
    ([nn.BatchNorm2d(10), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LogSoftmax(1)], {"0"}),
    ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(10)], set()),
])  # fmt: skip
def test_the_answering_layer_is_found_behind_pools_and_softmax(tail, named):
    assert answering(trace(nn.Sequential(CONV, *tail).eval(), SHAPE)) == named


def test_macs_are_those_of_the_formula():
    found = macs(trace(tiny(), SHAPE), SHAPE)
    assert found == {
        "stem.0": 64 * 16 * 9, "depthwise.0": 64 * 16 * 9, "left": 64 * 8 * 8 * 9, "right": 64 * 8 * 8, "head": 160,
    }  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3])
def test_a_program_that_counts_the_images_takes_any(batch):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(180, 10)
            self.token = nn.Parameter(torch.randn(1, 36))

        def forward(self, x):
            tokens = torch.cat([self.conv(x).flatten(2), self.token.expand(x.size(0), 1, -1)], 1)
            return self.head(tokens.view(x.size(0), -1))

    network, images = Counts().eval(), torch.randn(7, *SHAPE)
    graph = trace(torch.export.export(network, (torch.zeros(batch, *SHAPE),)), SHAPE)
    torch.testing.assert_close(graph(images), network(images))


class Layers(nn.Module):
    """A convolution and a linear layer under any names, and what is done with what they answer."""

    def __init__(self, answer=lambda scores: scores, first="first", **more):
        super().__init__()
        self.last, self.answer = nn.Linear(4, 10), answer
        self.add_module(first, nn.Conv2d(1, 4, 3))
        self.more = nn.ModuleDict(more)
        self.first_name = first

    def forward(self, x):
        maps = self.get_submodule(self.first_name)(x)
        for module in self.more.values():
            module(maps.mean((2, 3)))
        return self.answer(self.last(maps.mean((2, 3))))


def test_layers_stand_in_order_of_execution_without_those_whose_answers_nobody_reads():
    graph = trace(Layers(aux=nn.Linear(4, 10)), SHAPE)
    assert list(layers(graph)) == ["first", "last"]
    assert set(graph.state_dict()) == {f"{layer}.{kind}" for layer in ("first", "last") for kind in ("weight", "bias")}


@pytest.mark.parametrize("answer", [lambda x: {"logits": x, "loss": None}, lambda x: (x,), lambda x: [x]])
def test_the_one_tensor_of_an_answer_is_the_answer(answer):
    network, images = Layers(answer).eval(), torch.randn(3, *SHAPE)
    torch.testing.assert_close(trace(network, SHAPE)(images), network.eval().last(network.first(images).mean((2, 3))))


def broken(value):
    """A network with one weight that is no number."""
    network = Layers()
    with torch.no_grad():
        network.first.weight[0, 0, 1, 1] = value
    return network


@pytest.mark.parametrize(("network", "sentence"), [
    (broken(float("nan")),
     "The network's tensor 'first.weight' holds NaN or infinite values; only numbers are allowed."),
    (broken(float("-inf")),
     "The network's tensor 'first.weight' holds NaN or infinite values; only numbers are allowed."),
    (Layers(lambda x: (x - 1e6).sqrt()), "The network returns NaN; only numbers are allowed as scores."),
    (Layers(first="code"), "The network calls a part of it 'code'; any other name is allowed."),
    (Layers(first="graph"), "The network calls a part of it 'graph'; any other name is allowed."),
    (Layers(lambda x: {"scores": x, "features": x}),
     "The network must return scores [images, classes] for 3 images, not tuple."),
    (nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 10, 64), nn.Flatten()),
     "The network has no layer that can be compressed; at least one Conv2d or Linear is needed."),
])  # fmt: skip
def test_what_cannot_be_compressed_is_refused_with_a_sentence(network, sentence):
    with pytest.raises(InvalidModel) as refused:
        trace(network, SHAPE)
    assert str(refused.value) == sentence


def test_channels_that_stand_for_images_count_as_often_as_they_are_computed():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.each, self.head = nn.Conv2d(1, 6, 3), nn.Conv2d(1, 2, 3), nn.Linear(192, 10)

        def forward(self, x):
            return self.head(self.each(self.conv(x).reshape(-1, 1, 6, 6)).reshape(x.size(0), -1))

    assert macs(trace(Folded(), SHAPE), SHAPE) == {"conv": 36 * 6 * 9, "each": 6 * 16 * 2 * 9, "head": 1920}


def test_nonsense_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "bad.pt2").write_bytes(b"not a network")
    for path, words in ((tmp_path / "bad.pt2", "not a network saved"), (tmp_path / "none.pt2", "no file")):
        with pytest.raises(InvalidFile, match=words):
            load_pt2(path)
    with pytest.raises(InvalidModel, match="1×8×8"):
        trace(nn.Conv2d(3, 4, 3), SHAPE)
    with pytest.raises(InvalidModel, match=r"\[images, classes\]"):
        trace(nn.Conv2d(1, 4, 3), SHAPE)
