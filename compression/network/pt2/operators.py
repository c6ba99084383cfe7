"""The operators that an untrusted network may call, and the arguments that each takes.

`torch.ops.aten` is more than arithmetic: `from_file` maps files, `save` writes them, `empty` gives memory of others.
So names stand in a table here, a target is looked up by its parts, and the operator's schema decides which arguments
are possible. Everything is computed in eval mode, in float32, on the CPU, whatever the file says.
"""

import functools
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from compression.errors import InvalidModel
from compression.network.pt2.fields import Malformed, shown

aten = torch.ops.aten

POINTWISE = """
    abs absolute acos acosh add addcdiv addcmul arccos arcsin arctan arctan2 asin asinh atan atan2 atanh bitwise_and
    bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip copy copysign cos cosh deg2rad div
    divide elu eq erf erfc erfinv exp exp2 expm1 fill fix floor floor_divide fmax fmin fmod frac ge gelu glu greater
    greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isclose isfinite isinf isnan isneginf
    isposinf le leaky_relu lerp less less_equal log log10 log1p log2 log_sigmoid logaddexp logaddexp2 logical_and
    logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul multiply nan_to_num ne neg negative
    not_equal polar positive pow prelu rad2deg reciprocal relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid
    sign signbit silu sin sinc sinh softplus softshrink special_expit sqrt square sub subtract tan tanh threshold
    true_divide trunc where xlogy zero
"""
MOVES = """
    alias broadcast_tensors broadcast_to cat channel_shuffle chunk clone col2im column_stack concat concatenate
    constant_pad_nd contiguous detach diag diag_embed diagonal dsplit dstack expand expand_as flatten flip fliplr flipud
    gather hsplit hstack im2col index index_add index_copy index_fill index_put index_select lift lift_fresh
    lift_fresh_copy mT masked_scatter matrix_H moveaxis movedim narrow native_channel_shuffle numpy_T pad permute
    pixel_shuffle pixel_unshuffle ravel reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave
    replication_pad1d replication_pad2d replication_pad3d reshape reshape_as roll rot90 scatter scatter_add
    scatter_reduce select select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes swapdims t
    take take_along_dim tensor_split tile transpose tril triu unbind unflatten unfold unsafe_chunk unsafe_split
    unsafe_split_with_sizes unsqueeze view view_as vsplit vstack _reshape_alias _unsafe_index _unsafe_view
"""
MAKES = """
    arange eye full full_like linspace meshgrid new_full new_ones new_zeros one_hot ones ones_like scalar_tensor
    tril_indices triu_indices zeros zeros_like to type_as _to_copy
"""
REDUCES = """
    all amax amin aminmax any argmax argmin argsort count_nonzero cummax cummin cumprod cumsum frobenius_norm
    linalg_norm linalg_vector_norm logcumsumexp logsumexp max mean median min msort nanmean nansum norm nuclear_norm
    prod sort std std_mean sum topk var var_mean
"""
PRODUCTS = """
    addbmm addmm addmv addr baddbmm bilinear bmm cdist cosine_similarity dot einsum inner kron linalg_cross linear
    matmul mm mv outer pairwise_distance scaled_dot_product_attention tensordot _scaled_dot_product_attention_math
    _scaled_dot_product_flash_attention_for_cpu
"""
LAYERS = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    affine_grid_generator alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d convolution dropout embedding feature_alpha_dropout
    feature_dropout grid_sampler grid_sampler_2d group_norm instance_norm layer_norm log_softmax max_pool1d max_pool2d
    max_pool2d_with_indices max_pool3d max_pool3d_with_indices native_batch_norm native_dropout native_group_norm
    native_layer_norm rms_norm softmax upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
    upsample_nearest2d _adaptive_avg_pool2d _adaptive_avg_pool3d _convolution _fused_rms_norm _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_functional _native_batch_norm_legit_no_training _prelu_kernel
    _safe_softmax _softmax _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
    _upsample_nearest_exact2d _weight_norm
"""
SIZES = {"sym_size.int", "sym_numel.default"}
"""Operators that give numbers: nothing else may, so no size depends on what is in a picture."""

ALLOWED = frozenset(f"{POINTWISE} {MOVES} {MAKES} {REDUCES} {PRODUCTS} {LAYERS} sym_size sym_numel".split())
REFUSED = {"view.dtype", "repeat_interleave.Tensor"}
"""Overloads of these that read bits as other numbers, or whose answer's shape depends on values."""

CHECKS = {
    "_assert_tensor_metadata", "_assert_scalar", "_assert_async", "_functional_assert_async",
    "_functional_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size",
}  # fmt: skip
"""Operators that compute nothing."""

EVAL = {"train": False, "training": False, "dropout_p": 0.0, "pin_memory": False}
"""Arguments that are set whatever the file says: what is compressed is a network at inference."""

ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]{1,80})\.([A-Za-z0-9_]{1,40})")


@dataclass(frozen=True)
class Value:
    """A value that is known when the network runs. place: its number."""

    place: int
    is_tensor: bool


@dataclass(frozen=True)
class Operator:
    """What is called, under which name, and which arguments it takes: pairs of name and type, in order."""

    name: str
    call: Callable[..., Any]
    positional: tuple[tuple[str, str], ...]
    keywords: Mapping[str, str]
    required: frozenset[str]
    defaults: Mapping[str, Any]
    returns: tuple[str, ...]

    def bound(self, given: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments as they are passed. Raises `Malformed` for unknown and missing ones, and for wrong types."""
        types = dict(self.positional) | dict(self.keywords)
        for name, value in given.items():
            if name not in types:
                raise Malformed(f"{self.name} takes no argument {shown(name)}")
            if not fits(value, types[name]):
                raise Malformed(f"{self.name} takes {types[name]} as {name!r}, not {shown(value)}")
        missing = self.required - given.keys()
        if missing:
            raise Malformed(f"{self.name} is called without {min(missing)!r}")
        given = {name: EVAL.get(name, value) for name, value in given.items()}
        last = max((i for i, (name, _) in enumerate(self.positional) if name in given), default=-1)
        args = tuple(given.get(name, self.defaults.get(name)) for name, _ in self.positional[: last + 1])
        return args, {name: given[name] for name in self.keywords if name in given}


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a type as schemas write it: 'Tensor', 'List[int]', 'Optional[ScalarType]', …"""
    if kind.startswith("Optional["):
        return value is None or fits(value, kind[9:-1])
    if kind.startswith("List["):
        inner = kind[5:-1]
        return (isinstance(value, list) and all(fits(each, inner) for each in value)) or (
            inner in ("int", "float") and fits(value, inner)
        )
    if isinstance(value, Value):
        return kind == "Tensor" or (not value.is_tensor and kind in ("int", "float", "number", "bool"))
    types = {
        "Tensor": (int, float), "number": (int, float), "int": (int,), "float": (int, float), "bool": (bool,),
        "str": (str,), "ScalarType": (torch.dtype,), "Layout": (torch.layout,), "Device": (torch.device,),
        "MemoryFormat": (torch.memory_format,),
    }  # fmt: skip
    return isinstance(value, types.get(kind, ())) and not (kind == "int" and isinstance(value, bool))


def find(target: str) -> Operator | None:
    """The operator that a node's target names; None for one that only checks. Raises `InvalidModel` for all others."""
    if target in SYMBOLIC:
        return SYMBOLIC[target]
    matched = ATEN.fullmatch(target)
    if matched and matched[1] in CHECKS:
        return None
    found = _aten(matched[1], matched[2]) if matched else None
    if found is None:
        raise InvalidModel(f"The network calls {shown(target)}, which is none of the operators that can be compressed.")
    return found


@functools.cache
def _aten(name: str, overload: str) -> Operator | None:
    pure = name.removesuffix("_")
    if not {name, pure} & ALLOWED or f"{name}.{overload}" in REFUSED or not hasattr(aten, name):
        return None
    packet = getattr(aten, name)
    if overload not in packet.overloads():
        return None
    call = getattr(packet, overload)
    arguments, returns = call._schema.arguments, tuple(str(r.real_type) for r in call._schema.returns)
    numbers = f"{name}.{overload}" in SIZES
    if any(a.is_out for a in arguments) or not (numbers or set(returns) <= {"Tensor", "List[Tensor]"}):
        return None
    types = {a.name: str(a.real_type) for a in arguments}
    return Operator(
        f"aten.{name}.{overload}",
        call,
        tuple((a.name, types[a.name]) for a in arguments if not a.kwarg_only),
        {a.name: types[a.name] for a in arguments if a.kwarg_only},
        frozenset(a.name for a in arguments if not a.has_default_value()),
        {a.name: a.default_value for a in arguments if a.has_default_value()},
        returns,
    )


MOST_SIZE = 1 << 62


def _bounded(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call` on sizes, whose answer stays one: products of products would fill the memory with digits."""

    @functools.wraps(call)
    def computed(*args: Any) -> Any:
        number = call(*args)
        if type(number) is int and abs(number) > MOST_SIZE:
            raise OverflowError(f"a size above {MOST_SIZE}")
        return number

    return computed


def _on_sizes(name: str, call: Callable[..., Any], count: int) -> Operator:
    names = tuple("abcd"[:count])
    types = tuple((each, "number") for each in names)
    return Operator(name, _bounded(call), types, {}, frozenset(names), {}, ("number",))


SYMBOLIC = {
    name: _on_sizes(name, call, count)
    for name, call, count in (
        *((f"_operator.{c.__name__}", c, 2) for c in (
            operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.truediv, operator.eq,
            operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.and_, operator.or_,
        )),
        ("_operator.neg", operator.neg, 1), ("_operator.pos", operator.pos, 1), ("math.trunc", math.trunc, 1),
        ("torch.sym_int", torch.sym_int, 1), ("torch.sym_float", torch.sym_float, 1),
        ("torch.sym_not", torch.sym_not, 1), ("torch.sym_max", torch.sym_max, 2), ("torch.sym_min", torch.sym_min, 2),
        ("torch.sym_ite", torch.sym_ite, 3), ("torch._sym_sqrt", torch.sym_sqrt, 1),
    )
}  # fmt: skip
"""Arithmetic on sizes, which torch.export writes with plain operators of Python."""
