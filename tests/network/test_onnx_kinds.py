"""What programs other than PyTorch's exporters write: channels last, endings, integers, old operators, ours."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from timm.layers import Conv2dSame
from torch import nn

from compression.data import load
from compression.errors import InvalidFile, InvalidModel, Unsupported
from compression.network.graph import layers
from compression.network.onnx_reader import check_onnx, read_onnx
from compression.network.tracing import trace
from compression.pipeline.compress import compress
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from tests.network.test_onnx_reader import WAYS, made, written
from tests.networks import tiny

RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def saved(
    path: Path, nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray], shape: list[Any], *, opset: int = 17,
    kind: int = TensorProto.FLOAT, domains: tuple[str, ...] = (),
) -> Path:  # fmt: skip
    """A file of `nodes` from the input 'x' to the output 'y'."""
    image = helper.make_tensor_value_info("x", kind, shape)
    scores = onnx.ValueInfoProto(name="y")
    graph = helper.make_graph(nodes, "g", [image], [scores], [numpy_helper.from_array(v, k) for k, v in stored.items()])
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def node(op: str, reads: str, gives: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, [{"_": ""}.get(name, name) for name in reads.split()], gives.split(), **attributes)


def alike(path: Path, shape: tuple[int, int, int], bound: float = 1e-5) -> nn.Module:
    """What is read from `path`; it answers, traced too, as ONNX Runtime does."""
    network, facts = read_onnx(path)
    assert facts.input_shape == shape
    images = torch.randn(4, *shape)
    assert check_onnx(path, network, images).relative_error < bound
    graph = trace(network, shape)
    with torch.no_grad():
        assert torch.allclose(graph(images), network(images), atol=1e-5, rtol=1e-4)
    return graph


def test_channels_last_are_turned_and_transposes_cancel(tmp_path: Path) -> None:
    """As tf2onnx writes a network of Keras, with its preprocessing inside."""
    nodes = [
        node("Sub", "x mean", "a"), node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
        node("Conv", "b w c", "d", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Transpose", "d", "e", perm=[0, 2, 3, 1]),
        node("Relu", "e", "f"), node("ReduceMean", "f", "h", axes=[1, 2], keepdims=0),
        node("MatMul", "h v", "i"), node("Add", "i t", "j"), node("Softmax", "j", "y"),
    ]  # fmt: skip
    stored = {"mean": array(3), "w": array(6, 3, 3, 3), "c": array(6), "v": array(6, 5), "t": array(5)}
    path = saved(tmp_path / "net.onnx", nodes, stored, ["n", 12, 12, 3])
    graph = alike(path, (3, 12, 12))
    assert read_onnx(path)[1].notes == ("A softmax at the end was left out.", "Its input was NHWC.")
    first, second = layers(graph).values()
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Linear)
    assert "permute" not in str(graph.graph)


def test_an_input_that_nothing_reads_is_none(tmp_path: Path) -> None:
    """TensorFlow's exporter leaves them for constants of Keras' Normalization that it has stored."""
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "y")]
    path = saved(tmp_path / "net.onnx", nodes, {"w": array(5, 3, 3, 3)}, ["n", 3, 8, 8])
    model = onnx.load(path)
    model.graph.input.insert(0, helper.make_tensor_value_info("norm/Sub/y:0", TensorProto.FLOAT, [1, 1, "k", 3]))
    onnx.save(model, path)
    alike(path, (3, 8, 8))
    model.graph.node[0].input.append("norm/Sub/y:0")
    onnx.save(model, path)
    with pytest.raises(InvalidModel, match=r"one input, the images, not 2 \('norm/Sub/y:0', 'x'\)\.$"):
        read_onnx(path)
    model.producer_name = "tf2onnx"
    onnx.save(model, path)
    with pytest.raises(InvalidModel, match=r"tf2onnx\.convert --saved-model"):
        read_onnx(path)


def test_a_file_optimized_for_one_kind_of_machine_is_refused_with_the_way(tmp_path: Path) -> None:
    domain = "com.microsoft.nchwc"
    nodes = [node("ReorderInput", "x", "r", domain=domain), node("Flatten", "r", "y")]
    with pytest.raises(InvalidFile, match="up to ORT_ENABLE_EXTENDED"):
        read_onnx(saved(tmp_path / "net.onnx", nodes, {}, ["n", 3, 8, 8], domains=(domain,)))


@pytest.mark.parametrize("layer", ["BatchNormalization", "Dropout", "RandomUniformLike"])
def test_a_network_exported_while_it_trains_is_refused(tmp_path: Path, layer: str) -> None:
    stored = {
        "w": array(3, 3, 3, 3),
        "one": np.ones(3, np.float32),
        "half": np.array(0.5, np.float32),
        "yes": np.array(True),
    }
    trains = {
        "BatchNormalization": [node("BatchNormalization", "c one one one one", "p a b", training_mode=1)],
        "Dropout": [node("Dropout", "c half yes", "p")],
        "RandomUniformLike": [node("RandomUniformLike", "c", "r"), node("Mul", "c r", "p")],
    }[layer]
    nodes = [node("Conv", "x w", "c"), *trains, node("GlobalAveragePool", "p", "q"), node("Flatten", "q", "y")]
    path = saved(tmp_path / "net.onnx", nodes, stored, ["n", 3, 8, 8])
    with pytest.raises(Unsupported, match=rf"{layer} .*exported in training mode: call eval\(\)"):
        read_onnx(path)


def test_strides_that_were_written_as_places_follow_the_batch(tmp_path: Path) -> None:
    """What PyTorch's newer exporter makes of a mean of channels that lie last in memory, for two images."""
    places = np.arange(10).reshape(2, 5, 1, 1)
    stored = {"w": array(5, 3, 3, 3), "flat": np.array([-1]), "places": places}
    nodes = [node("Conv", "x w", "c"), node("ReduceMean", "c", "m", axes=[2, 3]), node("Reshape", "m flat", "f"),
             node("Gather", "f places", "g"), node("Mul", "c g", "s"), node("GlobalAveragePool", "s", "p"),
             node("Flatten", "p", "y")]  # fmt: skip
    alike(saved(tmp_path / "net.onnx", nodes, stored, [2, 3, 8, 8]), (3, 8, 8))


ROW = np.arange(300).reshape(3, 10, 10)
PLACES = {"all in order": ROW, "every second row": ROW[:, ::2],
          "windows that overlap": np.arange(96)[:, None] + np.arange(12)}  # fmt: skip


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_strides_counted_through_any_number_of_images(places: np.ndarray, tmp_path: Path) -> None:
    """As PyTorch's newer exporter writes `as_strided` for a free batch: more places than sizes are computed of."""
    stored = {
        "row": np.array([-1]), "zero": np.array(0), "one": np.array(1), "stride": np.array(300), "first": np.array([0]),
        "axes": np.arange(1, places.ndim + 1), "within": places[None], "w": array(places.size, 4),
    }  # fmt: skip
    nodes = [
        node("Reshape", "x row", "flat"), node("Shape", "x", "sizes", start=0, end=1),
        node("Squeeze", "sizes first", "images"), node("Range", "zero images one", "each"),
        node("Mul", "each stride", "starts"), node("Unsqueeze", "starts axes", "apart"),
        node("Add", "apart within", "places"), node("Gather", "flat places", "seen", axis=0),
        node("Flatten", "seen", "rows"), node("MatMul", "rows w", "y"),
    ]  # fmt: skip
    graph: Any = alike(saved(tmp_path / "x.onnx", nodes, stored, ["n", 3, 10, 10]), (3, 10, 10))
    assert not [each for each in graph.graph.nodes if "arange" in str(each.target)]


def test_a_number_stored_once_for_a_norm_and_a_product(tmp_path: Path) -> None:
    """PyTorch's newer exporter stores equal tensors once: a norm's weight and the scale of a shortcut, both ones."""
    stored = {"norm.weight": np.ones(5, np.float32), "norm.bias": array(5), "other": array(5), "w": array(3, 3, 1, 1),
              "shape": np.array([0, -1]), "head": array(60, 4)}  # fmt: skip
    nodes = [
        node("Conv", "x w", "c", kernel_shape=[1, 1]), node("Mul", "c norm.weight", "scaled"),
        node("Add", "scaled norm.bias", "moved"), node("LayerNormalization", "moved norm.weight other", "n"),
        node("Reshape", "n shape", "rows"), node("MatMul", "rows head", "y"),
    ]  # fmt: skip
    alike(saved(tmp_path / "x.onnx", nodes, stored, ["n", 3, 4, 5]), (3, 4, 5))


@pytest.mark.parametrize("opset", [9, 17])
def test_padding_with_channels_last_leaves_no_transposes(tmp_path: Path, opset: int) -> None:
    """TensorFlow pads one side more before a stride of 2: Keras' ZeroPadding2D, in MobileNetV3."""
    first, last, pads = [0, 3, 1, 2], [0, 2, 3, 1], [0, 0, 1, 0, 0, 1, 2, 0]
    stored = {"w": array(4, 3, 3, 3), "v": array(5, 4, 3, 3), "pads": np.array(pads), "zero": np.array(0, np.float32)}
    pad = node("Pad", "b pads zero", "d") if opset > 9 else node("Pad", "b", "d", pads=pads)
    nodes = [node("Transpose", "x", "t", perm=first), node("Conv", "t w", "c"),
             node("Transpose", "c", "a", perm=last), node("Relu", "a", "b"), pad,
             node("Transpose", "d", "e", perm=first), node("Conv", "e v", "f", strides=[2, 2]),
             node("GlobalAveragePool", "f", "p"), node("Flatten", "p", "y")]  # fmt: skip
    graph = alike(saved(tmp_path / "net.onnx", nodes, stored, ["n", 9, 8, 3], opset=opset), (3, 9, 8))
    assert not any("permute" in str(each.target) for each in graph.graph.nodes)  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_an_ending_is_left_out_and_said(ending: str, tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "a"), node("Gemm", "a w b", "c", transB=1), node(ending, "c", "y")]
    path = saved(tmp_path / "net.onnx", nodes, {"w": array(4, 48), "b": array(4)}, [1, 3, 4, 4])
    alike(path, (3, 4, 4))
    name = {"LogSoftmax": "log-softmax"}.get(ending, ending.lower())
    assert read_onnx(path)[1].notes == (f"A {name} at the end was left out.",)


def test_operators_of_an_old_opset(tmp_path: Path) -> None:
    """Settings that were attributes once: of Clip, Pad, Squeeze, Unsqueeze, Slice, Split, Dropout, Upsample, Reduce."""
    nodes = [
        node("Pad", "x", "a", pads=[0, 0, 1, 1, 0, 0, 2, 2]), node("Conv", "a w", "b"),
        node("Clip", "b", "c", min=0.0, max=6.0),
        node("Upsample", "c", "d", scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"),
        node("Split", "d", "e f", axis=1, split=[2, 4]), node("Slice", "f", "h", axes=[1], starts=[1], ends=[3]),
        node("Concat", "e h", "i", axis=1), node("BatchNormalization", "i g s m v", "j"), node("Dropout", "j", "k"),
        node("ReduceMean", "k", "l", axes=[2, 3], keepdims=1), node("Squeeze", "l", "o", axes=[2, 3]),
        node("Unsqueeze", "o", "p", axes=[1]), node("Flatten", "p", "q"),
        node("Gemm", "q z t", "y", alpha=2.0, beta=0.5),
    ]  # fmt: skip
    stored = {"w": array(6, 3, 3, 3), "g": array(4), "s": array(4), "m": array(4), "v": array(4) ** 2 + 1,
              "z": array(4, 5), "t": array(5)}  # fmt: skip
    graph = alike(saved(tmp_path / "net.onnx", nodes, stored, ["n", 3, 8, 8], opset=7), (3, 8, 8))
    assert len(layers(graph)) == 2


def test_a_size_computed_by_a_long_chain_follows_the_batch(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a"), node("Shape", "a", "s"), node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axes", "m"), node("Cast", "m", "o", to=7), node("Concat", "o minus", "p", axis=0),
        node("Reshape", "a p", "b"), node("MatMul", "b v", "y"),
    ]  # fmt: skip
    stored = {"w": array(2, 3, 3, 3), "zero": np.array(0), "axes": np.array([0]), "minus": np.array([-1]),
              "v": array(72, 5)}  # fmt: skip
    alike(saved(tmp_path / "net.onnx", nodes, stored, ["n", 3, 8, 8]), (3, 8, 8))


class Images:
    """What onnxruntime's quantizer calibrates on."""

    def __init__(self, shape: tuple[int, int, int], name: str):
        self.left = [{name: torch.randn(1, *shape).numpy()} for _ in range(16)]

    def get_next(self) -> Any:
        return self.left.pop() if self.left else None


def test_counts_that_come_of_one_hot_sizes_and_patches_that_are_added_up(tmp_path: Path) -> None:
    network = Windows().eval()
    graph = alike(written(network, (3, 8, 8), WAYS[0], tmp_path / "net.onnx"), (3, 8, 8))
    images = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(graph(images), network(images), atol=1e-5)


def test_padding_that_is_computed_of_clipped_sizes(tmp_path: Path) -> None:
    network = nn.Sequential(Conv2dSame(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(64, 5)).eval()
    graph = alike(written(network, (3, 7, 8), WAYS[0], tmp_path / "net.onnx"), (3, 7, 8))
    images = torch.randn(3, 3, 7, 8)
    with torch.no_grad():
        assert torch.allclose(graph(images), network(images), atol=1e-5)


class Windows(nn.Module):
    """Each window has a token of its image's beside it; patches that overlap are added to maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = nn.functional.fold(nn.functional.unfold(x, 3, padding=1), (8, 8), 3, padding=1)
        windows = x.reshape(-1, 4, 2, 4, 8).transpose(1, 2).reshape(-1, 4, 32)
        token = x.amax((2, 3)).repeat_interleave(windows.shape[0] // x.shape[0], dim=0)
        return self.last((windows * token[:, :, None]).mean(2).reshape(x.shape[0], -1, 4).amax(1))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_a_quantized_file_is_read_as_the_floats_it_stands_for(form: str, tmp_path: Path) -> None:
    """Activations that a range of 0 to something carries out are there again."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    network, shape = made("resnet")
    plain = written(network, shape, WAYS[0], tmp_path / "plain.onnx")
    path = tmp_path / "net.onnx"
    quantize_static(
        plain, path, Images(shape, "x"), quant_format=QuantFormat[form], per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    found, facts = read_onnx(path)
    assert facts.notes == ("Quantized: read back as the float network it stands for.",)
    images = torch.randn(8, *shape)
    with torch.no_grad():
        assert (found(images) - network(images)).norm() < 0.05 * network(images).norm()
    assert check_onnx(path, found, images).relative_error < 0.2
    assert len(layers(trace(found, shape))) == len(layers(trace(network, shape)))


def test_our_own_packed_files_are_read(tmp_path: Path) -> None:
    """Their weights are decoded by functions that the file defines; half of each 8-bit pair falls away."""
    digits = load("digits")
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)))
    path = tmp_path / "net.onnx"
    path.write_bytes(compress(tiny(), recipe, digits).onnx)
    alike(path, digits.input_shape, 0.2)


def test_an_operator_that_is_not_known_is_named_with_a_way_round(tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "a"), helper.make_node("Inverse", ["a"], ["y"], "turn", domain="com.microsoft")]
    path = saved(tmp_path / "net.onnx", nodes, {}, [1, 3, 4, 4], domains=("com.microsoft",))
    with pytest.raises(
        Unsupported, match=r"operator Inverse of com.microsoft \(node 'turn'\) cannot be read; save the"
    ):
        read_onnx(path)


def test_a_network_that_is_read_wrongly_is_refused(tmp_path: Path) -> None:
    network, shape = made("tiny")
    path = written(network, shape, WAYS[0], tmp_path / "net.onnx")
    found, _ = read_onnx(path)
    with torch.no_grad():
        found.get_submodule("head").get_parameter("weight").mul_(-1)
    with pytest.raises(InvalidModel, match=r"gives \d+\.\d% of 64 images another class"):
        check_onnx(path, found, torch.randn(64, *shape))
