"""Products of matrices, attention, and reductions."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from compression.errors import InvalidModel
from compression.network.onnx_reader.operators.values import axis_of, number, tensor
from compression.network.onnx_reader.program import Node
from compression.network.onnx_reader.sizes import axes_of

Call = Callable[..., Any]


def _linear(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """A product with a stored matrix [out, in]: what `rewriting` makes of Gemm and MatMul."""
    return F.linear(x, weight, bias)


def _matmul(node: Node, a: Any, b: Any) -> torch.Tensor:
    return torch.matmul(tensor(a), tensor(b))


def _gemm(node: Node, a: Any, b: Any, c: Any = None) -> torch.Tensor:
    a, b = tensor(a), tensor(b)
    product = torch.matmul(a.t() if node.get("transA", 0) else a, b.t() if node.get("transB", 0) else b)
    product = product if (scale := node.get("alpha", 1.0)) == 1 else product * scale
    if c is None:
        return product
    c = tensor(c)
    return product + (c if (share := node.get("beta", 1.0)) == 1 else c * share)


def _fused_matmul(node: Node, a: Any, b: Any) -> torch.Tensor:
    a, b = tensor(a), tensor(b)
    if node.get("transBatchA", 0) or node.get("transBatchB", 0):
        raise InvalidModel(f"{node.said} turns its batch axes; write the file without ONNX Runtime's optimizations.")
    product = torch.matmul(
        a.transpose(-1, -2) if node.get("transA", 0) else a, b.transpose(-1, -2) if node.get("transB", 0) else b
    )
    return product if (scale := node.get("alpha", 1.0)) == 1 else product * scale


def _einsum(node: Node, *values: Any) -> torch.Tensor:
    return torch.einsum(node.get("equation", "").replace(" ", ""), *(tensor(value) for value in values))


def _attention(node: Node, q: Any, k: Any, v: Any, mask: Any = None, *more: Any) -> torch.Tensor:
    """Attention of opset 23, on [n, heads, tokens, features]."""
    if any(each is not None for each in more) or node.get("softcap", 0.0) or q.dim() not in (3, 4):
        raise InvalidModel(f"{node.said} keeps keys of earlier calls; a classifier has none.")
    split = q.dim() == 3
    if split:
        heads, of_keys = node.get("q_num_heads", 1), node.get("kv_num_heads", 1)
        q, k, v = (
            each.unflatten(-1, (count, -1)).transpose(1, 2) for each, count in ((q, heads), (k, of_keys), (v, of_keys))
        )
    if q.shape[1] != k.shape[1]:
        k, v = (each.repeat_interleave(q.shape[1] // each.shape[1], 1) for each in (k, v))
    scale = node.get("scale")
    causal, mask = bool(node.get("is_causal", 0)), None if mask is None else tensor(mask)
    found = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale)
    return found.transpose(1, 2).flatten(2) if split else found


def _reduced(call: Callable[[torch.Tensor, list[int], bool], torch.Tensor]) -> Call:
    def apply(node: Node, x: Any, axes: Any = None) -> torch.Tensor:
        x, wanted = tensor(x), axes_of(node, axes)
        if wanted is None and node.get("noop_with_empty_axes", 0):
            return x
        wanted = list(range(x.dim())) if wanted is None else [axis % x.dim() for axis in wanted]
        return call(x, wanted, bool(node.get("keepdims", 1)))

    return apply


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _chosen(call: Callable[..., torch.Tensor]) -> Call:
    def apply(node: Node, x: Any) -> torch.Tensor:
        x = tensor(x)
        if node.get("select_last_index", 0):
            raise InvalidModel(f"{node.said} answers with the last of equal numbers; the first is possible.")
        return call(x, axis_of(node, x, 0), bool(node.get("keepdims", 1)))

    return apply


def _top(node: Node, x: torch.Tensor, count: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    wanted = number(node, count, "count", node.get("k", 1))
    found = torch.topk(x, wanted, node.get("axis", -1), bool(node.get("largest", 1)), bool(node.get("sorted", 1)))
    return found.values, found.indices


def _cumulative(node: Node, x: Any, axis: Any) -> torch.Tensor:
    x, along = tensor(x), number(node, axis, "axis")
    if node.get("exclusive", 0):
        raise InvalidModel(f"{node.said} leaves out what it stands at; sums that include it are possible.")
    if node.get("reverse", 0):
        return x.flip(along).cumsum(along).flip(along)
    return x.cumsum(along)


PRODUCTS: dict[str, Call] = {
    "Linear": _linear, "MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum, "Attention": _attention,
    "ArgMax": _chosen(torch.argmax), "ArgMin": _chosen(torch.argmin), "TopK": _top, "CumSum": _cumulative,
    **{name: _reduced(call) for name, call in {
        "ReduceMean": lambda x, axes, keep: torch.mean(x, axes, keepdim=keep),
        "ReduceSum": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep),
        "ReduceMax": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
        "ReduceMin": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
        "ReduceProd": _product,
        "ReduceL1": lambda x, axes, keep: torch.sum(torch.abs(x), axes, keepdim=keep),
        "ReduceL2": lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keepdim=keep)),
        "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keepdim=keep),
        "ReduceLogSum": lambda x, axes, keep: torch.log(torch.sum(x, axes, keepdim=keep)),
        "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    }.items()},
}  # fmt: skip

OF_MICROSOFT: dict[str, Call] = {"FusedMatMul": _fused_matmul}
