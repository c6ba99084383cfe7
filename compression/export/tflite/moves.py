"""Operators that only move values: reshapes, turns, parts and joins, written as those of TFLite."""

from typing import Any

import numpy as np
from torch import fx

from compression.errors import Unsupported
from compression.export.tflite.translator import Translator, moved, moved_shape
from compression.network.graph import arguments, operator_name

LISTS = {"chunk", "split", "split_with_sizes", "unbind"}
"""Operators that give several values; each 'getitem' takes one."""


def reshape(t: Translator, node: fx.Node, given: int) -> int:
    """Numbers stay in PyTorch's order, for which maps are turned where they have several places and channels."""
    source, before = t.source(node), t.shapes[node.all_input_nodes[0].name]
    after = t.shapes[node.name]
    if before[-2:] == after[-2:] and min(len(before), len(after)) >= 4 and before[0] == after[0]:
        return t.reshaped(source, moved_shape(after), node.name)
    if _one_order(before) and _one_order(after):
        return t.reshaped(source, moved_shape(after), node.name)
    return t.in_file(t.reshaped(t.plain(source), after, node.name), f"{node.name} moved")


def _one_order(shape: tuple[int, ...]) -> bool:
    """Whether numbers lie in the file in the order in which PyTorch has them."""
    return len(shape) < 4 or np.prod(shape[-2:]) == 1 or np.prod(shape[1:-2]) == 1


def permute(t: Translator, node: fx.Node, given: int) -> int:
    """Axes change places."""
    a, rank = arguments(node), len(t.shapes[node.name])
    order = [axis % rank for axis in a["dims"]] if "dims" in a else list(range(rank))
    if "dims" not in a:
        first, second = a["dim0"] % rank, a["dim1"] % rank
        order[first], order[second] = second, first
    places = moved(rank)
    return t.transposed(t.source(node), [places.index(order[axis]) for axis in places], node.name)


def expand(t: Translator, node: fx.Node, given: int) -> int:
    """A stored value for each image: of one image, the value itself."""
    source = t.read(node.args[0], len(t.shapes[node.name]))
    if t.file.shapes[source] != moved_shape(t.shapes[node.name]):
        raise Unsupported(f"A .tflite file takes values that are repeated for each image alone; not {node.name!r}.")
    return source


def slice_(t: Translator, node: fx.Node, given: int) -> int:
    """Every `step`-th place of an axis."""
    a, rank = arguments(node), len(t.shapes[node.name])
    axis = moved(rank).index(a["dim"] % rank)
    begin, end, step = slice(a["start"], a["end"], a["step"]).indices(t.file.shapes[t.source(node)][axis])
    return t.cut(t.source(node), axis, begin, end, step, node.name)


def select(t: Translator, node: fx.Node, given: int) -> int:
    """One place of an axis, which goes."""
    a = arguments(node)
    return _picked(t, t.source(node), a["dim"], a["index"], node)


def _picked(t: Translator, source: int, axis: int, place: int, node: fx.Node) -> int:
    plain = t.plain(source)
    shape = t.file.shapes[plain]
    axis, length = axis % len(shape), shape[axis]
    rows = int(np.prod(shape[:axis])), length, int(np.prod(shape[axis + 1 :]))  # TFLM cuts no value of five axes
    part = t.cut(t.reshaped(plain, rows, f"{node.name} rows"), 1, place % length, place % length + 1, 1, node.name)
    return t.in_file(t.reshaped(part, t.shapes[node.name], f"{node.name} picked"), f"{node.name} moved")


def split(t: Translator, node: fx.Node) -> None:
    """Parts of a value along an axis; each 'getitem' of `node` gives one."""
    source, about, name = t.source(node), arguments(node), operator_name(node)
    rank = len(t.file.shapes[source])
    axis = moved(rank).index(about["dim"] % rank)
    for reader in node.users:
        place = int(reader.args[1])  # type: ignore[arg-type]
        if name == "unbind":
            t.tensors[reader] = _picked(t, source, about["dim"], place, reader)
            continue
        at = _begin(about, t.file.shapes[source][axis], place)
        length = moved_shape(t.shapes[reader.name])[axis]
        t.tensors[reader] = t.cut(source, axis, at, at + length, 1, reader.name)


def _begin(about: dict[str, Any], length: int, place: int) -> int:
    sizes = -(-length // about["chunks"]) if "chunks" in about else about.get("split_size") or about["split_sizes"]
    return place * sizes if isinstance(sizes, int) else sum(sizes[:place])


def concatenate(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """All parts on the grid of the answer: the kernel copies codes."""
    a, rank, grid = arguments(node), len(t.file.shapes[given]), t.file.grids[given]
    parts = [t.on_grid(t.read(part), grid) for part in a["tensors"]]
    return t.file.operator("CONCATENATION", parts, [given], "ConcatenationOptions",
                           axis=moved(rank).index(a["dim"] % rank))  # fmt: skip


def roll(t: Translator, node: fx.Node, given: int) -> int:
    """Along each axis, what leaves at one end comes in at the other."""
    a, made, rank = arguments(node), t.source(node), len(t.shapes[node.name])
    if len(a["dims"]) != len(a["shifts"]):
        raise Unsupported(f"A .tflite file takes values that are rolled along axes; not {node.name!r}.")
    for dim, shift in zip(a["dims"], a["shifts"], strict=True):
        axis = moved(rank).index(dim % rank)
        length = t.file.shapes[made][axis]
        at = -shift % length
        if at:
            parts = [t.cut(made, axis, begin, end, 1, f"{node.name} part") for begin, end in ((at, length), (0, at))]
            whole = t.like(made, t.file.shapes[made], f"{node.name} axis {axis}")
            made = t.file.operator("CONCATENATION", parts, [whole], "ConcatenationOptions", axis=axis)
    return made


def pad(t: Translator, node: fx.Node, given: int, activation: int) -> int:
    """Zeros beside a value."""
    a, source = arguments(node), t.source(node)
    if a["mode"] != "constant" or a["value"] or min(a["pad"]) < 0:
        raise Unsupported(f"A .tflite file takes zeros beside values; {node.name!r} sets others.")
    rank = len(t.file.shapes[source])
    asked = [(0, 0)] * (rank - len(a["pad"]) // 2) + list(zip(a["pad"][::2], a["pad"][1::2], strict=True))[::-1]
    amounts = t.file.whole([asked[axis] for axis in moved(rank)], f"{node.name} amounts")
    made = given if t.file.grids[source] == t.file.grids[given] else t.like(source, t.file.shapes[given], node.name)
    t.file.operator("PAD", [source, amounts], [made], "PadOptions")
    return given if made == given else t.fill(given, made)
