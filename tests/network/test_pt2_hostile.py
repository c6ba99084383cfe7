"""Archives that somebody crafted or damaged: nothing in them runs, and each is refused with one sentence."""

import contextlib
import copy
import io
import json
import pickle
import random
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compression.errors import InvalidFile, InvalidModel, UserError
from compression.network.pt2 import load_pt2
from compression.network.tracing import trace
from tests.archives import GRAPH, SAMPLES, SHAPE, WEIGHTS, Small, changed, entries, node, save, write

Held = dict[str, bytes]


class Evil:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return type(self.mark).touch, (self.mark,)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """What the archive of a plain network holds."""
    torch.manual_seed(0)
    return entries(save(Small().eval(), tmp_path_factory.mktemp("plain") / "net.pt2"))


def spelling(held: Held, mark: Path) -> Held:
    """PyTorch finds entries whatever their case."""
    return {name: content for name, content in held.items() if name != SAMPLES} | {
        SAMPLES.upper(): pickle.dumps(Evil(mark))
    }


def samples(held: Held, mark: Path) -> Held:
    """PyTorch unpickles sample inputs that are no plain tensors."""
    return held | {SAMPLES: pickle.dumps(Evil(mark))}


def guards(held: Held, mark: Path) -> Held:
    """PyTorch puts guards into source text and runs it."""
    code = (
        f'True #\n, "x")\n  import pathlib\n  pathlib.Path({str(mark)!r}).touch()\ndef g(*args):\n  torch._assert(True'
    )
    return changed(held, lambda record: record.update(guards_code=[code]))


def symbols(held: Held, mark: Path) -> Held:
    """PyTorch evaluates symbolic expressions as Python."""
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"

    def change(record: Any) -> None:
        values = record["graph_module"]["graph"]["tensor_values"]
        values["linear"]["sizes"][0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 1}}}

    return changed(held, change)


def arguments(held: Held, mark: Path) -> Held:
    """PyTorch imports any module that the layout of arguments names."""
    mark.with_name("module_that_marks.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    context = json.dumps({"__enum__": True, "fqn": "module_that_marks:Kind", "name": "a"})
    layout = json.dumps([1, {"type": "builtins.tuple", "context": context, "children_spec": []}])
    return changed(held, lambda r: r["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=layout))


def files(held: Held, mark: Path) -> Held:
    """PyTorch has an operator that makes files."""
    given = {"filename": {"as_string": str(mark)}, "shared": {"as_bool": True}, "size": {"as_int": 10}}
    return changed(held, node("torch.ops.aten.from_file.default", given, "mapped"))


def weights(held: Held, mark: Path) -> Held:
    """PyTorch unpickles weights where the archive says so."""
    held = held | {"data/weights/weight_0": pickle.dumps(Evil(mark))}
    return changed(held, lambda record: record["config"]["conv.weight"].update(use_pickle=True), WEIGHTS)


ATTACKS = (spelling, samples, guards, symbols, arguments, files, weights)


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules beside the mark can be imported, as those of an app can be by its own process."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("module_that_marks", None)


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs_that_a_stranger_wrote(attack: Callable[[Held, Path], Held], held: Held, tmp_path: Path) -> None:
    path = write(tmp_path / "evil.pt2", attack(held, tmp_path / "mark"))
    with contextlib.suppress(UserError):
        trace(load_pt2(path), SHAPE)
    assert not (tmp_path / "mark").exists()


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_archive_harms_whoever_uses_the_reader_of_pytorch(
    attack: Callable[[Held, Path], Held], held: Held, tmp_path: Path
) -> None:
    path = write(tmp_path / "evil.pt2", attack(held, tmp_path / "mark"))
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.load(path).module()(torch.zeros(1, *SHAPE))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", [
    "DATA/SAMPLE_INPUTS/MODEL.PT", "data/sample_inputs/other.pt", "data/weights/model.pt", "data/constants/model.pt",
    "data/constants/opaque_obj_0", "data/constants/custom_obj_0", "data/weights/weight_x", "data/weights/../weight_0",
    "data/aotinductor/model/kernel.so", "models/other.json", "models/model.json.bak", "extra/../x", "extra/a/b", "",
    "Archive_Format", "xl_model_weights/model_param_config.json", "version",
])  # fmt: skip
def test_entries_that_are_no_data_of_a_network_are_refused(name: str, held: Held, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile) as refused:
        load_pt2(write(tmp_path / "x.pt2", held | {name: b"x"}))
    reason = f"it holds {name or 'net/'!r}, which would run code to load or is not part of a network"
    assert reason in str(refused.value)


def without(name: str) -> Callable[[Held], Held]:
    return lambda held: {each: content for each, content in held.items() if each != name}


def tensor(**described: Any) -> Callable[[Held], Held]:
    """Another description of the first weight, of shape [4, 1, 3, 3] in 144 bytes."""
    lengths = {"sizes", "strides"}
    described = {
        name: [{"as_int": n} for n in value] if name in lengths else value for name, value in described.items()
    }
    return lambda held: changed(held, lambda r: r["config"]["conv.weight"]["tensor_meta"].update(described), WEIGHTS)


def config(**described: Any) -> Callable[[Held], Held]:
    return lambda held: changed(held, lambda record: record["config"]["conv.weight"].update(described), WEIGHTS)


def graph(change: Callable[[Any], None]) -> Callable[[Held], Held]:
    return lambda held: changed(held, change)


def first(**described: Any) -> Callable[[Held], Held]:
    """Another first node, a convolution."""
    return graph(lambda record: record["graph_module"]["graph"]["nodes"][0].update(described))


def called(target: str, **given: Any) -> Callable[[Held], Held]:
    """One more node."""
    return graph(node(target, given, "more"))


@pytest.mark.parametrize(("change", "reason"), [
    (without("archive_format"), "it holds no 'archive_format'"),
    (without(GRAPH), "it holds no 'models/model.json'"),
    (without("data/weights/weight_0"), "it holds no 'data/weights/weight_0'"),
    (lambda held: held | {"byteorder": b"big"}, "its byteorder is b'big', not b'little'"),
    (lambda held: held | {"archive_version": b"1"}, "its archive_version is b'1', not b'0'"),
    (lambda held: held | {GRAPH: b"\xff"}, "its models/model.json is not valid JSON"),
    (lambda held: held | {GRAPH: b"[" * 200_000}, "its models/model.json is nested too deeply"),
    (lambda held: held | {GRAPH: b"7" * 9_000}, "its models/model.json is not valid JSON"),
    (lambda held: held | {GRAPH: b"[]"}, "what should have a 'schema_version' is [], not a record"),
    (graph(lambda r: r["schema_version"].update(major=9)), "its schema is version 9; version 8 is read"),
    (graph(lambda r: r.pop("graph_module")), "'graph_module' is missing in {"),
    (config(use_pickle=True), "its tensor 'conv.weight' is pickled and would run code to load; raw ones are read"),
    (config(path_name="../../secret"), "it holds no 'data/weights/../../secret'"),
    (tensor(sizes=[4, 1, 3, 4], strides=[12, 12, 4, 1]), "'conv.weight' reads 48 numbers where 36 are stored"),
    (tensor(storage_offset={"as_int": 1}), "'conv.weight' reads 37 numbers where 36 are stored"),
    (tensor(strides=[9, 9, 3, -1]), "one of its strides is -1; 0 to 1099511627776 is possible"),
    (tensor(sizes=[4, 1, 3], strides=[9, 9, 3, 1]), "'conv.weight' has 3 axes and 4 strides"),
    (tensor(sizes=[1 << 30, 1 << 30], strides=[0, 0]), "is larger than the file"),
    (tensor(sizes=[1 << 39, 0], strides=[0, 0]), "is larger than the file"),
    (tensor(sizes=[1] * 9, strides=[1] * 9), "a tensor has 9 axes; up to 8 are possible"),
    (tensor(sizes=[True, 1, 3, 3]), "one of its sizes is True, not a whole number"),
    (tensor(layout=1), "'conv.weight' is sparse; dense ones are read"),
    (tensor(dtype="float"), "a number type is 'float', not a whole number"),
    (first(outputs=[{"as_tensor": {"name": "p_conv_weight"}}]), "its value 'p_conv_weight' is made twice"),
    (first(outputs=[]), "aten.conv2d.default gives 1 values, not 0"),
    (first(inputs=[]), "aten.conv2d.default is called without 'input'"),
    (called("torch.ops.aten.relu.default", self={"as_tensor": {"name": "linear"}}),
     "its value 'linear' is read before it is made"),
    (called("torch.ops.aten.relu.default", self={"as_string": "x"}), "takes Tensor as 'self', not 'x'"),
    (called("torch.ops.aten.relu.default", self={"as_int": 1 << 63}), "a whole number is 9223372036854775808;"),
    (called("torch.ops.aten.relu.default", self={"as_float": "nan()"}), "a float is 'nan()'"),
    (called("torch.ops.aten.relu.default", me={"as_int": 1}), "aten.relu.default takes no argument 'me'"),
])  # fmt: skip
def test_what_torch_export_does_not_write_is_refused_with_a_reason(
    change: Callable[[Held], Held], reason: str, held: Held, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.pt2", change(held))
    with pytest.raises(InvalidFile) as refused:
        load_pt2(path)
    assert str(refused.value).startswith(f"'{path}' is not a network saved by torch.export.save: ")
    assert reason in str(refused.value)


def named(name: str) -> Callable[[Held], Held]:
    """Another name for the tensor of the first weight."""

    def change(held: Held) -> Held:
        held = changed(held, lambda r: r["config"].update({name: r["config"]["conv.weight"]}), WEIGHTS)
        spec = {"parameter": {"arg": {"name": "p_conv_weight"}, "parameter_name": name}}
        return changed(held, lambda r: r["graph_module"]["signature"]["input_specs"].__setitem__(0, spec))

    return change


HUGE = {"as_ints": [1_000_000, 1_000_000]}
X = {"as_tensor": {"name": "x"}}


@pytest.mark.parametrize(("change", "reason"), [
    (called("torch.os.system", command={"as_string": "true"}), "calls 'torch.os.system', which is none of"),
    (called("torch.ops.aten.save.default", item=X), "calls 'torch.ops.aten.save.default', which is none of"),
    (called("torch.ops.aten.empty.memory_format", size=HUGE), "calls 'torch.ops.aten.empty.memory_format', which is"),
    (called("torch.ops.aten.add.out", self=X, other=X, out=X), "calls 'torch.ops.aten.add.out', which is none of"),
    (called("torch.ops.aten.__class__.default"), "calls 'torch.ops.aten.__class__.default', which is none of"),
    (called("torch.ops.aten.view.dtype", self=X), "calls 'torch.ops.aten.view.dtype', which is none of"),
    (called("_operator.pow", a={"as_int": 9}, b={"as_int": 9}), "calls '_operator.pow', which is none of"),
    (called("torch.ops.higher_order.while_loop"), "calls 'torch.ops.higher_order.while_loop', which is none of"),
    (called("torch.ops.aten.relu.default", self={"as_graph": {}}), "passes 'as_graph' to an operator; numbers and"),
    (called("torch.ops.aten.zeros.default", size=HUGE), "makes a value of 4000000000000 bytes; up to 1073741824 are"),
    (called("torch.ops.aten.arange.default", end={"as_int": 1 << 40}), "makes a value of 8796093022208 bytes;"),
    (called("torch.ops.aten.repeat.default", self=X, repeats={"as_ints": [1, 1 << 30, 1, 1]}), "makes a value of"),
    (called("torch.ops.aten.select.int", self=X, dim={"as_int": 9}, index={"as_int": 0}), "does not take batches of"),
    (first(target="torch.ops.aten.conv3d.default"), "The network does not take batches of 1×8×8 images: "),
    (tensor(dtype=9), "holds numbers of type 9 in torch.export's list"),
    (named('conv"]; import os; x["weight'), "letters, digits, - and _ between dots are allowed."),
    (named("conv.lambda"), "letters, digits, - and _ between dots are allowed."),
    (named("forward.weight"), "but 'forward' is a name that modules have already."),
    (named("__class__"), "but '__class__' is a name that modules have already."),
    (named("_program"), "but '_program' is a name that modules have already."),
    (named("conv.bias.weight"), "but 'bias' is a name that modules have already."),
])  # fmt: skip
def test_what_no_network_may_do_is_refused_with_a_reason(
    change: Callable[[Held], Held], reason: str, held: Held, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel) as refused:
        load_pt2(write(tmp_path / "x.pt2", change(held)))
    assert reason in str(refused.value)


def test_a_place_outside_of_a_stored_table_is_refused(tmp_path: Path) -> None:
    class Picks(Small):
        places: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("places", torch.tensor([0, 1, 2, 3]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(x.flatten(1)[:, :4]) + self.last.weight[:, self.places].sum()

    held = entries(save(Picks().eval(), tmp_path / "net.pt2"))
    record = json.loads(held[WEIGHTS])["config"]["places"]
    held[f"data/weights/{record['path_name']}"] = (99).to_bytes(8, "little") * 4
    with pytest.raises(InvalidModel, match="does not take batches of 1×8×8 images: index 99 is out of bounds"):
        load_pt2(write(tmp_path / "x.pt2", held))


def test_sizes_of_sizes_stay_numbers(held: Held, tmp_path: Path) -> None:
    def change(record: Any) -> None:
        nodes = record["graph_module"]["graph"]["nodes"]
        before: dict[str, Any] = {"as_int": 10**9}
        for step in range(40):
            inputs = [{"name": name, "arg": before, "kind": 1} for name in "ab"]
            outputs = [{"as_sym_int": {"as_name": f"size{step}"}}]
            nodes.insert(step, {"target": "_operator.mul", "inputs": inputs, "outputs": outputs, "metadata": {}})
            before = {"as_sym_int": {"as_name": f"size{step}"}}

    with pytest.raises(InvalidModel, match="a size above 4611686018427387904"):
        load_pt2(write(tmp_path / "x.pt2", changed(held, change)))


def test_graphs_in_graphs_and_long_ones_are_bounded(held: Held, tmp_path: Path) -> None:
    def nest(record: Any) -> None:
        inner: dict[str, Any] = {"inputs": [], "outputs": [], "nodes": []}
        for _ in range(20):
            given = [
                {"name": "", "arg": arg, "kind": 1} for arg in ({"as_bool": False}, {"as_graph": {"graph": inner}})
            ]
            target = "torch.ops.higher_order.wrap_with_set_grad_enabled"
            inner = inner | {"nodes": [{"target": target, "inputs": given, "outputs": []}]}
        record["graph_module"]["graph"]["nodes"][:0] = inner["nodes"]

    def lengthen(record: Any) -> None:
        graph = record["graph_module"]["graph"]
        for step in range(20_001):
            output = [{"as_tensor": {"name": f"more{step}"}}]
            given = [{"name": "self", "arg": X, "kind": 1}]
            graph["nodes"].append({"target": "torch.ops.aten.relu.default", "inputs": given, "outputs": output})

    with pytest.raises(InvalidFile, match="its graphs stand in one another more than 8 times"):
        load_pt2(write(tmp_path / "x.pt2", changed(held, nest)))
    with pytest.raises(InvalidModel, match="The network has more than 20000 operators"):
        load_pt2(write(tmp_path / "x.pt2", changed(held, lengthen)))


def test_archives_that_are_packed_doubled_or_cut_are_refused(held: Held, tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    with pytest.raises(InvalidFile, match="is compressed or encrypted; entries are stored as they are"):
        load_pt2(write(path, held | {"data/weights/weight_0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED))
    for twin in (GRAPH, "data/weights/weight_0"):
        write(path, held)
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(f"net/{twin}", held[twin])
        with pytest.raises(InvalidFile, match=f"it holds '{twin}' twice"):
            load_pt2(path)
    with zipfile.ZipFile(write(path, held), "a") as archive:
        archive.writestr("other/byteorder", b"little")
    with pytest.raises(InvalidFile, match="it holds 'byteorder' twice"):
        load_pt2(path)
    content = write(path, held).read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InvalidFile, match="is not a network saved by"):
            load_pt2(path)


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 31, (1 << 63) - 1, 1 << 64, 10**30, 1e308, float("nan"), "", "x", "../x", "__class__", "\n",
    [], {}, [[]], {"as_int": 3}, {"as_tensor": {"name": "x"}}, "torch.ops.aten.zeros.default", "_operator.mul",
)  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the members of nested JSON are."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if key not in ("metadata", "tensor_values", "module_call_graph"):
            yield (*path, key)
            yield from paths(inner, (*path, key))


def mutate(record: Any, chance: random.Random) -> None:
    """Changes one member: another value, another's value, none, twice, or under another name."""
    found = list(paths(record))
    *outer, key = chance.choice(found)
    for step in outer:
        record = record[step]
    kind = chance.randrange(5)
    if kind == 0:
        del record[key]
    elif kind == 1 and isinstance(record, list):
        record.insert(key, copy.deepcopy(record[key]))
    elif kind == 2 and isinstance(record, dict):
        record[chance.choice(("as_int", "as_ints", "as_tensor", "as_none", "name", "target"))] = record.pop(key)
    elif kind == 3 and isinstance(record[key], int):
        record[key] = record[key] * chance.choice((-1, 2, 1000, 1 << 40)) + chance.choice((-1, 0, 1))
    else:
        record[key] = chance.choice(ODD)


def damaged(held: Held, chance: random.Random) -> bytes:
    """An archive with something wrong in its JSON, in an entry or in the file itself."""
    entry = chance.choice((GRAPH, GRAPH, GRAPH, WEIGHTS))
    if chance.random() < 0.8:
        held = changed(held, lambda record: mutate(record, chance), entry)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in held.items():
            archive.writestr(f"net/{name.swapcase() if chance.random() < 0.003 else name}", content)
    raw = bytearray(buffer.getvalue())
    if chance.random() < 0.2:
        for _ in range(chance.choice((1, 3, 10))):
            raw[-chance.randrange(1, min(3000, len(raw)))] = chance.randrange(256)
    return bytes(raw)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_archives_are_read_or_refused_with_one_sentence(seed: int, tmp_path: Path) -> None:
    class Blocks(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                left, right = self.conv(x).chunk(2, 1)
            return self.last(self.norm(torch.cat([left, right], 1)).view(x.size(0), 4, -1).amax(2)[:, :4])

    held, path = entries(save(Blocks().eval(), tmp_path / "net.pt2")), tmp_path / "x.pt2"
    sentences = []
    for number in range(50):
        path.write_bytes(damaged(held, random.Random(seed * 1000 + number)))
        try:
            read = load_pt2(path)
            assert isinstance(read, nn.Module)
        except UserError as error:
            sentences.append(str(error))
    assert len(sentences) > 20
    assert [text for text in sentences if not text.endswith(".") or "\n" in text or len(text) > 600] == []
