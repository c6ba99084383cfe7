"""Small files: every network and encoding equals its unpacked twin bit by bit; the books of each file balance."""

import collections
import gzip
import json

import numpy as np
import onnx
import onnx.reference
import pytest
import scipy.stats
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import compression.export as exporting
from compression import models
from compression.data import load
from compression.errors import UnknownName
from compression.export import export, formats, pack, snippets
from compression.export.decoders import DOMAIN, needed
from compression.export.ledger import ROLES, entropy, ledger, over_the_wire
from compression.host.onnx_runtime import optimized, session
from compression.models.catalog import ARCHITECTURES
from compression.network.graph import layers
from compression.network.parametrizations import ActivationQuantizer, Codebook, Mask, WeightQuantizer, attach
from compression.network.quantized_values import quantized_values
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare, simulate
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from compression.techniques.quantization.activations import insert_quantizers_
from tests.networks import traced_tiny

SHAPE = (1, 8, 8)
DECODERS = {
    "BitShift",
    "BitwiseAnd",
    "CumSum",
    "Gather",
    "ScatterElements",
    "Mul",
    "Cast",
    "Slice",
    "Unsqueeze",
    "Round",
}
RECIPES = [
    Recipe(steps=(Quantize(weight_bits=4),), calibration_images=16),
    Recipe(steps=(Prune(sparsity=0.93, criterion="magnitude"), Quantize(weight_bits=3)), calibration_images=16),
    Recipe(
        steps=(Prune(sparsity=0.6, criterion="magnitude"), Quantize(weight_bits=5, activation_bits=32)),
        calibration_images=16,
    ),
    Recipe(steps=(Prune(sparsity=0.97, criterion="magnitude"),), calibration_images=16),
]


def random_norms(network):
    """Batch norms as training leaves them, scales of both signs and one of zero included."""
    torch.manual_seed(1)
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.weight, 1, 0.5)
        torch.nn.init.normal_(norm.bias, 0, 0.2)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        norm.weight.data[1] = 0
    return network


EACH_KIND = ("lenet5", "resnet8")


@pytest.fixture(
    scope="module",
    params=[name if name in EACH_KIND else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES],
)
def any_network(request):
    network = random_norms(models.build(request.param, input_shape=SHAPE, classes=10))
    return prepare(network, load("digits"), calibration_images=16)


def run(model: bytes, images: np.ndarray) -> np.ndarray:
    return session(model).run(None, {"image": images})[0]


def some_images(count: int = 8, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def test_every_network_equals_its_unpacked_twin(any_network):
    for recipe in RECIPES:
        graph = simulate(any_network, recipe)
        packed, twin = export(graph, SHAPE), export(graph, SHAPE, packed=False)
        assert np.array_equal(run(packed.onnx, some_images()), run(twin.onnx, some_images())), recipe
        books = ledger(packed)
        assert books.size_bytes == len(packed.onnx) < len(twin.onnx)


def quantized(bits: int, activation_bits: int, *, empty: bool) -> torch.fx.GraphModule:
    """`tiny` with random weights in `bits`, four in five zero; the second layer all zero where `empty`."""
    graph = traced_tiny()
    torch.manual_seed(0)
    for number, layer in enumerate(layers(graph).values()):
        keep = torch.rand(layer.weight.shape) < (0 if empty and number == 1 else 0.2)
        attach(layer, Mask(keep))
        if bits < 32:
            attach(
                layer,
                WeightQuantizer(layer.weight.detach().abs().flatten(1).amax(1).clamp_min(0.01) / 2 ** (bits - 1), bits),
            )
    return in_8_bits(graph) if activation_bits == 8 else graph


def in_8_bits(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The graph with a quantizer at every value that may have one."""
    carried = quantized_values(graph)
    quantizers = {name: ActivationQuantizer(0.02, 100 if name == "x" else 0) for name in set(carried.values())}
    insert_quantizers_(graph, carried, quantizers)
    return graph


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("activation_bits", [8, 32])
@pytest.mark.parametrize("bits", [2, 3, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 6)), 8, 32])
@pytest.mark.parametrize("kind", ["plain", "dense", "mask", "delta"])
def test_every_encoding_equals_its_unpacked_twin_and_is_folded(
    kind, bits, activation_bits, empty, monkeypatch, tmp_path
):
    if (kind == "dense" and bits >= 8) or (bits == 32 and activation_bits == 8):
        pytest.skip("no such file")
    graph = quantized(bits, activation_bits, empty=empty)
    twin = export(graph, SHAPE, packed=False).onnx
    monkeypatch.setattr(
        exporting, "choose_encodings", lambda found, packed: {n: of_kind(layer, kind) for n, layer in found.items()}
    )
    packed = export(graph, SHAPE)
    assert {encoding.kind for encoding in packed.encodings.values()} == {kind}
    assert np.array_equal(run(packed.onnx, some_images()), run(twin, some_images()))
    optimized(packed.onnx, str(tmp_path / "optimized.onnx"))
    found = collections.Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert not DECODERS & set(found), found
    books = ledger(packed)
    assert sum(getattr(books, role) for role in ROLES) + books.graph + books.functions == len(packed.onnx)


@pytest.mark.parametrize("books", [1, 2])
@pytest.mark.parametrize("activation_bits", [8, 32])
@pytest.mark.parametrize("entries", [2, pytest.param(16, marks=pytest.mark.slow), 200])
@pytest.mark.parametrize("kind", ["codebook-dense", "codebook-mask", "codebook-delta"])
def test_every_codebook_encoding_equals_its_unpacked_twin_and_is_folded(
    kind, entries, activation_bits, books, monkeypatch, tmp_path
):
    graph = with_codebooks(entries, activation_bits, books, zeros=0 if kind == "codebook-dense" else 0.7)
    twin = export(graph, SHAPE, packed=False).onnx
    monkeypatch.setattr(
        exporting, "choose_encodings", lambda found, packed: {n: with_book(layer, kind) for n, layer in found.items()}
    )
    packed = export(graph, SHAPE)
    assert all(e.kind == kind or (entries == 200 and e.kind == "plain") for e in packed.encodings.values())
    assert np.array_equal(run(packed.onnx, some_images()), run(twin, some_images()))
    optimized(packed.onnx, str(tmp_path / "optimized.onnx"))
    found = collections.Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert not (DECODERS | {"GatherElements"}) & set(found), found
    books_of_file = ledger(packed)
    assert sum(getattr(books_of_file, role) for role in ROLES) + books_of_file.graph + books_of_file.functions == len(
        packed.onnx
    )
    assert books_of_file.codebooks > 0 or entries == 200


def with_codebooks(entries: int, activation_bits: int, books: int, *, zeros: float) -> torch.fx.GraphModule:
    """`tiny` with random weights among `entries`, a share `zeros` of them masked, all of the second layer's."""
    graph = traced_tiny()
    torch.manual_seed(0)
    for number, layer in enumerate(layers(graph).values()):
        keep = torch.rand(layer.weight.shape) >= (1 if number == 1 and zeros else zeros)
        attach(layer, Mask(keep))
        each = torch.stack([torch.randperm(254)[:entries] - 127.0 for _ in range(books)]).sort(1).values
        attach(layer, Codebook(each, layer.weight.detach().abs().flatten(1).amax(1) / 127, keep=keep))
    return in_8_bits(graph) if activation_bits == 8 else graph


def with_book(layer, kind: str) -> pack.Option:
    """An encoding of that kind with all the books that the layer has; plain where books do not pay."""
    found = pack.options(layer.values, layer.bits, layer.grid, layer.books)
    fitting = [o for o in found if o.kind == kind and o.distance_bits in (0, 3)]
    return max(fitting, key=lambda o: o.books, default=found[0])


def of_kind(layer, kind: str) -> pack.Option:
    """An encoding of that kind; of distances, those three bits wide."""
    return next(
        o for o in pack.options(layer.values, layer.bits, layer.grid) if o.kind == kind and o.distance_bits in (0, 3)
    )


@pytest.mark.parametrize("kind", ["dense", "mask", "delta"])
def test_another_engine_gives_the_same_predictions(kind, monkeypatch):
    monkeypatch.setattr(
        exporting, "choose_encodings", lambda found, packed: {n: of_kind(layer, kind) for n, layer in found.items()}
    )
    model = export(quantized(4, 8, empty=True), SHAPE).onnx
    images = some_images(64)
    other = onnx.reference.ReferenceEvaluator(model).run(None, {"image": images})[0]
    assert (other.argmax(1) == run(model, images).argmax(1)).mean() >= 0.95
    np.testing.assert_allclose(other, run(model, images), atol=0.05 * np.ptp(other))


@pytest.mark.parametrize("activation_bits", [8, 32])
def test_all_but_the_codes_of_a_resnet_20_takes_8_5_kilobytes(activation_bits):
    shape = (1, 28, 28)
    network = random_norms(models.build("resnet20", input_shape=shape, classes=10))
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)  # scales that fit float16, as those of trained networks do
    graph = trace(network, shape)
    for layer in layers(graph).values():
        attach(layer, WeightQuantizer(layer.weight.detach().abs().flatten(1).amax(1) / 7, 4))
    if activation_bits == 8:
        carried = quantized_values(graph)
        owners = sorted(set(carried.values()))
        quantizers = {
            name: ActivationQuantizer(0.01 * (1 + i), 110 if name == "x" else 0) for i, name in enumerate(owners)
        }
        insert_quantizers_(graph, carried, quantizers)
    exported = export(graph, shape)
    assert {encoding.kind for encoding in exported.encodings.values()} == {"dense"}
    assert len(exported.onnx) - ledger(exported).payload <= 8500


@given(
    hnp.arrays(np.int8, st.integers(1, 300), elements=st.integers(-7, 7)),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_distances_cost_what_a_slow_count_says(values, share, seed):
    values = values * (np.random.default_rng(seed).random(len(values)) < share)
    values = values.astype(np.int8).reshape(1, -1)
    for option in (o for o in pack.options(values, 4) if o.kind == "delta"):
        entries, gap = 0, 0
        for value in values.ravel():
            if value:
                entries += 1 + gap // (2**option.distance_bits - 1)
                gap = 0
            else:
                gap += 1
        entries = max(entries, 1)
        assert option.payload == (
            -(-entries * option.distance_bits // 8),
            -(-max(np.count_nonzero(values), 1) * 4 // 8),
        )


def test_a_function_is_used_only_where_it_pays():
    """A small layer is cheaper as plain bytes; thousands of weights are worth a decoder, which it then shares."""
    rng = np.random.default_rng(0)

    def chosen(*sizes: int) -> list[str]:
        found = [pack.options(rng.integers(-7, 8, (size, 1)).astype(np.int8), 4) for size in sizes]
        return [o.kind for o in pack.choose(found, lambda o: sum(o.payload) + 10, needed)]

    assert chosen(100) == ["plain"]
    assert chosen(100, 5000) == ["dense", "dense"]


@given(hnp.arrays(np.int8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=8), elements=st.integers(-7, 7)))
def test_entropy_is_scipys(codes):
    counts = np.unique(codes, return_counts=True)[1]
    assert entropy(codes) == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-9)


@pytest.fixture(scope="module")
def candidate():
    prepared = prepare(models.load("lenet5", "digits"), load("digits"), calibration_images=64)
    return prepared, compress_prepared(prepared, Recipe(steps=(Prune(sparsity=0.8), Quantize(weight_bits=4))))


def test_the_books_of_a_file_balance(candidate):
    """Against a count of the file's own tensors, role by role."""
    _, found = candidate
    books = found.ledger
    assert sum(getattr(books, role) for role in ROLES) + books.graph + books.functions == len(found.onnx)
    model = onnx.load_from_string(found.onnx)
    assert sum(getattr(books, role) for role in ROLES) <= sum(len(t.raw_data) for t in model.graph.initializer)
    assert books.functions >= sum(f.ByteSize() for f in model.functions)
    assert [layer.payload + layer.positions for layer in books.layers] == [report.size_bytes for report in found.layers]
    assert books.entropy_bytes == pytest.approx(sum(layer.entropy_bits * layer.weights for layer in books.layers) / 8)
    assert books.entropy_bytes < books.payload + books.positions
    assert books.graph > 0 and books.functions > 0


def test_a_float_file_has_no_entropy_of_codes(candidate):
    prepared, _ = candidate
    assert prepared.baseline.ledger.entropy_bytes is None
    assert prepared.baseline.ledger.functions == 0


def test_over_the_wire_is_what_the_tools_give_back(candidate):
    content = candidate[1].onnx
    found = over_the_wire(content)
    assert found.gzip == len(gzip.compress(content, 9, mtime=0)) < len(content) + 30
    assert found.zstd == len(zstandard.compress(content, 19))


def test_equal_operators_are_written_once_and_nothing_else_changes():
    """Twenty equal blocks become calls; the functions need not be nested deeper than a few levels."""
    graph = trace(models.build("resnet20", input_shape=SHAPE, classes=10), SHAPE)
    packed, twin = (onnx.load_from_string(export(graph, SHAPE, packed=p).onnx) for p in (True, False))
    assert len(packed.graph.node) < len(twin.graph.node) / 2 and not twin.functions
    calls = collections.Counter(
        node.op_type for owner in (packed.graph, *packed.functions) for node in owner.node if node.domain == DOMAIN
    )
    assert all(calls[function.name] >= 2 for function in packed.functions)


@pytest.mark.parametrize("name", formats.FORMATS)
def test_documented_lines_load_each_format(name, candidate, tmp_path, monkeypatch):
    prepared, found = candidate
    graph = simulate(prepared, found.recipe)
    formats.write(name, formats.Compressed(graph, SHAPE, found.recipe, "lenet5"), tmp_path / "net")
    monkeypatch.chdir(tmp_path)
    lines = snippets.snippet(name, "net")
    assert len([line for line in lines.splitlines() if not line.startswith("import")]) <= 3
    images = prepared.data.normalize(prepared.data.test.images[:100])
    names = {"images": images.numpy()}
    exec(lines, names)
    if name == "safetensors":
        for layer, expected in layers(graph).items():
            assert torch.equal(names["model"].get_submodule(layer).weight, expected.weight)
        assert Recipe.from_dict(json.loads((tmp_path / "net.json").read_text())["recipe"]) == found.recipe
    else:
        expected = run(found.onnx, images.numpy())
        assert np.array_equal(names["scores"].argmax(1), expected.argmax(1))
        assert name == "ort" or np.array_equal(names["scores"], expected)


def test_lines_for_other_languages_name_file_and_shape():
    for language in snippets.LANGUAGES:
        lines = snippets.foreign_snippet(language, "net", (3, 32, 32))
        assert "net.onnx" in lines and "1, 3, 32, 32" in lines and "{{" not in lines
    with pytest.raises(UnknownName, match="known are C\\+\\+, JavaScript"):
        snippets.foreign_snippet("COBOL", "net", SHAPE)


def test_every_format_has_its_lines():
    assert list(snippets.PYTHON) == list(formats.FORMATS)


def test_unknown_format_lists_the_known_ones(candidate, tmp_path):
    with pytest.raises(UnknownName, match="known are onnx, qdq, ort, safetensors"):
        snippets.snippet("tflite", "net")
    with pytest.raises(UnknownName, match="tflite"):
        formats.write("tflite", formats.Compressed(candidate[0].dense, SHAPE, Recipe()), tmp_path / "net")
