"""How each operator with an ONNX translation is called by the tests: on what, and with which values of each setting.

`CALLS` maps 'operator.overload' of ATen to calls. The first value of a setting goes with the first values of the
others; each further value is tried in its place. What stands in `No` is refused, by a sentence that names the operator.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

inf = math.inf


class No:
    """A value that is refused."""

    def __init__(self, value: Any):
        self.value = value


class Call:
    """Values that an operator reads, by their names in `SOURCES`, stored tensors among them, and its settings.

    every=True tries all values of all settings with each other. take: the one of several results that is looked at.
    refused=True: each of them is refused. alone=False: never with a single image, which would mean something else.
    """

    def __init__(
        self,
        /,
        *reads: Any,
        every: bool = False,
        take: int | None = None,
        refused: bool = False,
        alone: bool = True,
        **settings: Any,
    ):
        self.reads, self.every, self.take, self.refused, self.alone = reads, every, take, refused, alone
        self.settings = settings

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The values of the settings, case by case."""
        if self.every:
            yield from (
                dict(zip(self.settings, case, strict=True)) for case in itertools.product(*self.settings.values())
            )
            return
        first = {name: values[0] for name, values in self.settings.items()}
        yield first
        for name, values in self.settings.items():
            yield from (first | {name: value} for value in values[1:])


SOURCES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "x": lambda x: x, "y": lambda x: 0.5 - x.transpose(2, 3), "large": lambda x: 30 * x, "small": lambda x: 1e-6 * x,
    "positive": lambda x: x.abs() + 0.1, "divisor": lambda x: x.mT.sign() * (x.mT.abs() + 0.2),
    "fraction": lambda x: x.sigmoid(), "column": lambda x: x.mean(3, True),
    "mask": lambda x: x > 0, "other mask": lambda x: x < 0.3, "whole": lambda x: (9 * x).to(torch.int64),
    "other whole": lambda x: (5 - 7 * x).to(torch.int64), "int": lambda x: (9 * x).to(torch.int32),
    "natural": lambda x: (9 * x.abs()).to(torch.int64) + 1,
    "rows": lambda x: x.flatten(2), "pixels": lambda x: x.flatten(2).transpose(1, 2), "flat": lambda x: x.flatten(1),
    "heads": lambda x: x.flatten(2).reshape(x.shape[0], 2, 4, 36).transpose(2, 3),
    "patches": lambda x: torch.nn.functional.unfold(x, 3, padding=1),
    "volume": lambda x: x.unflatten(1, (2, 4)), "kept axes": lambda x: x.mean((2, 3), True),
}  # fmt: skip
"""What can be read, made of maps [n, 8, 6, 6] of numbers around 0."""

torch.manual_seed(0)
LINE, SQUARE, BITS = torch.randn(6), torch.randn(6, 6), torch.arange(6) % 3 > 0
COUNTS, KERNEL, ROW_KERNEL = torch.tensor([3, -4, 7, -2, 5, 1]), torch.randn(8, 4, 3, 2), torch.randn(8, 4, 3)
UP_KERNEL, GAINS, SHIFTS = torch.randn(8, 3, 3, 2), torch.rand(8) + 0.5, torch.randn(8)
PLACES = torch.tensor([2, 0, 5])

DIM = (1, 2, 3, -1, -2, No(0), No(-4))
"""One axis of maps; the first is that of the images."""

AXES = ([1], [2, 3], [-1], [-3, -2], 3, No([0]), No([0, 2]))
INNER = DIM[:-2]
"""For operators that torch.export does not trace along the axis of the images."""

KEEP, TYPES = (False, True), (None, torch.float32, torch.float64, torch.float16)
SIZES = ([1, 1], [3, 2], [6, 6], [4, 5], [7, 9])
RESIZED = ([9, 11], [12, 18], [3, 4], [1, 1], [6, 13])
PAIRS = (("x", "y"), ("x", 2), ("x", LINE), ("whole", "x"), ("whole", "other whole"), ("int", "natural"), ("x", "mask"))


def both(*more: tuple[Any, ...], **settings: Any) -> list[Call]:
    """Calls on pairs of values of several types."""
    pairs = [pair for pair in PAIRS if not isinstance(pair[1], int)]
    return [Call(*pair, **settings) for pair in (*pairs, *more)]


def one(*kinds: str, **settings: Any) -> list[Call]:
    """Calls on values of several types."""
    return [Call(kind, **settings) for kind in kinds or ("x",)]


FLOATING, NUMBERS, ALL = ("x", "whole", "mask"), ("x", "whole", "int"), ("x", "whole", "int", "mask")
BOUND = (0.1, -0.3, 0, 6, 100)

POINTWISE: dict[str, list[Call]] = {
    **{f"{name}.default": one(*FLOATING) for name in ("sigmoid", "tanh", "exp", "erf", "sin", "cos", "atan")},
    **{f"{name}.default": one("positive", "natural") for name in ("sqrt",)},
    **{f"{name}.default": one("positive") for name in ("log", "reciprocal", "rsqrt")},
    **{f"{name}.default": one("x") for name in ("hardswish", "selu", "mish", "silu", "hardsigmoid", "log_sigmoid")},
    **{f"{name}.default": one(*NUMBERS) for name in ("abs", "neg", "relu", "relu6", "square", "floor", "ceil",
        "trunc")},
    "sign.default": one(*NUMBERS), "round.default": one("large"), "log1p.default": one("positive", "small"),
    "round.decimals": [Call("x", decimals=(1, 2, 0, 3)), Call("large", decimals=(-1, 1))],
    "bitwise_not.default": one("mask", "whole", "int"), "logical_not.default": one(*ALL),
    **{f"{name}.default": both(("mask", "other mask")) for name in ("logical_and", "logical_or", "logical_xor")},
    **{f"{name}.Tensor": [Call("mask", "other mask"), Call("mask", BITS), Call("whole", "other whole", refused=True),
                          Call("mask", "int", refused=True)] for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{f"{name}.Scalar": [Call("mask", other=(True, False, No(1))), Call("whole", other=(No(3), No(True)))]
       for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{f"{name}.Scalar_Tensor": [Call("mask", self=(True, False, No(1))), Call("whole", self=(No(3), No(True)))]
       for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{f"{name}.Tensor": both(("mask", "other mask"), alpha=(1, 2, -1)) for name in ("add",)},
    **{f"{name}.Tensor": [Call(*pair, alpha=(1, 2, -1)) for pair in (*PAIRS[2:-1], ("x", "y"))] for name in ("sub",
        "rsub")},
    **{f"{name}.Scalar": [Call("x", other=(2, -0.5), alpha=(1, 2, -0.5)), Call("whole", other=(2, -3, 0.5), alpha=(1,
        3))]
       for name in ("add", "sub", "rsub")},
    "mul.Tensor": both(("mask", "other mask")), "mul.Scalar": [Call("x", other=(2, -0.5)), Call("whole", other=(3,
        0.5))],
    "maximum.default": both(("mask", "other mask")), "minimum.default": both(("mask", "other mask")),
    "max.other": both(), "min.other": both(),
    "div.Tensor": both(), "div.Scalar": [Call("x", other=(2, -0.5)), Call("whole", other=(3, 0.5))],
    "div.Tensor_mode": [Call("large", "y", rounding_mode=(None, "floor", "trunc")),
                        Call("large", LINE, rounding_mode=(None, "floor", "trunc")),
                        Call("whole", COUNTS, rounding_mode=(None, "floor", "trunc")),
                        Call("whole", "natural", rounding_mode=(No("floor"), No("trunc")))],
    "div.Scalar_mode": [Call("large", other=(0.1, 3, -0.7), rounding_mode=(None, "floor", "trunc"), every=True),
                        Call("whole", other=(4, -3, 0.5), rounding_mode=(None, "floor", "trunc"), every=True)],
    "floor_divide.default": [Call("large", "y"), Call("whole", COUNTS), Call("whole", "natural", refused=True)],
    "floor_divide.Scalar": [Call("large", other=(0.1, -0.7, 3)), Call("whole", other=(4, -3, 0.5))],
    "remainder.Tensor": [Call("large", "divisor"), Call("whole", COUNTS), Call("whole", "natural", refused=True)],
    "remainder.Scalar": [Call("large", other=(0.3, -0.7, 3)), Call("whole", other=(4, -3, 0.5))],
    "fmod.Tensor": [Call("large", "divisor"), Call("whole", COUNTS), Call("whole", "natural", refused=True)],
    "fmod.Scalar": [Call("large", other=(0.3, -0.7, 3)), Call("whole", other=(4, -3, 0.5))],
    "pow.Tensor_Tensor": [Call("positive", "y"), Call("whole", COUNTS.abs() % 4), Call("positive", "whole")],
    "pow.Tensor_Scalar": [Call("positive", exponent=(2, -1.5, 0.5, 0)), Call("whole", exponent=(2, 3, 0, 0.0))],
    "pow.Scalar": [Call("x", self=(2, 0.3)), Call("natural", self=(2, -3, 0.5))],
    **{f"{name}.{kind}": [Call("x", other=(0.1, 0)), Call("whole", other=(2, 0.5)), Call("mask", other=(0, 1, True))]
       for name in ("eq", "ne", "gt", "ge", "lt", "le") for kind in ("Scalar",)},
    **{f"{name}.Tensor": both(("mask", "other mask"), ("whole", LINE)) for name in ("eq", "ne", "gt", "ge", "lt",
        "le")},
    **{f"{name}.default": [Call("x", min=(-0.2, None, 0, 0.5), max=(0.3, 6)), Call("whole", min=(-2, 0, 0.5), max=(6,
        3)),
                           Call("x", min=(None,), max=(0.3,)), Call("whole", min=(0,), max=(None, 6)), Call("x",
                               min=(0,))]
       for name in ("clamp", "clip")},
    **{f"{name}.Tensor": [Call("x", min=("y",), max=(None, "column")), Call("x", min=(None,), max=("y",)),
                          Call("x", min=(LINE,), max=(None, -LINE)), Call("whole", min=("natural",), max=(None,
                              COUNTS))]
       for name in ("clamp", "clip")},
    "clamp_min.default": [Call("x", min=BOUND), Call("whole", min=(0, 3, 0.5))],
    "clamp_max.default": [Call("x", max=BOUND), Call("whole", max=(0, 3, 0.5))],
    "clamp_min.Tensor": [Call("x", "y"), Call("whole", "natural")], "clamp_max.Tensor": [Call("x", "y"), Call("x",
        LINE)],
    "hardtanh.default": [Call("x", min_val=(-1, 0, -0.2), max_val=(1, 6, 0.3)), Call("whole", min_val=(-2, 0),
        max_val=(6,))],
    "leaky_relu.default": one("x", negative_slope=(0.01, 0.3, -0.2, 0, 2)),
    "gelu.default": one("x", "large", approximate=("none", "tanh")),
    "elu.default": one("x", alpha=(1, 0.3, -0.5), scale=(1, 2.5), input_scale=(1, 0.4, -0.3)),
    "celu.default": one("x", alpha=(1, 0.3, 2.5, -0.5)),
    "softplus.default": one("large", beta=(1, 0.3, 4, -2), threshold=(20, 0.5, 0, -1)),
    "glu.default": one("x", dim=INNER), "threshold.default": one("x", "whole", threshold=(0, 1, -1), value=(0, 3, -2)),
    "hardshrink.default": one("x", lambd=(0.5, 0.1, 0, -0.2)), "softshrink.default": one("x", lambd=(0.5, 0.1, 0)),
    "rrelu.default": one("x", lower=(0.125, 0.05), upper=(1 / 3, 0.9), training=(False, No(True))),
    "addcmul.default": [Call("x", "y", "x", value=(1, 0.5)), Call("whole", "natural", "other whole", value=(1, 3))],
    "addcdiv.default": [Call("x", "y", "positive", value=(1, -0.5))],
    "where.self": [Call("mask", "x", "y"), Call("mask", "whole", "x"), Call("mask", "whole", "natural"),
                   Call("mask", "other mask", "mask"), Call(BITS, "x", "y")],
    "where.ScalarOther": [Call("mask", "x", other=(0, 0.5)), Call("mask", "whole", other=(3, 0.5))],
    "where.ScalarSelf": [Call("mask", "x", self=(0, 0.5)), Call("mask", "whole", self=(3, 0.5))],
    "where.Scalar": [Call("mask", self=(1, 0.5), other=(0, -2.0))],
    "masked_fill.Scalar": [Call("x", "mask", value=(0, 0.5)), Call("whole", "mask", value=(0, 3)), Call("x", BITS,
        value=(1,))],
    "masked_fill.Tensor": [Call("x", "mask", torch.tensor(0.5)), Call("whole", "mask", torch.tensor(3))],
    "full_like.default": [Call("x", fill_value=(1, -0.5), dtype=(None, torch.int64, torch.bool, torch.float64)),
                          Call("whole", fill_value=(1, 3), dtype=(None, torch.float32))],
    **{f"{name}.default": [Call(kind, dtype=(None, torch.int64, torch.bool, torch.float64)) for kind in ("x",
        "whole")]
       for name in ("zeros_like", "ones_like")},
    "to.dtype": [Call(kind, dtype=(torch.float32, torch.int64, torch.int32, torch.bool, torch.float64,
        No(torch.uint8)))
                 for kind in ALL],
    "to.dtype_layout": [Call("mask", dtype=(torch.float32, torch.int64, torch.float64))],
    "to.device": [Call("mask", device=(torch.device("cpu"),), dtype=(torch.float32, torch.int64, torch.float64))],
    "to.other": [Call("mask", "x"), Call("x", "whole")], "type_as.default": [Call("mask", "x"), Call("x", "whole")],
    "_to_copy.default": [Call("mask", dtype=(torch.float32, None, torch.int64, torch.float64))],
}  # fmt: skip

MOVES: dict[str, list[Call]] = {
    "cat.default": [Call(["x", "y"], dim=(1, 2, -1, -3)), Call(["whole", "x"], dim=(1,)), Call(["mask", "whole"],
        dim=(1,))],
    "stack.default": [Call(["x", "y"], dim=(1, 0, 2, 4, -1, -5)), Call(["whole", "x"], dim=(1,))],
    "chunk.default": one("x", "whole", chunks=(2, 3, 5, 1, 20), dim=INNER),
    "split.Tensor": one("x", split_size=(2, 3, 8, 20), dim=INNER), "split.sizes": one("rows", split_size=([1, 7], [3,
        2, 3], [8]), dim=(1, -2)),
    "split.default": one("rows", split_sizes=([1, 7], [3, 2, 3], [8]), dim=(1, -2)),
    "split_with_sizes.default": one("rows", split_sizes=([1, 7], [3, 2, 3], [8]), dim=(1, -2)),
    "pad.default": [Call("x", pad=([1, 2], [1, 0, 2, 3], [-1, 2], [0, 0, 0, 0, 1, 2]), mode=("constant",), value=(None,
        -2.5)),
                    Call("x", pad=([1, 2, 3, 0], [0, 2, 0, 1], No([-1, 2, 0, 0])), mode=("reflect", "replicate",
                        "circular"), every=True),
                    Call("whole", pad=([1, 2],), value=(None, 3.0)), Call("mask", pad=([1, 2],), value=(None, 1.0))],
    "roll.default": [Call("x", shifts=([1], [-2], [13]), dims=([1], [-1], No([0]), No([]))), Call("x", shifts=([1,
        -2],), dims=([2, 3], [3, 3]))],
    "flip.default": one("x", "whole", dims=([1], [2, -1], [], No([0]))),
    "repeat.default": one("x", "mask", repeats=([1, 2, 1, 1], [1, 1, 2, 3], [1, 1, 1, 1], [2, 1, 1, 1, 1])),
    "tile.default": one("x", "mask", dims=([1, 2, 1, 1], [2], [3, 1], [2, 1, 1, 1, 1])),
    "index_select.default": [Call("x", PLACES, dim=INNER)],
    "index.Tensor": [Call("x", indices=([None, PLACES], [None, None, -1 - PLACES], [None, None, PLACES[:, None]],
                                        No([None, PLACES, PLACES]), [None, None, BITS]))],
    "flatten.using_ints": one("x", "mask", start_dim=(1, 2, -2), end_dim=(-1, 2, 3)),
    "reshape.default": one("x", shape=([-1, 288], [-1, 4, 2, 36], [-1, 8, 6, 6])), "view.default": one("x", size=([-1,
        288], [-1, 4, 2, 36], [-1, 8, 6, 6])),
    "_unsafe_view.default": one("x", size=([-1, 288], [-1, 4, 2, 36])), "view.dtype": one("x",
        dtype=(No(torch.int32),)),
    "view_as.default": [Call("volume", "x")], "reshape_as.default": [Call("volume", "x")],
    "unflatten.int": [Call("x", dim=(1, -3), sizes=([2, 4], [-1, 2], [2, 2, 2])), Call("rows", dim=(-1,), sizes=([6,
        6],))],
    "squeeze.default": [Call("kept axes", alone=False), Call("column", alone=False)], "squeeze.dim": one("kept axes",
        dim=(2, -1, 1, 3)),
    "squeeze.dims": one("kept axes", dim=([2, 3], [-1], [1], [])), "unsqueeze.default": one("x", dim=(1, 0, -1, 4, -5)),
    "transpose.int": one("x", dim0=(1, 0, -1), dim1=(2, -1, 1)), "swapaxes.default": one("x", axis0=(1, 0, -1),
        axis1=(2, -1, 1)),
    "permute.default": one("x", dims=([0, 2, 3, 1], [0, -1, -2, -3], [1, 0, 2, 3], [3, 2, 1, 0])),
        "t.default": one("flat"),
    "movedim.int": one("x", source=(1, -1, 0), destination=(3, 2, -2)), "mT.default": one("x"),
        "numpy_T.default": one("flat", "x"),
    "movedim.intlist": one("x", source=([1, 2], [-1, 0]), destination=([3, 1], [0, -2])),
    "narrow.default": one("x", dim=INNER, start=(1, 0, -2), length=(2, 1)),
    "select.int": one("x", dim=INNER, index=(2, 0, -1)), "unbind.int": one("x", dim=(1, 2, 3, -1, -2)),
    "slice.Tensor": one("x", dim=INNER, start=(1, None, -3, -100), end=(4, None, -1, 100, 2**63 - 1), step=(1, 2, 3)),
    "expand.default": [Call("column", size=([-1, 8, 6, 4], [-1, -1, -1, 5], [2, -1, -1, -1, 3]))],
        "expand_as.default": [Call("column", "x")],
    "pixel_shuffle.default": [Call("x", upscale_factor=(2, 1)), Call("volume", upscale_factor=(No(2),))],
    "pixel_unshuffle.default": [Call("x", downscale_factor=(2, 3, 1)), Call("volume", downscale_factor=(No(2),))],
    "channel_shuffle.default": one("x", groups=(2, 4, 1)),
    "repeat_interleave.self_int": [Call("x", repeats=(2, 3), dim=(1, 3, -1))],
    "im2col.default": [Call("x", kernel_size=([3, 2], [1, 1]), dilation=([1, 1], [2, 1]), padding=([0, 0], [1, 2]),
        stride=([1, 1], [2, 3]))],
    "col2im.default": [
        Call("patches", output_size=([6, 6],), kernel_size=([3, 3],), dilation=([1, 1],), padding=([1, 1],),
             stride=([1, 1],)),
        Call("rows", output_size=([3, 10],), kernel_size=([2, 4],), dilation=([1, 1],), padding=([1, 1],),
             stride=([1, 1],)),
        Call("rows", output_size=([13, 13],), kernel_size=([2, 4],), dilation=([2, 1],), padding=([0, 1],),
             stride=([2, 2],))],
}  # fmt: skip

WINDOW: dict[str, Any] = {"stride": ([], 1, 3), "padding": (0, 1), "ceil_mode": KEEP, "every": True}
WINDOWS: dict[str, list[Call]] = {
    "max_pool1d.default": one("rows", kernel_size=(2, 3), dilation=(1, 2), **WINDOW),
    "max_pool2d.default": [*one("x", kernel_size=(2, 3, [3, 2]), dilation=(1, 2), **WINDOW),
                           Call("x", kernel_size=([4, 2], 5), stride=([3, 4], 5), padding=([2, 0], 0), ceil_mode=KEEP),
                           Call("x", kernel_size=(1,), stride=(5, 4), ceil_mode=KEEP, every=True)],
    "avg_pool1d.default": one("rows", kernel_size=(2, 3), count_include_pad=(True, False), **WINDOW),
    "avg_pool2d.default": [*one("x", kernel_size=(2, 3, [3, 2]), count_include_pad=(True, False),
        divisor_override=(None, 5), **WINDOW),
                           Call("x", kernel_size=([4, 2], 5), stride=([3, 4], 5), padding=([2, 0], 0), ceil_mode=KEEP),
                           Call("x", kernel_size=(1,), stride=(5, 4), ceil_mode=KEEP, every=True)],
    "avg_pool3d.default": one("volume", kernel_size=(2, [1, 3, 2]), count_include_pad=(True, False),
        divisor_override=(None, 5), **WINDOW),
    "adaptive_avg_pool1d.default": one("rows", output_size=(1, 7, 36, 50)), "adaptive_avg_pool2d.default": one("x",
        output_size=SIZES),
    "adaptive_max_pool2d.default": [Call("x", output_size=([1, 1], [3, 2], [6, 6], No([4, 5])), take=0), Call("x",
        output_size=([1, 1],), take=1, refused=True)],
}  # fmt: skip

RESIZED_ON = (
    ("upsample_nearest1d", "rows"), ("upsample_nearest2d", "x"), ("upsample_nearest3d", "volume"),
    ("_upsample_nearest_exact1d", "rows"), ("_upsample_nearest_exact2d", "x"), ("_upsample_nearest_exact3d", "volume"),
    ("upsample_linear1d", "rows"), ("upsample_bilinear2d", "x"), ("upsample_trilinear3d", "volume"),
    ("upsample_bicubic2d", "x"), ("_upsample_bilinear2d_aa", "x"), ("_upsample_bicubic2d_aa", "x"),
)  # fmt: skip
FACTORS = (
    [1.7, 2.3, 1.7], [0.55, 1.3, 0.55], [2.0, 2.0, 2.0], [0.7, 0.7, 1.0], [1.0, 1.9, 1.0], [1.1, 1.1, 1.1],
    [0.5, 1.5, 3.0],
)  # fmt: skip
SCALES: dict[int, tuple[str, ...]] = {
    1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w"),
}  # fmt: skip


def resized(name: str, source: str) -> dict[str, list[Call]]:
    """To lengths, by scales, and to lengths that go with scales."""
    axes = int(name.removesuffix("_aa")[-2])
    corners: dict[str, Any] = {} if "nearest" in name else {"align_corners": (False, True)}
    none: dict[str, Any] = dict.fromkeys(SCALES[axes], (None,))
    some: dict[str, Any] = {scale: (1.7, 1.6 if scale == "scales_d" else 1.72) for scale in SCALES[axes]}
    lengths = [No([1, 1]) if name.endswith("_aa") and size == [1, 1] else (size * 2)[:axes] for size in RESIZED]
    factors, scaled = [each[:axes] for each in FACTORS], ([61], [10, 10], [6, 10, 10])[axes - 1]
    return {
        f"{name}.vec": [
            Call(source, output_size=lengths, scale_factors=(None,), **corners),
            Call(source, output_size=(None,), scale_factors=factors, every=True, **corners),
        ],
        f"{name}.default": [
            Call(source, output_size=lengths, **none, **corners),
            Call(source, output_size=(scaled,), **some, **corners),
        ],
    }


RESIZES = {kind: calls for name, source in RESIZED_ON for kind, calls in resized(name, source).items()}

MIXED: dict[str, list[Call]] = {
    **{f"{name}.int": one("x", dim=DIM, dtype=TYPES) for name in ("softmax", "log_softmax")},
    "cumsum.default": one("x", "whole", dim=DIM, dtype=(None, torch.float32, torch.float64)),
    **{f"{name}.dim": [Call("x", dim=AXES, keepdim=KEEP, dtype=TYPES), Call("whole", dim=([1],),
        dtype=(torch.float32,))] for name in ("mean",)},
    "sum.dim_IntList": [*one("x", "whole", dim=AXES, keepdim=KEEP, dtype=TYPES), Call("mask", dim=([1], [2, 3]))],
    "prod.dim_int": [*one("x", dim=DIM, keepdim=KEEP, dtype=TYPES), Call("whole", dim=(1,))],
    **{f"{name}.default": one("x", "whole", refused=True, dtype=(torch.float32, torch.float64)) for name in ("mean",
        "sum", "prod")},
    **{f"{name}.default": one("x", "whole", dim=AXES, keepdim=KEEP) for name in ("amax", "amin")},
    "logsumexp.default": one("x", "large", dim=AXES, keepdim=KEEP),
    **{f"{name}.dim": [Call(kind, dim=DIM, keepdim=KEEP, take=take) for kind in ("x", "whole") for take in (0,
        1)] for name in ("max", "min")},
    **{f"{name}.default": one("x", refused=True) for name in ("max", "min")},
    **{f"{name}.default": one("x", "whole", dim=(*DIM, No(None)), keepdim=KEEP) for name in ("argmax", "argmin")},
    **{f"{name}.default": one("x", unbiased=(True, False), refused=True) for name in ("var", "std")},
    **{f"{name}.dim": one("x", dim=AXES, unbiased=(True, False), keepdim=KEEP) for name in ("var", "std")},
    **{f"{name}.correction": one("x", dim=AXES, correction=(None, 0, 1, 2, 0.5), keepdim=KEEP) for name in ("var",
        "std")},
    "linalg_vector_norm.default": one("x", ord=(2, 1, 0, 3, 0.5, -1, inf, -inf), dim=AXES, keepdim=KEEP,
        dtype=TYPES[:-1]),
    "group_norm.default": [Call("x", num_groups=(2, 4, 1, 8), weight=(None, GAINS), bias=(None, SHIFTS), eps=(1e-5,
        0.3))],
    "instance_norm.default": [Call("x", weight=(None, GAINS), bias=(None, SHIFTS), running_mean=(None,),
        running_var=(None,), use_input_stats=(True,), momentum=(0.1,), eps=(1e-5, 0.3), cudnn_enabled=(True,)),
                              Call("x", weight=(None,), bias=(None,), running_mean=(SHIFTS,), running_var=(GAINS,),
                                  use_input_stats=(No(False),), momentum=(0.1,), eps=(1e-5,), cudnn_enabled=(True,))],
    "rms_norm.default": one("x", normalized_shape=([6], [6, 6], [8, 6, 6]), eps=(None, 0.3)),
    "conv1d.default": [Call("rows", ROW_KERNEL, bias=(None, SHIFTS), stride=([1], [2]), padding=([0], [2]),
        dilation=([1], [3]), groups=(2,))],
    "conv1d.padding": [Call("rows", ROW_KERNEL, bias=(None, SHIFTS), stride=([1], [1]), padding=("valid", "same"),
        dilation=([1], [3]), groups=(2,))],
    "conv2d.default": [Call("x", KERNEL, bias=(None, SHIFTS), stride=([1, 1], [2, 1]), padding=([0, 0], [2, 1]),
        dilation=([1, 1], [2, 3]), groups=(2,))],
    "conv2d.padding": [Call("x", KERNEL, bias=(None, SHIFTS), stride=([1, 1],), padding=("valid", "same"),
        dilation=([1, 1], [2, 3]), groups=(2,))],
    "conv_transpose2d.input": [Call("x", UP_KERNEL, bias=(None, torch.randn(6)), stride=([2, 3], [3, 4]), padding=([0,
        0], [1, 0]), output_padding=([0, 0], [1, 0]), groups=(2,), dilation=([1, 1], [2, 1]))],
    "einsum.default": [Call(["x", "y"], equation=("bchw,bdhw->bcd", "bchw, bchw -> b", No("bchw,bcwv"),
        "bc...,bc...->b...", "bcHw,bcHw->bH"))],
    "addmm.default": [Call(LINE, "flat", torch.randn(288, 6), beta=(1, 0.5, 0), alpha=(1, -2))],
    "baddbmm.default": [Call(torch.ones(1), "rows", "pixels", beta=(1, 0.5, 0), alpha=(1, -2))],
    "matmul.default": [Call("x", "y"), Call("x", SQUARE), Call(SQUARE, "x"), Call("x", LINE), Call(LINE, "x"),
        Call("flat", torch.randn(288, 5))],
    "bmm.default": [Call("rows", "pixels")],
    "scaled_dot_product_attention.default": [
        Call("heads", "heads", "heads", attn_mask=(None, torch.randn(36, 36), torch.rand(36, 36) > 0.5,
            torch.arange(36)[:, None] > torch.arange(36)), dropout_p=(0.0, No(0.5)),
             is_causal=(False, True), scale=(None, 0.3, 0.0), enable_gqa=(False, No(True)))],
}  # fmt: skip

NORM: dict[str, Any] = {
    "running_mean": (SHIFTS,),
    "running_var": (GAINS,),
    "momentum": (0.1, 0.5),
    "cudnn_enabled": (True,),
}
LIFTED: dict[str, list[Call]] = {
    "batch_norm.default": [Call("x", weight=(None, GAINS), bias=(None, SHIFTS), training=(False, No(True)), eps=(1e-5,
        0.3), **NORM)],
    "layer_norm.default": one("x", normalized_shape=([6], [6, 6], [8, 6, 6]), eps=(1e-5, 0.3)),
    "linear.default": [Call("x", SQUARE), Call("x", SQUARE, LINE), Call("flat", torch.randn(5, 288), torch.randn(5))],
    "prelu.default": [Call("x", torch.tensor([0.3])), Call("x", SHIFTS)],
    "dropout.default": one("x", p=(0.5, 0.1), train=(False, No(True))),
    **{f"{name}.default": one("x", p=(0.5, 0.1), train=(False, No(True))) for name in ("feature_dropout",
        "alpha_dropout", "feature_alpha_dropout")},
    **{f"{name}.default": one("x", "whole") for name in ("contiguous", "clone", "alias", "detach", "lift_fresh_copy")},
}  # fmt: skip

CALLS = POINTWISE | MOVES | WINDOWS | RESIZES | MIXED | LIFTED
