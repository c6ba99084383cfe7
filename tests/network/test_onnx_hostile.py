"""ONNX files that somebody crafted or damaged: each network is refused with one sentence."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compression.errors import InvalidFile, InvalidModel, UserError
from compression.network.onnx_reader import attempt_onnx, read_onnx
from tests.network.test_onnx_kinds import array, node, saved
from tests.strangers import check

ENDING = [node("GlobalAveragePool", "b", "p"), node("Flatten", "p", "f"), node("MatMul", "f v", "y")]


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_onnx(path)
    check(str(caught.value))
    return str(caught.value)


def of(path: Path, *nodes: onnx.NodeProto, **stored: np.ndarray) -> Path:
    """A file of nodes that make 'b' of the image 'x' [n, 3, 8, 8], and of a pool and a linear layer behind it."""
    return saved(path / "net.onnx", [*nodes, *ENDING], {"v": array(3, 4), **stored}, ["n", 3, 8, 8])


def test_nodes_in_a_circle(tmp_path: Path) -> None:
    said = refused(of(tmp_path, node("Add", "x c", "b"), node("Relu", "b", "c")))
    assert "'c'" in said
    assert "computes before" in said


def test_a_tensor_that_is_nowhere(tmp_path: Path) -> None:
    assert "reads a value 'w' that the file neither stores" in refused(of(tmp_path, node("Conv", "x w", "b")))


def test_a_reshape_and_a_tile_to_more_than_memory_holds(tmp_path: Path) -> None:
    many = np.array([1, 1 << 20, 1 << 10, 1 << 10])
    for op in ("Tile", "Expand", "Reshape"):
        said = refused(of(tmp_path, node(op, "x s", "b"), s=many))
        assert said.endswith(".")


def test_constants_that_grow_are_refused_in_the_confined_process(tmp_path: Path) -> None:
    path = of(tmp_path, node("ConstantOfShape", "s", "c"), node("Add", "x c", "b"), s=np.array([1 << 40]))
    with pytest.raises(InvalidFile):
        attempt_onnx(path)


@pytest.mark.parametrize("shape", [(-1, 3), (0,), (1 << 40,)])
def test_a_tensor_whose_shape_does_not_fit_its_bytes(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = of(tmp_path, node("Mul", "x s", "b"), s=array(3, 1, 1))
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == "s")
    del tensor.dims[:]
    tensor.dims.extend(shape)
    path.write_bytes(model.SerializeToString())
    refused(path)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64, 99])
def test_a_tensor_of_another_type(kind: int, tmp_path: Path) -> None:
    path = of(tmp_path, node("Mul", "x s", "b"), s=array(3, 1, 1))
    model = onnx.load(path)
    next(each for each in model.graph.initializer if each.name == "s").data_type = kind
    path.write_bytes(model.SerializeToString())
    refused(path)


def test_weights_outside_of_the_folder(tmp_path: Path) -> None:
    path = of(tmp_path, node("Mul", "x s", "b"), s=array(3, 1, 1))
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == "s")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    path.write_bytes(model.SerializeToString())
    assert "only files in the .onnx file's folder are read" in refused(path)


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", [helper.make_node("F", ["x"], ["y"], domain="d")], {}, ["n", 3, 8, 8],
                 domains=("d",))  # fmt: skip
    model = onnx.load(path)
    own = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    inner = [helper.make_node("F", ["a"], ["b"], domain="d")]
    model.functions.append(helper.make_function("d", "F", ["a"], ["b"], inner, own))
    path.write_bytes(model.SerializeToString())
    assert "calls itself" in refused(path)


@pytest.mark.parametrize("names", [("forward", "graph"), ("a.b", "a"), ("../x", "0"), ("", "ü" * 300)])
def test_names_of_any_kind(names: tuple[str, str], tmp_path: Path) -> None:
    first, second = names
    first = first or "w"
    nodes = [helper.make_node("Conv", ["x", first], ["q"], name=second), helper.make_node("Mul", ["q", second], ["b"])]
    path = of(tmp_path, *nodes, **{first: array(3, 3, 1, 1), second: array(3, 1, 1)})
    assert read_onnx(path)[1].classes == 4


def test_two_inputs_and_no_image(tmp_path: Path) -> None:
    path = of(tmp_path, node("Add", "x z", "b"))
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModel, match="must take one input, the images, not 2"):
        read_onnx(path)
    assert "axes" in refused(saved(path, [node("Relu", "x", "y")], {}, ["n", 3]))


def test_what_is_no_file_of_onnx(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert "There is no file" in refused(path)
    path.write_bytes(b"PK\3\4" + bytes(100))
    assert refused(path)
    model = onnx.load(of(tmp_path, node("Relu", "x", "b")))
    model.opset_import[0].version = 6
    path.write_bytes(model.SerializeToString())
    assert "opset 6; 7 to" in refused(path)


def test_answers_that_are_no_scores(tmp_path: Path) -> None:
    assert "scores [3, classes]" in refused(saved(tmp_path / "a.onnx", [node("Relu", "x", "y")], {}, ["n", 3, 8, 8]))
