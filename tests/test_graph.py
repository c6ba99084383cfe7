"""The canonical graph answers as the network does, keeps its names, and refuses what it cannot read."""

import copy
import pickle
import zipfile

import pytest
import torch
from torch import nn

from compression.errors import InvalidFile, InvalidModel
from compression.graph import layers, macs, operator_name
from compression.pt2 import load_pt2
from compression.tracing import trace
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


def test_macs_are_those_of_the_formula():
    found = macs(trace(tiny(), SHAPE), SHAPE)
    assert found == {
        "stem.0": 64 * 16 * 9, "depthwise.0": 64 * 16 * 9, "left": 64 * 8 * 8 * 9, "right": 64 * 8 * 8, "head": 160,
    }  # fmt: skip


def test_pt2_with_a_fixed_batch_takes_any(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, *SHAPE),)), tmp_path / "net.pt2")
    graph = trace(load_pt2(tmp_path / "net.pt2"), SHAPE)
    images = torch.randn(7, *SHAPE)
    torch.testing.assert_close(graph(images), network(images))


def test_nonsense_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "bad.pt2").write_bytes(b"not a network")
    for path, words in ((tmp_path / "bad.pt2", "not a network saved"), (tmp_path / "none.pt2", "no file")):
        with pytest.raises(InvalidFile, match=words):
            load_pt2(path)
    with pytest.raises(InvalidModel, match="1×8×8"):
        trace(nn.Conv2d(3, 4, 3), SHAPE)
    with pytest.raises(InvalidModel, match=r"\[images, classes\]"):
        trace(nn.Conv2d(1, 4, 3), SHAPE)


class Evil:
    """Unpickling it would leave a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return type(self.mark).touch, (self.mark,)


@pytest.mark.parametrize("where", ["sample_inputs/model.pt", "constants/opaque_obj_0", "weights/model.pt"])
def test_pt2_that_would_run_code_is_refused(tmp_path, where):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, *SHAPE),)), tmp_path / "net.pt2")
    with zipfile.ZipFile(tmp_path / "net.pt2") as source, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as target:
        root = source.namelist()[0].partition("/")[0]
        for name in source.namelist():
            if not name.endswith(where):
                target.writestr(name, source.read(name))
        target.writestr(f"{root}/data/{where}", pickle.dumps(Evil(tmp_path / "mark")))
    with pytest.raises(InvalidFile, match="would run code"):
        load_pt2(tmp_path / "evil.pt2")
    assert not (tmp_path / "mark").exists()
