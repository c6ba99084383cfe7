"""Least squares and rounding against brute force and PyTorch's own solvers, on layers small enough for both."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compression.solvers import least_squares, moments, rounding, shrinkage
from compression.solvers.gram import COLUMNS, gram, of_halves
from compression.solvers.moments import Moments
from compression.solvers.rounding import Grid


def problem(rows=3, d=5, n=400, seed=0):
    """Patches X [n, d] with correlated columns, targets Y [n, rows], and their moments."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator)
    w = torch.randn(rows, d, generator=generator)
    y = x @ w.T + 0.1 * torch.randn(n, rows, generator=generator)
    x, y = x - x.mean(0), y - y.mean(0)
    return x, y, w[None], Moments((x.T @ x / n)[None], (y.T @ x / n)[None], x.mean(0)[None], y.mean(0))


def loss(w, x, y):
    return float((x @ w[0].T - y).square().mean(0).sum())


def grid(w, bits, zero=True, keep=None):
    top = torch.full(w.shape[:2], 2 ** (bits - 1) - (1.0 if zero else 0.5))
    return Grid(w.abs().amax(2) / top, -top, top, torch.full_like(top, 0.0 if zero else 0.5), keep)


LAYERS = [
    (nn.Conv2d(6, 4, 3, padding=1, stride=2, bias=False), (6, 9, 7)),
    (nn.Conv2d(6, 6, (3, 1), padding=(1, 0), groups=3, bias=False), (6, 5, 5)),
    (nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=4, bias=False), (4, 8, 8)),
    (nn.Linear(7, 5, bias=False), (7,)),
    (nn.Linear(7, 5, bias=False), (3, 4, 7)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda p: str(p)[:40])
@torch.no_grad()
def test_moments_describe_the_layer(layer, shape):
    """G = W H and mean_y = W mean_x for the layer's own answers, whatever its groups, strides and padding."""
    x = torch.randn(40, *shape) + 1
    m = moments.moments(layer, [x], [layer(x)])
    w = moments.grouped(layer, layer.weight)
    torch.testing.assert_close(w @ m.h, m.g, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close((w @ m.mean_x[..., None]).flatten(), m.mean_y, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_moments_are_those_of_unfold():
    layer, x = nn.Conv2d(3, 4, 3, padding=1), torch.randn(50, 3, 6, 6)
    rows = F.unfold(x, 3, padding=1).movedim(1, -1).flatten(0, 1)
    expected = (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / len(rows)
    h = moments.moments(layer, [x], [layer(x)]).h[0]
    torch.testing.assert_close(h, expected)


@torch.no_grad()
def test_what_few_rows_say_by_chance_is_not_relied_on(monkeypatch):
    """Half of a layer's inputs go; the rest make up for them on fresh rows too, not only on the few that were seen."""
    torch.manual_seed(0)
    layer, keep = nn.Linear(64, 8), torch.ones(1, 8, 64, dtype=torch.bool)
    keep[..., ::2] = False
    few, fresh = torch.randn(48, 64), torch.randn(2000, 64)

    def error():
        w = least_squares.refit(layer.weight[None], keep, moments.moments(layer, [few], [layer(few)]))
        return float((fresh @ (w[0] - layer.weight).T).square().mean())

    shrunk = error()
    monkeypatch.setattr(shrinkage, "FEW", 0)
    assert shrunk < 0.7 * error()


def test_enough_rows_are_believed():
    h = torch.rand(1, 5, 5)
    assert not shrinkage.share_of_few(h, 5 * shrinkage.FEW).any()
    assert shrinkage.share_of_few(h, 5 * shrinkage.FEW - 1) > 0


def halves_of(images):
    """XᵀX of each half of the centred rows of images [n, c, h, w], a row of channels for each place: [1, c, c] each."""
    found = images.movedim(1, -1).flatten(0, 2)
    return of_halves((found - found.mean(0))[None])


@pytest.mark.parametrize(("rows", "inputs"), [(7, 3), (301, COLUMNS), (50, 2 * COLUMNS + 5)])
def test_halves_add_up_to_the_gram_matrix_of_all_rows(rows, inputs):
    x = torch.randn(2, rows, inputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.einsum("gmi,gmj->gij", x, x)
    torch.testing.assert_close(gram(x), expected)
    first, second = of_halves(x)
    torch.testing.assert_close(first + second, expected)
    torch.testing.assert_close(first, gram(x[:, : -(-rows // 2)]))


@pytest.mark.parametrize("images", [64, 400])
def test_what_both_halves_of_the_images_say_is_believed(images):
    """Correlations that hold for all images stay; those that each image brings by itself, with all its places, go."""
    generator = torch.Generator().manual_seed(0)
    factors, mix = torch.randn(images, 3, 4, 4, generator=generator), torch.randn(12, 3, generator=generator)
    noise = 0.01 * torch.randn(images, 12, 4, 4, generator=generator)
    assert shrinkage.share_between_halves(*halves_of(torch.einsum("oc,nchw->nohw", mix, factors) + noise)) < 0.01
    alike = torch.randn(images, 12, 1, 1, generator=generator).expand(-1, -1, 4, 4)
    assert shrinkage.share_between_halves(*halves_of(alike)) > 0.5


def test_drawing_leaves_the_dense_layer_its_own_answer():
    """G = W H for the layer's own answers stays so, and the diagonal as it is."""
    x, _, w, m = problem()
    h, g = shrinkage.shrunk(m.h, w @ m.h, w, torch.tensor([0.3]))
    torch.testing.assert_close(g, w @ h)
    torch.testing.assert_close(h.diagonal(dim1=1, dim2=2), m.h.diagonal(dim1=1, dim2=2))
    off = ~torch.eye(x.shape[1], dtype=torch.bool)
    torch.testing.assert_close(h[0][off], 0.7 * m.h[0][off])


def test_a_wide_layer_that_answers_as_it_should_is_not_solved(monkeypatch):
    monkeypatch.setattr(least_squares, "WIDE", 8)
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(12, 5), torch.randn(500, 12)
    m, w = moments.moments(layer, [x], [layer(x)]), layer.weight.detach()[None]
    assert least_squares.refit(w, None, m) is w and "root" not in m.found
    other = least_squares.refit(1.01 * w, None, m)
    torch.testing.assert_close(other, w, rtol=1e-3, atol=1e-4)


def test_refit_is_least_squares_over_the_kept_weights(monkeypatch):
    monkeypatch.setattr(moments, "DAMP", 1e-6)
    x, y, w, m = problem()
    keep = torch.tensor([[[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]], dtype=torch.bool)
    found = least_squares.refit(w, keep, m)
    assert not found[~keep].any()
    for row in range(2):
        k = keep[0, row]
        expected = torch.linalg.lstsq(x[:, k], y[:, row]).solution
        torch.testing.assert_close(found[0, row, k], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        least_squares.refit(w, None, m)[0].T, torch.linalg.lstsq(x, y).solution, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("zero", [True, False])
def test_rounding_is_close_to_the_best_of_all(zero):
    """Against every point of a 2-bit grid with five weights: nearer to the optimum than to plain rounding."""
    found, nearest, optimal = 0.0, 0.0, 0.0
    for seed in range(6):
        x, y, w, m = problem(rows=1, seed=seed)
        g = grid(w, 2, zero)
        found += loss(rounding.round_to(g, w, m, sweeps=3), x, y)
        nearest += loss(g.round(w), x, y)
        levels = g.scale[0, 0] * (torch.arange(-1.0, 2.0) if zero else torch.arange(-1.5, 2.0))
        optimal += min(loss(torch.tensor([[p]]), x, y) for p in itertools.product(levels.tolist(), repeat=5))
    assert optimal <= found + 1e-4
    assert found - optimal < 0.5 * (nearest - optimal)


def test_descent_never_increases_the_error_and_keeps_masked_weights_at_zero():
    x, y, w, m = problem(rows=4, d=90)
    keep = torch.rand(w.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    g = grid(w, 3, keep=keep)
    q = g.round(w)
    for _ in range(3):
        better = rounding.coordinate_descent(g, q, m)
        assert (moments.quadratic_loss(better, m) <= moments.quadratic_loss(q, m) + 1e-4).all()
        assert not better[~keep].any()
        q = better
    assert loss(q, x, y) < 0.8 * loss(g.round(w), x, y)


def test_error_is_the_mean_squared_error_up_to_a_constant():
    x, y, w, m = problem()
    other = w + 0.3
    assert float((moments.quadratic_loss(other, m) - moments.quadratic_loss(w, m)).sum()) == pytest.approx(
        loss(other, x, y) - loss(w, x, y), rel=1e-3
    )


def test_best_scale_is_the_least_squares_one():
    x, y, w, m = problem()
    q = grid(w, 2).round(w)
    scale = rounding.best_scale(q, torch.ones(1, 3), m)
    for row in range(3):
        fit = torch.linalg.lstsq((x @ q[0, row])[:, None], y[:, row]).solution
        if 0.5 < float(fit) < 2:
            assert float(scale[0, row]) == pytest.approx(float(fit), rel=1e-3)
