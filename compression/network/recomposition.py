"""Networks that were decomposed to PyTorch's core operators, put together to the operators that they were made of.

`ExportedProgram.run_decompositions()` writes a linear layer as `addmm` of a permuted weight, batch norm as one of
three outputs, attention as two products and a softmax. Each rule here recognises what one operator is decomposed to,
at the last of its nodes; rules go from the inputs on, so that what a rule reads is put together already.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import torch
from torch import fx

from compression.network.graph import arguments, operator_name

aten = torch.ops.aten

CORE = {
    "convolution", "addmm", "mm", "bmm", "native_batch_norm", "_native_batch_norm_legit", "native_layer_norm",
    "_native_batch_norm_legit_no_training", "native_group_norm", "max_pool2d_with_indices", "_softmax", "_log_softmax",
    "_adaptive_avg_pool2d",
}  # fmt: skip
"""Operators that show that a network was decomposed: PyTorch's modules are traced as others."""

COMMUTATIVE = {"add", "mul"}


def recompose_(source: fx.GraphModule) -> None:
    """Puts together what was decomposed in `source`; other networks stay as they are."""
    if not any(operator_name(node) in CORE for node in source.graph.nodes):
        return
    for node in list(source.graph.nodes):
        with source.graph.inserting_before(node):
            new = next((new for rule in RULES.get(operator_name(node), ()) if (new := rule(node)) is not None), None)
        if new is not None:
            node.replace_all_uses_with(new)
            source.graph.erase_node(node)
    source.graph.eliminate_dead_code()


Rule = Callable[[fx.Node], fx.Node | None]


def _made(node: fx.Node, operator: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """A node that gives what `node` gives."""
    made = node.graph.call_function(operator, args, kwargs)
    made.meta = node.meta | {"source": node.meta.get("source", node.name)}
    return made


def _lengths(node: fx.Node) -> list[str]:
    """The lengths of a value; those that depend on the number of images as formulas."""
    return [str(length) for length in node.meta["val"].shape]


def _is_stored(value: Any) -> bool:
    return isinstance(value, fx.Node) and value.op == "get_attr"


def _nothing(node: fx.Node) -> fx.Node:
    return node.args[0]  # type: ignore[return-value]


def _same_shape(node: fx.Node) -> fx.Node | None:
    read = node.args[0]
    return read if _lengths(node) == _lengths(read) else None  # type: ignore[arg-type, return-value]


def _convolution(node: fx.Node) -> fx.Node | None:
    a, rank = arguments(node), node.meta["val"].dim() - 2
    values, turned = (a["input"], a["weight"], a["bias"], a["stride"], a["padding"]), a["transposed"]
    if turned and rank in (1, 2):
        operator = {1: aten.conv_transpose1d.default, 2: aten.conv_transpose2d.input}[rank]
        return _made(node, operator, *values, a["output_padding"], a["groups"], a["dilation"])
    if rank not in (1, 2, 3) or turned:
        return None
    operator = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[rank]
    return _made(node, operator, *values, a["dilation"], a["groups"])


def _weight(value: Any) -> fx.Node | None:
    """The stored matrix that `value` is the transpose of, for each of several rows too."""
    while isinstance(value, fx.Node) and operator_name(value) in ("expand", "view", "_unsafe_view"):
        if _lengths(value)[-2:] != _lengths(value.args[0])[-2:]:  # type: ignore[arg-type]
            return None
        value = value.args[0]
    if not isinstance(value, fx.Node) or operator_name(value) not in ("permute", "t", "transpose", "numpy_T"):
        return None
    read = value.args[0]
    return read if _is_stored(read) and read.meta["val"].dim() == 2 else None  # type: ignore[union-attr, return-value]


def _addmm(node: fx.Node) -> fx.Node | None:
    a = arguments(node)
    weight, bias = _weight(a["mat2"]), a["self"]
    if weight is None or a["alpha"] != 1 or a["beta"] != 1 or not _is_stored(bias) or bias.meta["val"].dim() != 1:
        return None
    return _made(node, aten.linear.default, a["mat1"], weight, bias)


def _mm(node: fx.Node) -> fx.Node | None:
    weight = _weight(node.args[1])
    return _made(node, aten.linear.default, node.args[0], weight) if weight is not None else None


def _bias(node: fx.Node) -> fx.Node | None:
    """A product with a weight, and a stored vector added to it."""
    product, bias = node.args[:2]
    if not isinstance(product, fx.Node) or operator_name(product) != "linear" or len(product.args) > 2:
        return None
    single = _is_stored(bias) and _lengths(bias) == _lengths(product)[-1:] and len(product.users) == 1  # type: ignore[arg-type]
    return _made(node, aten.linear.default, *product.args, bias) if single and not node.kwargs else None


def _linear_on_more_axes(node: fx.Node) -> fx.Node | None:
    """A linear layer on a value whose leading axes were made one before, and several again after."""
    linear = node.args[0]
    if not isinstance(linear, fx.Node) or operator_name(linear) != "linear" or len(linear.users) > 1:
        return None
    read, *rest = linear.args
    if not isinstance(read, fx.Node) or operator_name(read) not in ("view", "reshape", "_unsafe_view"):
        return None
    before = read.args[0]
    if [*_lengths(before)[:-1], _lengths(linear)[-1]] != _lengths(node):  # type: ignore[arg-type]
        return None
    return _made(node, aten.linear.default, before, *rest)


def _flatten(node: fx.Node) -> fx.Node | None:
    """All axes but that of images as one."""
    before, after = _lengths(node.args[0]), _lengths(node)  # type: ignore[arg-type]
    if len(after) != 2 or len(before) < 3 or before[0] != after[0]:
        return None
    return _made(node, aten.flatten.using_ints, node.args[0], 1)


def _product(node: fx.Node) -> fx.Node | None:
    """A product of stacks of matrices, whose leading axes were made one for it."""
    product = node.args[0]
    if not isinstance(product, fx.Node) or operator_name(product) != "bmm":
        return None
    reads = [read.args[0] for read in product.args if operator_name(read) in ("view", "_unsafe_view")]  # type: ignore[arg-type, union-attr]
    if len(reads) != 2 or any(_lengths(read)[:-2] != _lengths(node)[:-2] for read in reads):  # type: ignore[arg-type]
        return None
    made = _made(node, aten.matmul.default, *reads)
    attention = _attention(made)
    if attention is not None:
        node.graph.erase_node(made)
    return attention or made


def _attention(node: fx.Node) -> fx.Node | None:
    """softmax(q·√s · kᵀ·√s)·v."""
    chances, values = node.args
    if not isinstance(chances, fx.Node) or operator_name(chances) != "softmax":
        return None
    logits = chances.args[0]
    if operator_name(logits) not in ("matmul", "bmm"):  # type: ignore[arg-type]
        return None
    found: list[fx.Node] = []
    scale = 1.0
    for read in logits.args:  # type: ignore[union-attr]
        if operator_name(read) != "mul" or not isinstance(read.args[1], float):  # type: ignore[arg-type, union-attr]
            return None
        found.append(read.args[0])  # type: ignore[arg-type, union-attr]
        scale *= read.args[1]  # type: ignore[union-attr]
    query, keys = found
    rank = query.meta["val"].dim()
    if operator_name(keys) != "permute" or list(keys.args[1]) != [*range(rank - 2), rank - 1, rank - 2]:  # type: ignore[arg-type]
        return None
    usual = abs(scale * query.meta["val"].shape[-1] ** 0.5 - 1) < 1e-6
    scaled = {} if usual else {"scale": scale}
    return _made(node, aten.scaled_dot_product_attention.default, query, keys.args[0], values, **scaled)


def _softmax(node: fx.Node) -> fx.Node:
    operator = aten.softmax.int if operator_name(node) == "_softmax" else aten.log_softmax.int
    return _made(node, operator, *node.args[:2])


def _picked(node: fx.Node) -> fx.Node | None:
    """The first of several outputs, where the operator is one that decomposing gave the others."""
    maker, place = node.args
    whole = FIRST_OF.get(operator_name(maker))  # type: ignore[arg-type]
    return whole(node, arguments(maker)) if whole is not None and place == 0 else None  # type: ignore[arg-type]


def _norm(node: fx.Node, a: dict[str, Any]) -> fx.Node | None:
    if a.get("training") or a.get("running_mean") is None:
        return None
    tensors = (a[name] for name in ("input", "weight", "bias", "running_mean", "running_var"))
    return _made(node, aten.batch_norm.default, *tensors, False, a["momentum"], a["eps"], True)


def _norm_of_each(node: fx.Node) -> fx.Node | None:
    """An instance norm: a batch norm by what it reads, of the maps of all images side by side."""
    picked = node.args[0]
    if operator_name(picked) != "getitem" or operator_name(picked.args[0]) != "_native_batch_norm_legit":  # type: ignore[arg-type, union-attr]
        return None
    a = arguments(picked.args[0])  # type: ignore[arg-type, union-attr]
    before = a["input"]
    side_by_side = operator_name(before) == "view" and _lengths(before)[0] == "1"
    if not side_by_side or "running_mean" in a or _lengths(before.args[0]) != _lengths(node):
        return None
    gains = [tensor.args[0] if operator_name(tensor) == "repeat" else tensor for tensor in (a["weight"], a["bias"])
             if tensor is not None]  # fmt: skip
    gain, shift = gains if len(gains) == 2 else (None, None)
    return _made(node, aten.instance_norm.default, before.args[0], gain, shift, None, None, True,
                 a["momentum"], a["eps"], True)  # fmt: skip


FIRST_OF: dict[str, Callable[[fx.Node, dict[str, Any]], fx.Node | None]] = {
    "_native_batch_norm_legit_no_training": _norm, "native_batch_norm": _norm, "_native_batch_norm_legit": _norm,
    "_native_batch_norm_legit_functional": _norm,
    "native_layer_norm": lambda node, a: _made(
        node, aten.layer_norm.default, *(a[k] for k in ("input", "normalized_shape", "weight", "bias", "eps"))),
    "native_group_norm": lambda node, a: _made(
        node, aten.group_norm.default, *(a[k] for k in ("input", "group", "weight", "bias", "eps"))),
    "max_pool2d_with_indices": lambda node, a: _made(node, aten.max_pool2d.default, *a.values()),
    "native_dropout": lambda node, a: _made(node, aten.dropout.default, a["input"], a["p"], False),
    "_scaled_dot_product_flash_attention_for_cpu": lambda node, a: _made(
        node, aten.scaled_dot_product_attention.default, a["query"], a["key"], a["value"], a["attn_mask"], 0.0,
        a["is_causal"], **({"scale": a["scale"]} if a["scale"] is not None else {})),
}  # fmt: skip

HARD = ("clamp", ("clamp", ("add", "x", 3), 0), None, 6)
SOFT = ("log1p", ("exp", "x"))
ABOVE = ("gt", "x", 0)
ROWS = ("logical_not", ("any", ("logical_not", ("eq", "logits", -float("inf"))), -1, True))

PATTERNS: tuple[tuple[Any, Any, tuple[Any, ...]], ...] = (
    (("div", ("mul", "x", HARD), 6), aten.hardswish.default, ("x",)),
    (("div", HARD, 6), aten.hardsigmoid.default, ("x",)),
    (("mul", "x", ("sigmoid", "x")), aten.silu.default, ("x",)),
    (("where", ("gt", "x", 20), "x", SOFT), aten.softplus.default, ("x",)),
    (("where", ("gt", ("mul", "x", "beta"), "above"), "x",
      ("div", ("log1p", ("exp", ("mul", "x", "beta"))), "beta")), aten.softplus.default, ("x", "beta", "above")),
    (("mul", "x", ("tanh", ("softplus", "x"))), aten.mish.default, ("x",)),
    (("where", ABOVE, "x", ("expm1", "x")), aten.elu.default, ("x",)),
    (("where", ABOVE, "x", ("mul", ("expm1", ("div", "x", "alpha")), "alpha")), aten.celu.default, ("x", "alpha")),
    (("where", ABOVE, "x", ("mul", ("view", "slopes", "shape"), "x")), aten.prelu.default, ("x", "slopes")),
    (("elu", "x", 1.6732632423543772, 1.0507009873554805), aten.selu.default, ("x",)),
    (("sub", ("minimum", ("full", "none", 0), "x"), ("log1p", ("exp", ("neg", ("abs", "x"))))),
     aten.log_sigmoid.default, ("x",)),
    (("where", ROWS, ("full_like", "chances", 0), "chances"), None, ("chances",)),
)  # fmt: skip
"""What activations are decomposed to: the nodes, the operator and its arguments; None stands for the argument itself.

The last is a softmax that also answers rows of nothing but -∞.
"""


def _pattern(node: fx.Node) -> fx.Node | None:
    for pattern, operator, names in PATTERNS:
        found = _matched(pattern, node, {})
        if found is not None:
            args = [found[name] for name in names]
            return _made(node, operator, *args) if operator is not None else args[0]
    return None


def _matched(pattern: Any, value: Any, found: dict[str, Any]) -> dict[str, Any] | None:
    """What the names in `pattern` stand for if it describes `value`, those in `found` as they are there; or None."""
    if isinstance(pattern, str):
        return found | {pattern: value} if found.get(pattern, value) is value or found[pattern] == value else None
    if not isinstance(pattern, tuple):
        same = not isinstance(value, fx.Node) and value == pattern
        return found if same else None
    name, *parts = pattern
    if not isinstance(value, fx.Node) or operator_name(value) != name or len(value.args) != len(parts):
        return None
    for order in permutations(value.args) if name in COMMUTATIVE else (value.args,):
        tried: dict[str, Any] | None = found
        for part, argument in zip(parts, order, strict=True):
            tried = _matched(part, argument, tried) if tried is not None else None
        if tried is not None:
            return tried
    return None


RULES: dict[str, tuple[Rule, ...]] = {
    "convolution": (_convolution,), "addmm": (_addmm,), "mm": (_mm,), "bmm": (_mm, _attention),
    "view": (_same_shape, _norm_of_each, _linear_on_more_axes, _product, _flatten),
    "_unsafe_view": (_same_shape, _linear_on_more_axes, _product, _flatten),
    "expand": (_same_shape,), "add": (_bias,), "_softmax": (_softmax,), "_log_softmax": (_softmax,),
    "getitem": (_picked,), "div": (_pattern,), "mul": (_pattern,), "where": (_pattern,), "sub": (_pattern,),
    "elu": (_pattern,),
    "_adaptive_avg_pool2d": (lambda node: _made(node, aten.adaptive_avg_pool2d.default, *node.args),),
    "constant_pad_nd": (lambda node: _made(node, aten.pad.default, *node.args[:2], "constant", *node.args[2:]),),
    "_unsafe_index": (lambda node: _made(node, aten.index.Tensor, *node.args),),
    "clone": (_nothing,), "alias": (_nothing,), "detach": (_nothing,), "lift_fresh_copy": (_nothing,),
}  # fmt: skip
