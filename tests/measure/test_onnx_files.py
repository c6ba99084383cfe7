"""ONNX files of strangers: each ends as a measurement or as one sentence, and none does more than it may."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compression import confined
from compression.confined import Ending
from compression.data import load
from compression.errors import InvalidFile
from compression.host.onnx_assembly import MAX_BYTES, assemble, checked
from compression.measure import admission
from compression.measure.admission import admit
from compression.pipeline.measuring import measure_file

WEIGHTS = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
W = numpy_helper.from_array(WEIGHTS, "w")
Node = onnx.NodeProto


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Node:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def value(name: str, shape: list[int | str] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


IMAGE, SCORES = value("image", ["n", 1, 8, 8]), value("scores", ["n", 10])
LINEAR = [node("Flatten", "image", "f"), node("MatMul", "f w", "s")]


def model(
    nodes: list[Node], stored: list[TensorProto], *, inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None, functions: list[onnx.FunctionProto] | None = None,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(nodes, "g", inputs or [IMAGE], outputs or [SCORES], stored)
    opsets = [helper.make_opsetid("", 19), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions or [])


def linear(last: Node | None = None, **settings: Any) -> onnx.ModelProto:
    """A linear classifier, the scores of which go through `last`, which reads 's'."""
    return model([*LINEAR, last or node("Identity", "s", "scores")], [W], **settings)


def adding(nodes: list[Node], *stored: TensorProto) -> onnx.ModelProto:
    """The same with something of no effect: the highest of what `nodes` make, 'm', is added to all scores."""
    tail = [node("ReduceMax", "big", "m", keepdims=0), node("Add", "s m", "scores")]
    return model([*LINEAR, *nodes, *tail], [W, *stored])


def numbers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def outside(location: str, **region: object) -> onnx.ModelProto:
    """The linear classifier with its weights in another file."""
    w = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape, data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **region}.items():
        w.external_data.add(key=key, value=str(text))
    return model([*LINEAR, node("Identity", "s", "scores")], [w])


def calls(depth: int, *, last: str) -> onnx.ModelProto:
    """Functions F0, F1, … each of which calls the next one twice, and the last one `last`."""
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("d", 1)]
    ends = [node(last, "x", "y", domain="d" if last.startswith("F") else "")]
    functions = [helper.make_function("d", f"F{depth}", ["x"], ["y"], ends, opsets)]
    for i in range(depth):
        twice = [node(f"F{i + 1}", "x", "t", domain="d"), node(f"F{i + 1}", "t", "y", domain="d")]
        functions.append(helper.make_function("d", f"F{i}", ["x"], ["y"], twice, opsets))
    return linear(node("F0", "s", "scores", domain="d"), functions=functions, domains=("d",))


def turning(turns: int | None) -> onnx.ModelProto:
    """A Loop around the scores."""
    body = helper.make_graph(
        [node("Identity", "c", "d"), node("Identity", "v", "w2")], "b",
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("v", None)],
        [value("d", [], TensorProto.BOOL), value("w2", None)],
    )  # fmt: skip
    stored = [W, numpy_helper.from_array(np.array(True), "yes"), *([numbers("t", turns)] if turns is not None else [])]
    flat = [node("Shape", "s", "t", start=0, end=1)] if turns is None else []
    return model([*LINEAR, *flat, node("Loop", "t yes s", "scores", body=body)], stored)


def refusal(given: onnx.ModelProto | bytes | Path) -> str:
    with pytest.raises(InvalidFile) as error:
        admit(given.SerializeToString() if isinstance(given, onnx.ModelProto) else given, load("digits"))
    sentence = str(error.value)
    assert "\n" not in sentence and "Traceback" not in sentence
    return sentence


class TestWeightsInOtherFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "net").mkdir()
        for place in (tmp_path, tmp_path / "net"):
            (place / "w.bin").write_bytes(b"junk" + WEIGHTS.tobytes() + b"more")
        (tmp_path / "net" / "link.bin").symlink_to(tmp_path / "w.bin")
        (tmp_path / "net" / "way").symlink_to(tmp_path)
        return tmp_path / "net"

    def test_size_and_hash_count_all_files(self, folder: Path) -> None:
        content = outside("w.bin", offset=4, length=2560).SerializeToString()
        (folder / "net.onnx").write_bytes(content)
        (folder / "one.onnx").write_bytes(linear().SerializeToString())
        data = load("digits")
        found, whole = measure_file(folder / "net.onnx", data), measure_file(folder / "one.onnx", data)
        assert found.size_bytes == found.baseline_size_bytes == len(content) + 2568
        assert whole.size_bytes == (folder / "one.onnx").stat().st_size
        assert np.array_equal(found.predictions.classes, whole.predictions.classes)
        (folder / "w.bin").write_bytes(b"junk" + WEIGHTS.tobytes() + b"else")
        assert admit(folder / "net.onnx", data).file_hash != found.file_hash

    def test_bytes_alone_say_that_weights_lie_elsewhere(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)  # ONNX Runtime would look there
        assert "'w.bin'" in refusal(outside("w.bin", offset=4))

    @pytest.mark.parametrize(
        ("location", "region", "words"),
        [
            ("../w.bin", {"offset": 4}, "only files in the .onnx file's folder"),
            ("a/../../w.bin", {"offset": 4}, "only files in the .onnx file's folder"),
            ("/dev/zero", {}, "only files in the .onnx file's folder"),
            ("", {}, "only files in the .onnx file's folder"),
            ("w.bin\x00", {}, "only files in the .onnx file's folder"),
            ("link.bin", {"offset": 4}, "a link"),
            ("way/w.bin", {"offset": 4}, "a link"),
            ("gone.bin", {}, "No such file"),
            ("*/_ORT_MEM_ADDR_/*", {"offset": 4096, "length": 2560}, "No such file"),
            (".", {}, "only files in the .onnx file's folder"),
            ("w.bin", {"offset": 9}, "2,568"),
            ("w.bin", {"offset": 10**15}, "2,568"),
            ("w.bin", {"offset": 4, "length": 10}, "10 from byte 4"),
            ("w.bin", {"offset": "-4"}, "'-4'"),
            ("w.bin", {"offset": "x" * 9}, "xxx"),
            ("w.bin", {"offset": "9" * 4000}, "999"),
        ],
    )
    def test_only_plain_files_of_the_folder_are_read(
        self, folder: Path, location: str, region: dict[str, object], words: str
    ) -> None:
        content = outside(location, **region).SerializeToString()
        with pytest.raises(InvalidFile, match=words) as error:
            assemble(content, checked(content), folder)
        assert len(str(error.value)) < 400

    @pytest.mark.parametrize("dims", [[2**40, 2**40], [-64, 10], [2] * 1000], ids=str)
    def test_shapes_that_no_file_holds(self, folder: Path, dims: list[int]) -> None:
        found = outside("w.bin")
        del found.graph.initializer[0].dims[:]
        found.graph.initializer[0].dims.extend(dims)
        with pytest.raises(InvalidFile, match="'w'"):
            assemble(b"", found, folder)

    def test_a_constant_and_a_graph_inside_a_node_may_not_reach_outside_either(self, folder: Path) -> None:
        far = outside("../w.bin").graph.initializer[0]
        branch = helper.make_graph([], "b", [], [value("w", None)], [far])
        yes = node("Constant", "", "yes", value=numpy_helper.from_array(np.array(True)))
        for hidden in (
            [node("Constant", "", "w", value=far)],
            [yes, node("If", "yes", "w", then_branch=branch, else_branch=branch)],
        ):
            found = model([*hidden, *LINEAR, node("Identity", "s", "scores")], [])
            with pytest.raises(InvalidFile, match=r"'\.\./w\.bin'"):
                assemble(b"", found, folder)

    def test_many_weights_from_one_file_are_no_more_than_a_file_may_hold(self, folder: Path) -> None:
        with (folder / "huge.bin").open("wb") as huge:
            huge.truncate(MAX_BYTES)
        found = outside("huge.bin")
        found.graph.initializer[0].dims[0] = MAX_BYTES // 4 // 10
        found.graph.initializer.append(found.graph.initializer[0])
        with pytest.raises(InvalidFile, match=f"{MAX_BYTES:,}"):
            assemble(b"x" * 100, onnx.ModelProto(graph=found.graph), folder)


HUGE = numbers("h", 200_000, 200_000)
WIDER = [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=1) for i in range(34)]
BOMBS: dict[str, Callable[[], onnx.ModelProto]] = {
    "a constant": lambda: adding([node("ConstantOfShape", "h", "big")], HUGE),
    "a number made larger": lambda: adding([node("ReduceMax", "f", "f1"), node("Expand", "f1 h", "big")], HUGE),
    "padding": lambda: adding([node("Pad", "image p", "big")], numbers("p", *[0, 0, 10**6, 10**6] * 2)),
    "doubled 34 times": lambda: adding([node("Flatten", "image", "c0"), *WIDER, node("Identity", "c34", "big")]),
    "a range": lambda: adding(
        [node("Range", "a e o", "r"), node("Cast", "r", "big", to=1)],
        *(numpy_helper.from_array(np.array(v, np.int64), name) for name, v in (("a", 0), ("e", 10**12), ("o", 1))),
    ),
}  # fmt: skip


class TestBombs:
    @pytest.mark.parametrize("name", BOMBS)
    def test_memory_is_bounded(self, name: str) -> None:
        assert "more memory" in refusal(BOMBS[name]())

    def test_time_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admission, "SECONDS", 1)
        square = numpy_helper.from_array(np.eye(2000, dtype=np.float32), "e0")
        products = [node("MatMul", f"e{i} e{i}", f"e{i + 1}") for i in range(2000)]
        assert "more than 1 seconds" in refusal(adding([*products, node("Identity", "e2000", "big")], square))

    def test_functions_that_grow_when_they_are_written_out(self) -> None:
        assert "16,777,218 operators" in refusal(calls(24, last="Identity"))
        assert admit(calls(5, last="Identity").SerializeToString(), load("digits")).batch == 64

    def test_functions_that_call_themselves(self) -> None:
        assert "calls itself" in refusal(calls(3, last="F1"))

    def test_functions_in_functions_without_end(self) -> None:
        assert "deep" in refusal(calls(5000, last="Identity"))

    @pytest.mark.parametrize("turns", [10_001, 2**60, None])
    def test_loops_without_an_end_in_sight(self, turns: int | None) -> None:
        assert "Loop" in refusal(turning(turns))

    def test_a_loop_of_few_turns_is_measured(self) -> None:
        content = turning(3).SerializeToString()
        assert admit(content, load("digits")).content == content


class TestWhatIsNoClassifier:
    @pytest.mark.parametrize("length", [0, 1, 10, 100, -1])
    def test_a_part_of_a_file(self, length: int) -> None:
        assert "cannot load" in refusal(linear().SerializeToString()[:length])

    def test_operators_that_onnx_runtime_does_not_have(self) -> None:
        sentence = refusal(linear(node("Evil", "s", "scores", domain="com.evil"), domains=("com.evil",)))
        assert "'Evil'" in sentence and "'com.evil'" in sentence

    def test_operators_of_onnx_runtime_are_measured(self) -> None:
        gelu = linear(node("Gelu", "s", "scores", domain="com.microsoft"), domains=("com.microsoft",))
        admit(gelu.SerializeToString(), load("digits"))

    def test_a_graph_that_runs_in_circles(self) -> None:
        circle = [node("Add", "s b", "a"), node("Add", "s a", "b"), node("Identity", "b", "scores")]
        assert "acyclic" in refusal(model([*LINEAR, *circle], [W]))

    def test_a_second_input(self) -> None:
        two = linear(node("Add", "s t", "scores"), inputs=[IMAGE, value("t", [1])])
        assert refusal(two) == "The file must need one input, the images, not 2 ('image', 't')."

    def test_no_input(self) -> None:
        none = model([node("Identity", "w", "scores")], [W])
        del none.graph.input[:]
        assert "not 0 (none)" in refusal(none)

    @pytest.mark.parametrize("kind", ["FLOAT16", "UINT8", "DOUBLE", "STRING"])
    def test_images_of_another_type(self, kind: str) -> None:
        cast = [node("Cast", "image", "x", to=1), node("Flatten", "x", "f"), node("MatMul", "f w", "scores")]
        sentence = refusal(model(cast, [W], inputs=[value("image", ["n", 1, 8, 8], TensorProto.DataType.Value(kind))]))
        assert "must take images as float32 [images, 1, 8, 8]; its input 'image' is" in sentence
        assert {"DOUBLE": "float64"}.get(kind, kind.lower()) in sentence

    def test_channels_last(self) -> None:
        sentence = refusal(linear(inputs=[value("image", ["n", 8, 8, 1])]))
        assert "float32 [n, 8, 8, 1], with its channels last" in sentence

    @pytest.mark.parametrize("shape", [["n", 8, 8], ["n", 2, 8, 8], ["n", 1, 8, 9]], ids=str)
    def test_images_of_another_shape(self, shape: list[int | str]) -> None:
        nodes = [node("Reshape", "image r", "f"), node("MatMul", "f w", "scores")]
        found = model(nodes, [W, numbers("r", -1, 64)], inputs=[value("image", shape)])
        assert f"its input 'image' is float32 {shape}.".replace("'n'", "n") in refusal(found)

    @pytest.mark.parametrize("kind", ["INT64", "BOOL", "STRING"])
    def test_answers_that_are_no_scores(self, kind: str) -> None:
        number = TensorProto.DataType.Value(kind)
        cast = linear(node("Cast", "s", "scores", to=number), outputs=[value("scores", ["n", 10], number)])
        assert f"its first output 'scores' is {kind.lower()} [n, 10]" in refusal(cast)

    def test_other_shapes_than_a_row_of_scores_an_image(self) -> None:
        assert "[images, 10] scores, not [1, 1]" in refusal(linear(node("ReduceMax", "s", "scores", axes=None)))
        joined = linear(node("Flatten", "s", "scores", axis=0)).SerializeToString()  # right for one image alone
        with pytest.raises(InvalidFile, match=r"\[images, 10\] scores, not \[1, 640\] for 64 images"):
            measure_file(joined, load("digits"))

    def test_too_many_images_at_once(self) -> None:
        assert "100,000 images at once" in refusal(linear(inputs=[value("image", [100_000, 1, 8, 8])]))

    def test_what_is_no_plain_file(self, tmp_path: Path) -> None:
        for given in (Path("/dev/zero"), tmp_path):
            assert "not a file but a folder, a device or a pipe" in refusal(given)
        with (tmp_path / "long.onnx").open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        assert f"{MAX_BYTES + 1:,} bytes" in refusal(tmp_path / "long.onnx")


class TestFixedBatches:
    @pytest.mark.parametrize("batch", [1, 7, 1000])
    def test_all_images_are_answered(self, batch: int) -> None:
        data = load("digits")
        fixed = linear(inputs=[value("image", [batch, 1, 8, 8])], outputs=[value("scores", [batch, 10])])
        found = measure_file(fixed.SerializeToString(), data, baseline=linear().SerializeToString())
        assert (found.n_test, found.accuracy.drop, found.accuracy.value) == (359, 0.0, found.accuracy.baseline)
        assert len(set(found.predictions.images.tolist())) == 359
        assert found.latency is not None and found.latency.batch == found.summary()["latency_images"] == batch


class TestScoresThatNameNoClass:
    @pytest.mark.parametrize(
        ("last", "stored", "count"),
        [
            ([node("Sub", "s s", "z"), node("Div", "z z", "scores")], [], 359),
            ([node("Mul", "s inf", "scores")], [numpy_helper.from_array(np.array(np.inf, np.float32), "inf")], 359),
            ([node("Sqrt", "s", "scores")], [], 359),
        ],
        ids=["NaN", "infinite", "some NaN"],
    )
    def test_are_refused(self, last: list[Node], stored: list[TensorProto], count: int) -> None:
        data = load("digits")
        with pytest.raises(InvalidFile, match=f"{count} of 359 test images with NaN or infinite scores"):
            measure_file(model([*LINEAR, *last], [W, *stored]).SerializeToString(), data)

    def test_a_class_that_is_ruled_out_is_no_such(self) -> None:
        rule = numpy_helper.from_array(np.array([0, 0, -np.inf, *[0] * 7], np.float32), "rule")
        found = measure_file(
            model([*LINEAR, node("Add", "s rule", "scores")], [W, rule]).SerializeToString(), load("digits")
        )
        assert 2 not in found.predictions.classes
        assert np.isfinite(found.predictions.confidences).all()

    @pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
    def test_other_floats_are_scores_too(self, kind: int) -> None:
        cast = linear(node("Cast", "s", "scores", to=kind), outputs=[value("scores", ["n", 10], kind)])
        found, plain = (measure_file(each.SerializeToString(), load("digits")) for each in (cast, linear()))
        assert np.mean(found.predictions.classes == plain.predictions.classes) > 0.99
        assert np.isfinite(found.predictions.confidences).all()


@pytest.mark.parametrize(("status", "failed", "sentence"), [
    (-11, None, "ONNX Runtime crashes on the file (SIGSEGV)."),
    (1, ("ValueError", "odd"), "The file cannot be read: ValueError: odd."),
    (1, None, "The file cannot be read: no reason given."),
    (None, None, "The file did not process an image within 300 seconds."),
    (86, None, "The file takes more than 4 GiB of memory to load."),
    (-24, None, "The file takes more than 10 seconds to load and classify an image."),
])  # fmt: skip
def test_a_broken_trial_is_a_sentence(status: int | None, failed: tuple[str, str] | None, sentence: str) -> None:
    assert admission.refusal(Ending(status, failed)) == sentence


@pytest.mark.parametrize("data", [{}, {"size_bytes": "1", "file_hash": "", "grown_bytes": 1, "channels": 1}], ids=str)
def test_a_trial_that_answers_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, data: dict[str, object]
) -> None:
    monkeypatch.setattr(confined, "read", lambda *_: (data, b""))
    assert refusal(linear()) == "The file cannot be read: no reason given."


def test_a_trial_loads_no_torch() -> None:
    code = "import before_compression, sys, compression.measure.trial; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(confined.ROOT))
