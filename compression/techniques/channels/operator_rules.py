"""How channels pass through operators: which of those that one reads and gives are the same."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from compression.network.graph import arguments, operator_name
from compression.techniques.channels.slots import Slots, core, thin, varying

if TYPE_CHECKING:
    from compression.techniques.channels.following import Follower

MOVES = {
    "reshape", "view_as", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "permute", "t",
    "movedim", "mT", "numpy_T", "swapaxes", "narrow", "select", "slice", "expand", "expand_as", "flip", "repeat",
    "tile", "repeat_interleave", "roll", "unbind", "chunk", "split", "split_with_sizes", "cat", "stack",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "index", "index_select",
}  # fmt: skip
"""Operators that put values elsewhere and change none."""

POOLS = {
    "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "upsample_nearest1d", "upsample_nearest2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
}  # fmt: skip
"""Operators on each channel of maps [n, channels, …] by itself."""

SUMS = {"sum", "mean", "linalg_vector_norm"}
"""Reductions that a channel of zeros adds nothing to."""
REDUCTIONS = SUMS | {"amax", "amin", "max", "min", "var", "std", "logsumexp", "prod", "argmax", "argmin"}
ALONG = {"softmax", "log_softmax", "cumsum"}
"""Operators on all numbers along one axis that keep its length."""
POINTWISE = {
    "to", "where", "masked_fill", "clamp", "clip", "ones_like", "zeros_like", "full_like", "hardswish", "rsub",
    "log_sigmoid", "celu", "elu", "selu", "mish", "softplus", "square", "hardshrink", "softshrink", "threshold",
    "clamp_min", "clamp_max", "log_sigmoid_forward", "addcmul", "addcdiv", "relu6", "rrelu",
}  # fmt: skip
"""Operators on each number by itself that PyTorch does not mark as such, or not in all forms."""


def elementwise(seen: "Follower", n: fx.Node, reads: list[Any]) -> Slots:
    """The channels of all operands correspond, but for those that stand for every channel of another."""
    shape = seen.shapes[n.name]
    operands = [read for read in reads if read.labels.numel()]
    for value in n.all_input_nodes:  # what is computed from sizes alone has channels of nobody
        made = seen.env[value]
        if isinstance(made, torch.Tensor) and made.numel() > 1:
            reason = f"A constant is computed for them in {value.name!r}."
            operands.append(Slots(seen.joined.fixed(reason).expand(made.shape), stored=True))
    padded = [_aligned(read.labels, len(shape)) for read in operands]
    changing = [set(varying(labels)) for labels in padded]
    everywhere = set().union(*changing)
    left = [
        i for i, labels in enumerate(padded)
        if changing[i] or not any(labels.shape[axis] == 1 < shape[axis] for axis in everywhere)
    ]  # fmt: skip
    if any(padded[i].shape[axis] == 1 < shape[axis] for i in left for axis in everywhere):
        for i in left:
            seen.joined.fix(padded[i], f"The operator {operator_name(n)!r} takes each with each.")
        return Slots(seen.joined.fixed(f"The operator {operator_name(n)!r} takes each with each.").expand(shape))
    base = min(left, key=lambda i: (len(changing[i]), operands[i].stored, i))
    for i in left:
        if i != base:
            seen.joined.join(padded[base], padded[i])
    computed = [padded[i] for i in left if not operands[i].stored]
    if operator_name(n) in ("add", "sub") and not _are_alike(computed):
        seen.shared.add(n)
    return Slots(padded[base].expand(shape), stored=all(read.stored for read in operands))


def _are_alike(parts: list[torch.Tensor]) -> bool:
    """Whether all have the channels of the first: what one layer makes is added to, or beside, what is made of it."""
    cores = [core(part) for part in parts]
    return all(torch.equal(cores[0], other) for other in cores[1:])


def move(seen: "Follower", n: fx.Node, reads: list[Any]) -> Any:
    """The operator does to slots what it does to values."""
    _settle_move(seen, n, reads)
    if operator_name(n) in ("cat", "stack") and not _are_alike([read.labels for read in reads]):
        seen.shared.add(n)
    args, kwargs = seen.fetch_args_kwargs_from_env(n)
    made = n.target(*tensors(args), **tensors(kwargs))  # type: ignore[operator]
    stored = all(read.stored for read in reads if isinstance(read, Slots))
    if isinstance(made, list | tuple):
        return [Slots(part, stored=stored) for part in made]
    return Slots(made, stored=stored)


def _settle_move(seen: "Follower", n: fx.Node, reads: list[Any]) -> None:
    """Which axes of what is read, or given, must stay for the operator to take the same numbers."""
    name, a = operator_name(n), arguments(n)
    read = n.all_input_nodes[0]
    rank = len(seen.shapes.get(read.name, ()))
    if name in ("select", "unbind") or (name == "slice" and a["step"] != 1):
        seen.keep_axes(read, [a["dim"]], rank)
    elif name == "roll":
        seen.keep_axes(read, a["dims"] or range(rank), rank)
    elif name == "index_select":
        seen.keep_axes(read, [a["dim"]], rank)
    elif name == "index":
        seen.keep_axes(read, [i for i, at in enumerate(a["indices"]) if at is not None], rank)
    elif name in ("reshape", "expand", "unflatten"):
        sizes = a["sizes"] if name == "unflatten" else a["shape"] if name == "reshape" else a["size"]
        start = a["dim"] % rank if name == "unflatten" else 0
        if -1 in sizes:  # else a length that counts images too follows from the others
            counted = [start + i for i, length in enumerate(sizes) if isinstance(length, fx.Node)]
            seen.keep_axes(n, counted, len(seen.shapes[n.name]))
    elif name == "pixel_shuffle":
        blocks = seen.channels(reads[0], 1, "pixel shuffle").reshape(-1, a["upscale_factor"] ** 2)
        seen.joined.tie(blocks, [1], "A pixel shuffle makes one map of them.")
    elif name == "channel_shuffle":
        apart = seen.channels(reads[0], 1, "channel shuffle").reshape(a["groups"], -1)
        seen.joined.tie(apart, [0], "A channel shuffle takes as many of each group.")


def item(seen: "Follower", n: fx.Node, reads: list[Any]) -> Any:
    """One of several values."""
    place: Any = n.args[1]
    return reads[0][place] if isinstance(reads[0], list | tuple) else seen.unknown(n, reads)


def pad(seen: "Follower", n: fx.Node, reads: list[Any]) -> Slots:
    """Constants beside the channels are channels that nothing computes."""
    labels, a = reads[0].labels, arguments(n)
    for i, (before, after) in enumerate(zip(a["pad"][::2], a["pad"][1::2], strict=True)):
        axis = labels.dim() - 1 - i
        if axis in varying(labels) and (before or after):
            if a.get("mode", "constant") != "constant" or before < 0 or after < 0:
                why = f"The operator {operator_name(n)!r} repeats or crops them."
                return Slots(seen.joined.tie(labels, [axis], why).narrow(axis, 0, 1).expand(seen.shapes[n.name]))
            first, last = (_beside(seen, labels, axis, count) for count in (before, after))
            labels = torch.cat([first, labels, last], axis)
        else:
            size = list(labels.shape)
            size[axis] += before + after
            labels = labels.narrow(axis, 0, 1).expand(size)
        labels = thin(labels)
    return Slots(labels)


def _beside(seen: "Follower", labels: torch.Tensor, axis: int, count: int) -> torch.Tensor:
    """New slots for `count` slices along `axis` of a value like `labels`."""
    made = seen.joined.new(count).reshape([-1 if i == axis else 1 for i in range(labels.dim())])
    return made.expand([count if i == axis else length for i, length in enumerate(labels.shape)])


def pool(seen: "Follower", n: fx.Node, reads: list[Any]) -> Any:
    """Each channel by itself."""
    return seen.spread(n, seen.channels(reads[0], 1, f"operator {operator_name(n)!r}")[None])


def reduce(seen: "Follower", n: fx.Node, reads: list[Any]) -> Any:
    """Over places: each channel by itself. Over channels: they are read together."""
    a, name, read = arguments(n), operator_name(n), reads[0]
    rank = len(read.shape)
    if len(reads) > 1:  # the larger of two values
        return elementwise(seen, n, reads)
    dims = a.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(rank))
    axes = [d % rank for d in dims]
    among = set(varying(read.labels)) & set(axes)
    if among and name in SUMS and set(varying(read.labels)) == among and len(among) == 1:
        seen.sums.add(n)
        return Slots(seen.joined.fixed("All channels are summed up in it.").expand(seen.shapes[n.name]))
    labels = seen.joined.tie(read.labels, axes, f"The operator {name!r} takes them together.")
    keeps = a.get("keepdim", False)
    for axis in sorted(axes, reverse=True):
        labels = labels.narrow(axis, 0, 1) if keeps else labels.select(axis, 0)
    made = Slots(labels)
    return made if n.name in seen.shapes else [made, made]


def along(seen: "Follower", n: fx.Node, reads: list[Any]) -> Slots:
    """All numbers along the axis count for each other."""
    axis = arguments(n)["dim"] % len(reads[0].shape)
    why = f"The operator {operator_name(n)!r} takes them together."
    return Slots(seen.joined.tie(reads[0].labels, [axis], why))


def rms_norm(seen: "Follower", n: fx.Node, reads: list[Any]) -> Slots:
    """As a layer norm."""
    rank, over = len(reads[0].shape), len(arguments(n)["normalized_shape"])
    axes = list(range(rank - over, rank))
    labels = seen.joined.tie(reads[0].labels, axes, "An RMS norm takes all of them together.")
    for weight in reads[1:]:
        seen.joined.join(labels, _aligned(weight.labels, rank))
    return Slots(labels)


def glu(seen: "Follower", n: fx.Node, reads: list[Any]) -> Slots:
    """One half gates the other."""
    first, second = reads[0].labels.chunk(2, arguments(n)["dim"])
    seen.joined.join(thin(first), thin(second))
    return Slots(first)


def matmul(seen: "Follower", n: fx.Node, reads: list[Any]) -> Slots:
    """Channels that lie along a free axis pass; otherwise each pair of matrices goes as a whole: a head."""
    if len(reads) < 2 or min(len(read.shape) for read in reads) < 2:
        return seen.unknown(n, reads)
    a, b = (read.labels for read in reads)
    why = f"The operator {operator_name(n)!r} takes them together."
    if varying(b) == [b.dim() - 1] and not any(axis < a.dim() - 2 for axis in varying(a)):
        seen.joined.tie(a, [a.dim() - 2, a.dim() - 1], why)
        return seen.spread(n, b, -1)
    if varying(a) == [a.dim() - 2] and not varying(b):
        return seen.spread(n, a, -2)
    return _whole(seen, n, [a, b])


def _whole(seen: "Follower", n: fx.Node, parts: list[torch.Tensor]) -> Slots:
    """The last two axes of each go together, and with those of the others at the same place of the first axes."""
    shape = seen.shapes[n.name]
    why = f"The operator {operator_name(n)!r} takes them together."
    heads = []
    for labels in parts:
        tied = seen.joined.tie(labels, [labels.dim() - 2, labels.dim() - 1], why)
        heads.append(_aligned(tied[..., :1, :1], len(shape)))
    for other in heads[1:]:
        seen.joined.join(heads[0], other)
    return Slots(torch.broadcast_tensors(*heads)[0].expand(shape))


def attention(seen: "Follower", n: fx.Node, reads: list[Any]) -> Slots:
    """Whole heads."""
    a = arguments(n)
    query, key, value = (seen.env[a[name]].labels for name in ("query", "key", "value"))
    if query.shape[:-2] != key.shape[:-2] or key.shape[:-2] != value.shape[:-2]:
        return seen.unknown(n, reads)
    mask = seen.env.get(a["attn_mask"]) if a["attn_mask"] is not None else None
    return _whole(seen, n, [query, key, value, *([mask.labels] if isinstance(mask, Slots) else [])])


def _aligned(labels: torch.Tensor, rank: int) -> torch.Tensor:
    """With axes of length 1 in front, as broadcasting adds them."""
    return labels.reshape((1,) * (rank - labels.dim()) + tuple(labels.shape)) if labels.dim() < rank else labels


def tensors(value: Any) -> Any:
    """The same arguments with the slots as tensors."""
    if isinstance(value, Slots):
        return value.labels
    if isinstance(value, list | tuple):
        return type(value)(tensors(part) for part in value)
    if isinstance(value, dict):
        return {key: tensors(part) for key, part in value.items()}
    return value


Rule = Callable[["Follower", fx.Node, list[Any]], Any]
RULES: dict[str, Rule] = (
    dict.fromkeys(MOVES, move) | dict.fromkeys(POOLS, pool)
    | dict.fromkeys(REDUCTIONS, reduce) | dict.fromkeys(ALONG, along)
    | dict.fromkeys(POINTWISE, elementwise)
    | {
        "getitem": item, "pad": pad, "constant_pad_nd": pad, "rms_norm": rms_norm,
        "glu": glu, "matmul": matmul, "bmm": matmul,
        "scaled_dot_product_attention": attention,
    }
)  # fmt: skip
