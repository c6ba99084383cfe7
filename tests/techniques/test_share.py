"""Codebooks: k-means against scikit-learn, assignment and refit against brute force, what files hold of them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from compression.calibration import divergence
from compression.data import load
from compression.errors import InvalidRecipe, InvalidSetting, UnknownName
from compression.export import pack
from compression.models import load as load_model
from compression.network.graph import batch_norm_after, layers, module_of
from compression.network.parametrizations import Codebook, Mask, attach, find, original
from compression.network.storage import stored
from compression.pipeline.compress import compress_prepared, prepare, simulate
from compression.recipe import Recipe
from compression.solvers import codebooks, rounding
from compression.solvers.codebooks import Codebooks, kmeans
from compression.solvers.rounding import Levels
from compression.steps import Prune, Quantize, Share, step
from tests.networks import tiny
from tests.solvers.test_solvers import loss, problem


@pytest.mark.parametrize("k", [2, 5, 16, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_kmeans_is_as_good_as_scikit_learns(k, weighted):
    rng = np.random.default_rng(k)
    values = np.concatenate([rng.standard_t(4, 1500), rng.normal(1.5, 0.1, 500)]).astype(np.float32)
    weights = rng.gamma(1.0, size=2000).astype(np.float32) if weighted else np.ones(2000, np.float32)
    theirs = KMeans(k, n_init=3, random_state=0).fit(values[:, None], sample_weight=weights).inertia_
    centres = kmeans(torch.from_numpy(values), torch.from_numpy(weights), k).numpy()
    ours = (weights * np.abs(values[:, None] - centres).min(1) ** 2).sum()
    assert len(centres) == k and (np.diff(centres) >= 0).all()
    assert ours <= 1.03 * theirs


def test_kmeans_with_many_centres_is_close_to_scikit_learns():
    values = np.random.default_rng(0).normal(size=6000).astype(np.float32)
    theirs = KMeans(200, n_init=1, max_iter=20, random_state=0).fit(values[:, None]).inertia_
    centres = kmeans(torch.from_numpy(values), torch.ones(6000), 200).numpy()
    assert (np.abs(values[:, None] - centres).min(1) ** 2).sum() <= 1.06 * theirs


def test_kmeans_of_few_values_are_the_values():
    found = kmeans(torch.tensor([3.0, 1.0, 3.0]), torch.ones(3), 4)
    assert found.tolist() == [1, 3, 3, 3]


def levels(w, count, keep=None):
    """Rows of `count` levels spread unevenly over the range of w."""
    found = torch.linspace(-1, 1, count).pow(3).expand(*w.shape[:2], count)
    return Levels.of(w.abs().amax(2) * torch.tensor([1.0, -1.0, 1.0, -1.0])[: w.shape[1]], found, keep)


def test_levels_round_to_the_nearest():
    w = torch.randn(1, 4, 50, generator=torch.Generator().manual_seed(0))
    grid = levels(w, 7)
    points = grid.levels * grid.scale[..., None]  # [1, 4, 7]
    nearest = (w[..., None] - points[:, :, None]).abs().amin(3)
    torch.testing.assert_close((grid.round(w) - w).abs(), nearest)
    torch.testing.assert_close(grid.round_column(w[..., 3], 3), grid.round(w)[..., 3])


def test_assignment_is_close_to_the_best_of_all():
    """Against every assignment of five weights to four uneven levels: nearer to the optimum than the nearest."""
    found, nearest, optimal = 0.0, 0.0, 0.0
    for seed in range(6):
        x, y, w, m = problem(rows=1, seed=seed)
        grid = levels(w, 4)
        found += loss(rounding.round_to(grid, w, m, sweeps=3), x, y)
        nearest += loss(grid.round(w), x, y)
        points = (grid.levels * grid.scale[..., None])[0, 0].tolist()
        optimal += min(loss(torch.tensor([[p]]), x, y) for p in itertools.product(points, repeat=5))
    assert optimal <= found + 1e-4
    assert found - optimal < 0.5 * (nearest - optimal)


@pytest.mark.parametrize("masked", [False, True])
def test_entries_are_the_least_squares_ones(masked, monkeypatch):
    """Against lstsq over the same assignment; whole numbers and a new scale are within the rounding of 7 bits."""
    monkeypatch.setattr(codebooks, "DAMP", 1e-6)
    monkeypatch.setattr(rounding, "best_scale", lambda q, scale, m: scale)  # which would find something better still
    x, y, w, m = problem(rows=4, d=12)
    keep = torch.rand(w.shape, generator=torch.Generator().manual_seed(2)) < 0.7 if masked else None
    scale = torch.tensor([[0.02, -0.02, 0.02, 0.02]])
    books = Codebooks(torch.tensor([[-50.0, -9.0, 4.0, 60.0]]), scale, keep)
    q = books.levels().round(w)
    index = books.levels().index(q)[0]
    chosen = nn.functional.one_hot(index, 4).float() * (1 if keep is None else keep[0, ..., None])  # [rows, d, K]
    columns = torch.cat([x @ chosen[row] for row in range(4)])  # each row's answers over its scale, [rows·n, K]
    expected = torch.linalg.lstsq(columns, (y / scale).T.reshape(-1, 1)).solution[:, 0]
    best = loss((chosen @ expected)[None] * scale[..., None], x, y)
    found = codebooks.refit(books, q, m)
    assert set(found.entries.round().flatten().tolist()) == set(found.entries.flatten().tolist())
    values = found.levels().round(found.levels().levels.gather(2, index[None]) * found.scale[..., None])
    assert best <= loss(values, x, y) * 1.001
    assert loss(values, x, y) - best < 0.05 * (loss(q, x, y) - best)


def test_gradients_reach_entries_and_weights_and_zeros_stay():
    layer = nn.Linear(6, 4)
    keep = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    attach(layer, Mask(keep))
    attach(layer, Codebook(torch.tensor([[-3.0, 1.0, 2.0], [-9.0, 0.0, 5.0]]), torch.full((4,), -0.1), keep=keep))
    book = find(layer, Codebook)
    assert set(layer.weight[:2][keep[:2]].div(-0.1).round().tolist()) <= {-3, 1, 2}
    assert set(layer.weight[2:][keep[2:]].div(-0.1).round().tolist()) <= {-9, 0, 5}
    layer(torch.ones(1, 6)).sum().backward()
    assert torch.equal(original(layer).grad != 0, keep)
    counts = (layer.weight[:2][keep[:2]].div(-0.1).round() == 2).sum()
    assert float(book.entries.grad[0, 2]) == pytest.approx(-0.1 * float(counts))


RECIPES = [
    (Share(entries=7),),
    (Share(entries=16, channels_per_book=8), Quantize()),
    (Prune(sparsity=0.7), Share(entries=5), Quantize()),
    (Prune(sparsity=0.9), Share(entries=2, channels_per_book=8, weighting="magnitude")),
    (Share(entries=200, assignment="nearest", weighting="none"), Quantize(weight_bits=32, activation_bits=32)),
]


@pytest.fixture(scope="module")
def small():
    """Batch norms of both signs and zero; depthwise, grouped halves, linear."""
    return prepare(tiny(), load("digits"), calibration_images=64)


def test_quantize_says_and_does_the_same_after_share(small):
    with pytest.raises(UnknownName, match="nonsense"):
        simulate(small, Recipe(steps=(Share(), Quantize(layer_bits="nonsense=8"))))
    before = small.dense.get_submodule("head").bias
    for corrected in (True, False):
        graph = simulate(small, Recipe(steps=(Share(entries=3), Quantize(bias_correction=corrected)), quality="fast"))
        moved = float((graph.get_submodule("head").bias - before).detach().abs().max())
        assert (moved > 1e-2) == corrected


@pytest.mark.parametrize("quality", ["best", "fast"])
@pytest.mark.parametrize("steps", RECIPES, ids=str)
def test_every_weight_is_an_entry_and_folding_leaves_entries_alone(steps, quality, small):
    recipe = Recipe(steps=steps, quality=quality)
    graph, share = simulate(small, recipe), recipe.get("share")
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        book = find(layer, Codebook) if layer is not None else None
        if book is None:
            continue
        norm = batch_norm_after(graph, node) if isinstance(layer, nn.Conv2d) else None
        kept = stored(layer, module_of(graph, norm) if norm is not None else None)
        assert kept.books == len(book.entries) and (kept.scale > 0).all()
        assert book.entries.shape[1] == share.entries
        mask = find(layer, Mask)
        keep = mask.keep if mask is not None else torch.ones_like(layer.weight, dtype=torch.bool)
        assert not kept.values[~keep.numpy()].any()
        runs = (part.reshape(kept.books, -1) for part in (kept.values, keep.numpy()))
        for values, here, entries in zip(*runs, book.entries, strict=True):
            assert set(values[here].tolist()) <= set(entries.int().tolist())
    assert len([m for m in graph.modules() if isinstance(m, Codebook)]) == len(layers(graph))


@pytest.mark.parametrize(("activation_bits", "top"), [(8, 63), (32, 127)])
def test_books_keep_to_seven_bits_where_kernels_must_not_cut_off(small, activation_bits, top):
    quantize = Quantize(activation_bits=activation_bits, reduce_range="on")
    for turns in ("best", "fast"):
        graph = simulate(small, Recipe(steps=(Share(entries=40), quantize), quality=turns))
        books = [find(layer, Codebook) for layer in layers(graph).values()]
        assert max(float(book.entries.abs().max()) for book in books) == top
        book = books[0]
        assert float(book.codes(1000 * original(next(iter(layers(graph).values())))).abs().max()) == top


def test_second_order_assignment_answers_more_like_the_dense_network(small):
    recipes = [Recipe(steps=(Share(entries=4, assignment=a),)) for a in ("second-order", "nearest")]
    second_order, nearest = (divergence(simulate(small, recipe), small.calibration) for recipe in recipes)
    assert second_order < 0.6 * nearest


def test_sixteen_entries_take_an_eighth_and_a_little():
    prepared = prepare(load_model("lenet5", "digits"), load("digits"), calibration_images=64)
    candidate = compress_prepared(prepared, Recipe(steps=(Share(entries=16),)))
    assert {layer.bits for layer in candidate.layers} == {4}
    assert len(prepared.baseline.onnx) / 8 < len(candidate.onnx) < len(prepared.baseline.onnx) / 7
    assert 0 < candidate.ledger.codebooks <= 16 * len(candidate.layers)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Share(entries=1), ["share.entries", "2 to 256", "1"]),
        (lambda: step("share", channels_per_book=7), ["share.channels_per_book", "0, 8, 16"]),
        (lambda: Recipe(steps=(Share(), Quantize(weight_bits=4))), ["quantize.weight_bits", "8 or more", "codebook"]),
        (
            lambda: Recipe(steps=(Share(), Quantize(layer_bits="a=8,b=2"))),
            ["quantize.layer_bits for b", "not 2", "share"],
        ),
        (lambda: Recipe(steps=(Quantize(), Share())), ["share", "quantize", "few values"]),
        (lambda: Recipe(steps=(Share(), Prune())), ["prune", "share", "rounded last"]),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises((InvalidRecipe, InvalidSetting)) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)


@st.composite
def coded(draw):
    """int8 weights of some books with few values each, some of them zero."""
    books, rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    entries = rng.integers(-127, 128, (books, draw(st.integers(1, 256)))).astype(np.int8)
    codes = rng.integers(0, entries.shape[1], (books, rows * columns))
    values = np.take_along_axis(entries, codes, 1) * (rng.random(codes.shape) < draw(st.sampled_from([0, 0.1, 0.6, 1])))
    return values.astype(np.int8).reshape(books * rows, columns), books


@given(coded())
@settings(max_examples=150)
def test_every_encoding_gives_the_values_back_in_as_many_bytes_as_it_says(case):
    values, books = case
    found = pack.options(values, 8, "zero", books)
    assert {o.books for o in found if o.books} <= {1, books}
    for option in found:
        encoding = pack.encode(values, option)
        assert np.array_equal(pack.decode(encoding), values), option
        assert encoding.size_bytes == sum(option.payload)
        assert len(encoding.roles) == len(encoding.tensors)
        if option.kind == "codebook-dense":
            distinct = max(len(np.unique(row)) for row in values.reshape(option.books, -1))
            bits = max(1, int(np.ceil(np.log2(distinct))))
            assert encoding.size_bytes == -(-values.size * bits // 8) + option.books * distinct


@given(hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.integers(-127, 127)))
def test_plain_grids_get_codebooks_only_where_those_are_narrower(values):
    for option in pack.options(values, 8):
        if option.books:
            assert option.bits < 8 and option.books == 1


def test_clusters_are_found_where_the_weights_are():
    with FakeTensorMode():  # which knows of processors that are not there
        x = torch.empty(500, device="cuda", dtype=torch.float64)
        assert codebooks._spread(x, x, 16).device.type == "cuda"
