"""Bytes of flash that TensorFlow Lite Micro takes beside a model: its interpreter, and each kernel that is linked in.

Counted by `python -m benchmarks.tflm_kernels` in the wheel tflite-micro 0.dev20261023182759: functions and constants
that each kernel's registration and parser lead to, less the interpreter's; what several kernels share counts for each.
It is the reference kernels' code for x86-64. Thumb-2 code of the same sources is denser; CMSIS-NN's kernels are others.
"""

from collections.abc import Iterable

SOURCE = "code of TensorFlow Lite Micro 0.dev20261023182759 for x86-64, counted in its wheel; for Cortex-M it is denser"

CORE = 53_155
"""The interpreter with its memory planner and reader of models."""

KERNELS = {
    "ADD": 17_994, "AVERAGE_POOL_2D": 6_135, "CONCATENATION": 8_837, "CONV_2D": 13_834, "DEPTHWISE_CONV_2D": 11_527,
    "DEQUANTIZE": 2_103, "FULLY_CONNECTED": 10_715, "HARD_SWISH": 2_584, "LEAKY_RELU": 2_924, "LOGISTIC": 5_186,
    "MAX_POOL_2D": 5_916, "MEAN": 7_773, "MUL": 14_982, "PAD": 9_179, "PADV2": 9_179, "QUANTIZE": 4_073, "RELU": 2_646,
    "RELU6": 1_942, "RESHAPE": 2_162, "SOFTMAX": 9_228, "STRIDED_SLICE": 20_581, "SUB": 20_618, "TANH": 5_322,
    "TRANSPOSE": 3_558, "ABS": 2_943, "BATCH_MATMUL": 15_752, "COS": 1_432, "DIV": 15_430, "ELU": 2_085, "EXP": 1_799,
    "LOG": 1_432, "MAXIMUM": 13_333, "MINIMUM": 13_333, "NEG": 946, "REDUCE_MAX": 4_414, "RSQRT": 3_662, "SIN": 1_432,
    "SQRT": 1_471, "SQUARE": 1_442,
}  # fmt: skip
"""By TFLite's name of the operator."""

UNKNOWN = 20_618
"""What a kernel that is not in the table counts: as much as the largest that is."""


def program_bytes(kernels: Iterable[str]) -> int:
    """Flash of the interpreter and of the kernels."""
    return CORE + sum(KERNELS.get(kernel, UNKNOWN) for kernel in kernels)
