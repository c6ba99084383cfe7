"""Networks that torch.export.save wrote answer as they did when they were saved."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from compression.errors import InvalidModel
from compression.models import ARCHITECTURES, build
from compression.network.graph import layers
from compression.network.pt2 import load_pt2
from compression.network.tracing import trace
from tests.archives import SHAPE, Small, changed, entries, save, write

BATCH = ({0: torch.export.Dim("batch")},)


def answers(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(images)


EACH_KIND = ("lenet5", "resnet8", "shufflenetv2")


@pytest.mark.parametrize(
    ("name", "decomposed"),
    [
        *(pytest.param(name, False, marks=[] if name in EACH_KIND else pytest.mark.slow) for name in ARCHITECTURES),
        ("resnet8", True),
        pytest.param("shufflenetv2", True, marks=pytest.mark.slow),
    ],
)
def test_every_architecture_of_the_zoo_answers_the_same(name: str, decomposed: bool, tmp_path: Path) -> None:
    network = build(name, input_shape=(3, 32, 32), classes=10)
    images = torch.randn(3, 3, 32, 32)
    read = load_pt2(save(network, tmp_path / "net.pt2", images[:1], decomposed=decomposed))
    torch.testing.assert_close(answers(read, images), answers(network, images), rtol=0, atol=0)
    assert {n: tuple(t.shape) for n, t in read.state_dict().items()}.items() <= {
        n: tuple(t.shape) for n, t in network.state_dict().items()
    }.items()


def test_a_network_is_traced_like_the_one_that_was_saved(tmp_path: Path) -> None:
    network = Small().eval()
    program = torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=BATCH)
    torch.export.save(program, tmp_path / "net.pt2")
    read, direct = trace(load_pt2(tmp_path / "net.pt2"), SHAPE), trace(network, SHAPE)
    assert [(n.op, n.op == "placeholder" or n.target) for n in read.graph.nodes] == [
        (n.op, n.op == "placeholder" or n.target) for n in direct.graph.nodes
    ]
    assert list(layers(read)) == ["conv", "last"]
    assert all(torch.equal(tensor, direct.state_dict()[name]) for name, tensor in read.state_dict().items())


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_takes_any(batch: int, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    graph = trace(load_pt2(save(network, tmp_path / "net.pt2", torch.zeros(batch, *SHAPE))), SHAPE)
    images = torch.randn(7, *SHAPE)
    torch.testing.assert_close(graph(images), network(images))


@pytest.mark.parametrize("batch", [1, 3])
def test_what_is_repeated_and_reshaped_by_the_batch_takes_any(batch: int, tmp_path: Path) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(180, 10)
            self.token, self.scale = nn.Parameter(torch.randn(1, 36)), nn.Parameter(torch.randn(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = (self.conv(x) * self.scale.view(1, 4, 1, 1)).view(x.size(0), 4, 36)
            return self.head(torch.cat([maps, self.token.expand(x.size(0), 1, -1)], 1).view(x.size(0), -1))

    network, images = Counts().eval(), torch.randn(7, *SHAPE)
    read = load_pt2(save(network, tmp_path / "net.pt2", torch.zeros(batch, *SHAPE)))
    torch.testing.assert_close(answers(read, images), answers(network, images))


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_attention_saved_for_a_fixed_batch_takes_any(batch: int, decomposed: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)  # large weights of either sign: where scores cancel out, rounding would show in a few draws
    network = models.VisionTransformer(16, 4, 2, 4, 64, 128, num_classes=10).eval()
    nn.init.normal_(network.heads[0].weight)
    images = torch.randn(5, 3, 16, 16)
    read = load_pt2(save(network, tmp_path / "net.pt2", images[:batch], decomposed=decomposed))
    torch.testing.assert_close(answers(read, images), answers(network, images))


def test_windows_saved_for_one_image_take_any_number(tmp_path: Path) -> None:
    network = models.SwinTransformer([4, 4], 16, [2], [2], [3, 3], num_classes=10).eval()
    images = torch.randn(5, 3, 24, 24)
    read = load_pt2(save(network, tmp_path / "net.pt2", images[:1]))
    torch.testing.assert_close(answers(read, images), answers(network, images))


def test_a_fixed_batch_that_matters_is_refused(tmp_path: Path) -> None:
    class Centred(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.conv(x).mean((2, 3)).view(x.size(0), 4) - self.conv(x).mean((0, 2, 3)))

    with pytest.raises(InvalidModel, match="was saved for batches of 1 and gives different outputs in others"):
        load_pt2(save(Centred().eval(), tmp_path / "net.pt2"))


class Odd(Small):
    """Tensors that share storage, lie strided in it or are stretched, and a constant."""

    part: torch.Tensor
    crossed: torch.Tensor
    stretched: torch.Tensor
    hidden: torch.Tensor
    flags: torch.Tensor
    none: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        whole = torch.randn(40)
        self.register_buffer("part", whole[5:9])
        self.register_buffer("crossed", whole[8:40].view(8, 4).t())
        self.register_buffer("stretched", torch.tensor([2.0]).expand(4, 8, 8))
        self.register_buffer("hidden", torch.arange(4.0), persistent=False)
        self.register_buffer("flags", torch.tensor([True, False, True, True]))
        self.register_buffer("none", torch.zeros(0, 4))
        self.twin = self.last.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x) * self.stretched + (self.part + self.hidden * self.flags).view(4, 1, 1) * self.crossed.mean()
        x = torch.cat([x.mean((2, 3)), self.none])
        return F.linear(x, self.twin) + self.last(x) + torch.tensor(0.5)


def test_shared_strided_and_stretched_tensors_are_read_right(tmp_path: Path) -> None:
    network, images = Odd().eval(), torch.randn(3, *SHAPE)
    read = load_pt2(save(network, tmp_path / "net.pt2"))
    torch.testing.assert_close(answers(read, images), answers(network, images))
    named = dict(read.named_buffers())
    for name in ("part", "crossed", "stretched", "hidden", "flags", "none"):
        assert torch.equal(named[name], getattr(network, name))
    parameters = dict(read.named_parameters(remove_duplicate=False))
    assert parameters.get("twin", parameters["last.weight"]) is parameters["last.weight"]


class Modes(Small):
    """A frozen part, and one in mixed precision with another in it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = self.conv(x)
            with torch.autocast("cpu", torch.bfloat16):
                left, right = self.norm(x + self.conv(x[:, :1])).chunk(2, 1)
        return self.last(torch.cat([left, right], 1).relu().mean((2, 3)))


def test_a_frozen_part_and_mixed_precision_are_computed_in_float32(tmp_path: Path) -> None:
    network, images = Modes().eval(), torch.randn(3, *SHAPE)
    read = load_pt2(save(network, tmp_path / "net.pt2"))
    x = network.conv(images)
    maps = network.norm(x + network.conv(x[:, :1]))
    torch.testing.assert_close(answers(read, images), network.last(maps.relu().mean((2, 3))))
    assert list(layers(trace(read, SHAPE))) == ["conv", "conv_2", "last"]


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float64, 1e-6)])
def test_other_floats_become_float32(kind: torch.dtype, tolerance: float, tmp_path: Path) -> None:
    network, images = Small().eval(), torch.randn(3, *SHAPE)
    expected = answers(network, images)
    read = load_pt2(save(copy.deepcopy(network).to(kind), tmp_path / "net.pt2", torch.zeros(1, *SHAPE, dtype=kind)))
    assert all(not t.is_floating_point() or t.dtype == torch.float32 for t in read.state_dict().values())
    torch.testing.assert_close(answers(read, images), expected, rtol=tolerance, atol=tolerance)
    assert list(layers(trace(read, SHAPE))) == ["conv", "last"]


def test_casts_to_half_and_double_keep_the_precision(tmp_path: Path) -> None:
    class Casts(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.half().float().double().to(torch.float32))

    network, images = Casts().eval(), torch.randn(3, *SHAPE)
    read = load_pt2(save(network, tmp_path / "net.pt2"))
    torch.testing.assert_close(answers(read, images), Small.forward(network, images))


@pytest.mark.parametrize("decomposed", [False, True])
def test_what_was_saved_in_training_mode_is_read_at_inference(decomposed: bool, tmp_path: Path) -> None:
    network, images = nn.Sequential(Small(), nn.Dropout(0.5)).train(), torch.randn(3, *SHAPE)
    read = load_pt2(save(network, tmp_path / "net.pt2", torch.zeros(2, *SHAPE), decomposed=decomposed))
    torch.testing.assert_close(answers(read, images), answers(network.eval(), images))


def test_a_program_saved_on_a_gpu_loads(tmp_path: Path) -> None:
    class Moves(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + torch.arange(10.0, device=x.device).to(x.device, torch.float32)

    network, images = Moves().eval(), torch.randn(3, *SHAPE)
    held = entries(save(network, tmp_path / "net.pt2"))
    for name in [name for name in held if name.endswith(".json")]:
        held[name] = held[name].replace(b'{"type": "cpu", "index": null}', b'{"type": "cuda", "index": 0}')
        assert b'"cpu"' not in held[name]
    assert b'"cuda"' in held["models/model.json"]
    read = load_pt2(write(tmp_path / "cuda.pt2", held))
    assert {tensor.device.type for tensor in read.state_dict().values()} == {"cpu"}
    torch.testing.assert_close(answers(read, images), answers(network, images))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
def test_pixels_as_whole_numbers_are_refused(kind: torch.dtype, tmp_path: Path) -> None:
    class Pixels(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.float() / 255)

    path = save(Pixels().eval(), tmp_path / "net.pt2", torch.zeros(1, *SHAPE, dtype=kind))
    with pytest.raises(InvalidModel) as refused:
        load_pt2(path)
    assert str(refused.value) == (
        f"The network takes images of {kind}; only one that takes normalised images, which are floats, is allowed."
    )


@pytest.mark.parametrize(("forward", "given", "sentence"), [
    (lambda self, x: (x * 1).flatten(1), (torch.zeros(1, 64),),
     "The network takes values of 2 axes; images have 4, with the batch."),
    (lambda self, x, y: self.last((x + y).flatten(1)[:, :4]), (torch.zeros(1, *SHAPE), torch.zeros(1, *SHAPE)),
     "The network takes more than one tensor; one batch of images is allowed."),
    (lambda self, x: self.last(x.flatten(1)[:, :4]).clone(memory_format=torch.preserve_format).log_normal_(),
     (torch.zeros(1, *SHAPE),),
     "The network calls 'torch.ops.aten.log_normal_.default', which is none of the operators that can be compressed."),
])  # fmt: skip
def test_what_no_classifier_of_images_does_is_refused(forward: Any, given: Any, sentence: str, tmp_path: Path) -> None:
    network = type("Other", (Small,), {"forward": forward})().eval()
    torch.export.save(torch.export.export(network, given), tmp_path / "net.pt2")
    with pytest.raises(InvalidModel) as refused:
        load_pt2(tmp_path / "net.pt2")
    assert str(refused.value) == sentence


def test_numbers_that_json_lacks_are_read(tmp_path: Path) -> None:
    class Clamps(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.masked_fill(x < 0, float("-inf")).clamp(-3, float("inf")))

    network, images = Clamps().eval(), torch.randn(3, *SHAPE)
    read = load_pt2(save(network, tmp_path / "net.pt2"))
    torch.testing.assert_close(answers(read, images), answers(network, images))


def test_sizes_are_computed_as_when_it_was_saved(tmp_path: Path) -> None:
    class Sizes(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            b, c, h, w = self.conv(x).shape
            y = self.conv(x).view(b * c, h, w).reshape(b, 2, c // 2 * h * w)
            return self.last(y.mean(2).repeat(1, (c + 1) // 2) * (b - b + 2))

    network, images = Sizes().eval(), torch.randn(3, *SHAPE)
    program = torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=BATCH)
    torch.export.save(program, tmp_path / "net.pt2")
    assert "_operator." in json.dumps(json.loads(entries(tmp_path / "net.pt2")["models/model.json"]))
    torch.testing.assert_close(answers(load_pt2(tmp_path / "net.pt2"), images), answers(network, images))


def test_sample_inputs_are_never_read(tmp_path: Path) -> None:
    held = entries(save(Small().eval(), tmp_path / "net.pt2")) | {"data/sample_inputs/model.pt": b"no pickle at all"}
    read = load_pt2(write(tmp_path / "other.pt2", held | {"extra/notes.txt": b"by hand"}))
    assert read.state_dict().keys() == Small().state_dict().keys()


def test_guards_and_symbols_are_never_read(tmp_path: Path) -> None:
    def change(record: Any) -> None:
        record["guards_code"] = ["nonsense ("]
        for value in record["graph_module"]["graph"]["tensor_values"].values():
            value["sizes"][:1] = [{"as_expr": {"expr_str": "nonsense (", "hint": {"as_int": 2}}}]

    network, images = Small().eval(), torch.randn(3, *SHAPE)
    held = changed(entries(save(network, tmp_path / "net.pt2")), change)
    torch.testing.assert_close(answers(load_pt2(write(tmp_path / "x.pt2", held)), images), answers(network, images))
