"""The folder for a microcontroller's owner: the model as C, what it needs, and a sketch that runs it."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np

from compression.analysis.tflm_kernels import SOURCE, program_bytes
from compression.data import Dataset
from compression.errors import Unsupported
from compression.measure import tflite_runs
from compression.measure.accuracy import normalized_values
from compression.measure.tflite_outline import largest_filter
from compression.records.tflite import TfliteMeasurement

HERE = Path(__file__).parent
FOLDER = "classify"
"""The name of the sketch, which Arduino wants to be that of its folder."""

ADDS = {
    "ADD": "AddAdd", "AVERAGE_POOL_2D": "AddAveragePool2D", "CONCATENATION": "AddConcatenation", "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D", "DEQUANTIZE": "AddDequantize", "FULLY_CONNECTED": "AddFullyConnected",
    "HARD_SWISH": "AddHardSwish", "LEAKY_RELU": "AddLeakyRelu", "LOGISTIC": "AddLogistic",
    "MAX_POOL_2D": "AddMaxPool2D", "MEAN": "AddMean", "MUL": "AddMul", "PAD": "AddPad", "PADV2": "AddPadV2",
    "QUANTIZE": "AddQuantize", "RELU": "AddRelu", "RELU6": "AddRelu6", "RESHAPE": "AddReshape", "SOFTMAX": "AddSoftmax",
    "STRIDED_SLICE": "AddStridedSlice", "SUB": "AddSub", "TANH": "AddTanh", "TRANSPOSE": "AddTranspose",
    "ABS": "AddAbs", "BATCH_MATMUL": "AddBatchMatMul", "COS": "AddCos", "DIV": "AddDiv", "ELU": "AddElu",
    "EXP": "AddExp", "LOG": "AddLog", "MAXIMUM": "AddMaximum", "MINIMUM": "AddMinimum", "NEG": "AddNeg",
    "REDUCE_MAX": "AddReduceMax", "RSQRT": "AddRsqrt", "SIN": "AddSin", "SQRT": "AddSqrt", "SQUARE": "AddSquare",
}  # fmt: skip
"""What `MicroMutableOpResolver` calls each kernel."""

MARGIN = 1024
"""Bytes of the arena beyond what was counted."""
CANDIDATES = 32
"""Test images of which one that is answered rightly is built in."""
LONGEST_NAME, MOST_PIXELS = 60, 65_536


@dataclass(frozen=True)
class Board:
    """What the folder is made of: the `.tflite` file, its measurement, the images, and a title."""

    content: bytes
    measured: TfliteMeasurement
    data: Dataset
    title: str


def folder(board: Board) -> bytes:
    """A zip with the sketch `classify`. Raises `Unsupported` for kernels without a name and images too large."""
    files = {
        "classify.ino": (HERE / "classify.ino").read_text(), "platformio.ini": (HERE / "platformio.ini").read_text(),
        "network.h": _network(board), "model.h": MODEL_H, "model.cpp": _model(board.content),
        "test_image.h": _test_image(board), "README.md": _readme(board),
    }  # fmt: skip
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            about = zipfile.ZipInfo(f"{FOLDER}/{name}", (1980, 1, 1, 0, 0, 0))
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, text)
        about = zipfile.ZipInfo(f"{FOLDER}/model.tflite", (1980, 1, 1, 0, 0, 0))
        archive.writestr(about, board.content)
    return made.getvalue()


def arena_bytes(board: Board) -> int:
    """The arena that the sketch sets aside: what TFLM took, what CMSIS-NN's convolutions take beside, and a margin.

    `arm_convolve_s8_get_buffer_size` of CMSIS-NN asks for two columns of a filter's inputs in 16 bits. Where nothing
    was counted, it is 64 KiB.
    """
    counted = board.measured.arena.size_bytes or 65_536
    return -(-(counted + 4 * largest_filter(board.content) + MARGIN) // 16) * 16


def _network(board: Board) -> str:
    data, kernels = board.data, [name for name, _ in board.measured.kernels]
    if unknown := [kernel for kernel in kernels if kernel not in ADDS]:
        raise Unsupported(f"The folder for boards has no name for the kernel {unknown[0]} of TensorFlow Lite Micro.")
    about = tflite_runs.about(board.content, data.input_shape)
    _check_taken(about)
    channels, height, width = data.input_shape
    counted = board.measured.arena.size_bytes
    told = f"TensorFlow Lite Micro took {counted:,} bytes" if counted else "Not counted: a guess"
    return Template((HERE / "network.h.txt").read_text()).substitute(
        height=height, width=width, channels=channels, classes=len(data.classes), arena=arena_bytes(board),
        arena_told=f"{told}; added are buffers of CMSIS-NN's kernels and {MARGIN:,} bytes.",
        input_scale=_float(about.image_grid[0]), input_zero=about.image_grid[1],
        score_type=about.score_type, output_scale=_float(about.score_grid[0]), output_zero=about.score_grid[1],
        names=",\n".join(f"    {literal(name)}" for name in data.classes), kernels=len(kernels),
        adds="\n".join(f"  if (resolver.{ADDS[name]}() != kTfLiteOk) return kTfLiteError;" for name in kernels),
        codes=",\n".join(f"    {{{_rows(row)}}}" for row in pixel_codes(data, about.image_grid)),
    )  # fmt: skip


def _check_taken(about: tflite_runs.About) -> None:
    """Raises `Unsupported` for a file that the sketch cannot feed: it knows one image of int8 codes, channels last."""
    known = about.score_type in ("int8", "int16")
    if not known or (about.type, about.batch, about.channels_last) != ("int8", 1, True):
        order, count = "last" if about.channels_last else "first", f"{about.batch} image{'s'[: about.batch > 1]}"
        raise Unsupported(
            "The folder for boards needs a file that takes one image of int8 codes with its channels last and gives "
            f"int8 or int16 scores; this one takes {count} of {about.type} with channels {order} and gives "
            f"{about.score_type}."
        )


def pixel_codes(data: Dataset, grid: tuple[float, int]) -> np.ndarray:
    """The int8 code [C, 256] of each value of a pixel, as LiteRT is given it here."""
    values = normalized_values(data) / np.float32(grid[0])
    return np.clip(np.round(values) + grid[1], -128, 127).astype(np.int8)


MODEL_H = """// The model: the content of model.tflite.
#pragma once

#include <stdint.h>

extern const unsigned int kModelBytes;
extern const uint8_t kModel[];
"""


def _model(content: bytes) -> str:
    return (
        '#include "model.h"\n\nconst unsigned int kModelBytes = '
        f"{len(content)};\nalignas(16) const uint8_t kModel[] = {{\n{_rows(content)}}};\n"
    )


def _test_image(board: Board) -> str:
    data = board.data
    if np.prod(data.input_shape) > MOST_PIXELS:
        raise Unsupported(f"A built-in image has at most {MOST_PIXELS:,} values; these have {data.input_shape}.")
    indices = np.arange(min(CANDIDATES, len(data.test)))
    found, _ = tflite_runs.predict(board.content, data, indices, len(data.classes))
    right = found.classes == data.truth[indices] if data.truth is not None else np.ones(len(indices), bool)
    chosen = int(np.flatnonzero(right)[0]) if right.any() else 0
    pixels = data.test.images[chosen].numpy().transpose(1, 2, 0)
    return (
        f"// Test image {chosen}, rows of pixels, and the class that LiteRT gives it on a computer.\n#pragma once\n\n"
        f"#include <stdint.h>\n\nconstexpr int kExpectedClass = {int(found.classes[chosen])};\n"
        f"alignas(4) constexpr uint8_t kTestImage[] = {{\n{_rows(pixels.reshape(-1))}}};\n"
    )


def _readme(board: Board) -> str:
    found, right = board.measured, board.measured.accuracy
    arena = found.arena.size_bytes
    return Template((HERE / "README.md.txt").read_text()).substitute(
        title=plain(board.title), model_bytes=f"{found.size_bytes:,}",
        program_bytes=f"{program_bytes(name for name, _ in found.kernels):,}", program_source=SOURCE,
        arena_taken=(f"{arena:,} bytes by TensorFlow Lite Micro's own count" if arena else "not counted")
        + f"; the sketch sets aside {arena_bytes(board):,}",
        accuracy=f"{right.value:.2%} of {right.n:,} test images, by LiteRT"
        + (", as the fp32 file names them" if right.reference == "fp32" else ""),
        kernel_list=", ".join(f"{name} {count}" for name, count in found.kernels),
    )  # fmt: skip


def literal(text: str) -> str:
    """A string of C: what is no plain letter, digit or mark stands as three octal digits for each byte of its UTF-8."""
    plain = b" -_.,()+abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    content = text[:LONGEST_NAME].encode("utf-8", "replace")
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in content) + '"'


def plain(text: str) -> str:
    """A line of Markdown: letters, digits and spaces alone."""
    return "".join(c if c.isalnum() or c in " -+,." else " " for c in text[:LONGEST_NAME])


def _rows(numbers: Iterable[int] | Sequence[int]) -> str:
    texts = [str(int(n)) for n in numbers]
    return ",\n".join(",".join(texts[i : i + 24]) for i in range(0, len(texts), 24))


def _float(value: float) -> str:
    """Enough digits for the same float32, with a point or an exponent."""
    return f"{np.float32(value):.9e}"
