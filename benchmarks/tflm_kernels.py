"""How many bytes of code each kernel of TensorFlow Lite Micro takes, counted in the wheel `tflite-micro`.

    python -m benchmarks.tflm_kernels     # needs objdump, nm and readelf (binutils)

Of each kernel: the bytes of all functions and constants that can be reached from its registration and its parser, less
what the interpreter takes anyway. That is what a linker keeps which drops unused sections. The code is the reference
kernels' for x86-64; code for Cortex-M (Thumb-2) is denser, and CMSIS-NN's kernels are other code.
"""

import before_compression  # noqa: F401

import bisect
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

PARSERS = {
    "ADD": "Add", "AVERAGE_POOL_2D": "Pool", "CONCATENATION": "Concatenation", "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "DEQUANTIZE": "Dequantize", "FULLY_CONNECTED": "FullyConnected",
    "HARD_SWISH": "HardSwish", "LEAKY_RELU": "LeakyRelu", "LOGISTIC": "Logistic", "MAX_POOL_2D": "Pool",
    "MEAN": "Reducer", "MUL": "Mul", "PAD": "Pad", "PADV2": "PadV2", "QUANTIZE": "Quantize",
    "RELU": "Relu", "RELU6": "Relu6", "RESHAPE": "Reshape", "SOFTMAX": "Softmax", "STRIDED_SLICE": "StridedSlice",
    "SUB": "Sub", "TANH": "Tanh", "TRANSPOSE": "Transpose",
    "ABS": "Abs", "BATCH_MATMUL": "BatchMatMul", "COS": "Cos", "DIV": "Div", "ELU": "Elu", "EXP": "Exp", "LOG": "Log",
    "MAXIMUM": "Maximum", "MINIMUM": "Minimum", "NEG": "Neg", "REDUCE_MAX": "Reducer", "RSQRT": "Rsqrt", "SIN": "Sin",
    "SQRT": "Sqrt", "SQUARE": "Square",
}  # fmt: skip
CORE = re.compile(
    r"^_ZN6tflite5micro(16MicroInterpreterC1|16MicroInterpreter(6Invoke|15AllocateTensors)|14MicroAllocator6Create)"
)
TARGET = re.compile(r"\b(?:call|jmp|j[a-z]+)\s+([0-9a-f]+) |# ([0-9a-f]+) <")
SHARED = re.compile(r"pybind|_ZNSt|_ZNKSt|Python|_Py")


class Program:
    """Symbols of a shared library, and what each refers to."""

    def __init__(self, path: Path):
        self.names: dict[int, str] = {}
        self.sizes: dict[int, int] = {}
        for line in _told("nm", "-S", "--defined-only", str(path)):
            parts = line.split()
            if len(parts) == 4 and parts[2] in "TtWRrVuDd":
                at = int(parts[0], 16)
                self.names.setdefault(at, parts[3])
                self.sizes[at] = max(self.sizes.get(at, 0), int(parts[1], 16))
        self.starts = sorted(self.sizes)
        self.refers: dict[int, set[int]] = {at: set() for at in self.starts}
        for line in _told("readelf", "-rW", str(path)):
            if found := re.match(r"([0-9a-f]{16}) .*R_X86_64_(?:RELATIVE\s+|64 .* )([0-9a-f]+)", line):
                self._link(int(found[1], 16), int(found[2], 16))
        stubs = {}
        for line in _told("objdump", "-d", "--no-show-raw-insn", str(path)):
            if found := re.match(r"([0-9a-f]+) <(.*)@plt>:", line):
                stubs[int(found[1], 16)] = found[2]
            elif found := re.match(r"\s+([0-9a-f]+):\s+(.*)", line):
                for each in TARGET.finditer(found[2]):
                    target = int(each[1] or each[2], 16)
                    self._link(int(found[1], 16), self.at(stubs[target]) if target in stubs else target)

    def at(self, name: str) -> int:
        """Where a symbol of that name stands; -1 where it is another library's."""
        return next((at for at, known in self.names.items() if known == name), -1)

    def _inside(self, address: int) -> int | None:
        place = bisect.bisect_right(self.starts, address) - 1
        start = self.starts[place] if place >= 0 else -1
        return start if 0 <= start <= address < start + max(1, self.sizes[start]) else None

    def _link(self, source: int, target: int) -> None:
        a, b = self._inside(source), self._inside(target)
        if a is not None and b is not None and a != b:
            self.refers[a].add(b)

    def reached(self, roots: list[int]) -> set[int]:
        """All symbols that the roots lead to, themselves among them; what belongs to Python is left out."""
        found, open_ = set(), list(roots)
        while open_:
            at = open_.pop()
            if at not in found and not SHARED.search(self.names[at]):
                found.add(at)
                open_ += self.refers[at]
        return found

    def matching(self, pattern: str) -> list[int]:
        """Symbols whose name matches."""
        return [at for at, name in self.names.items() if re.search(pattern, name)]


def _told(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def main() -> None:
    """Prints the table of `analysis.tflm_kernels`."""
    spec = find_spec("tflite_micro.python.tflite_micro._runtime")
    assert spec is not None and spec.origin is not None
    program = Program(Path(spec.origin))
    core = program.reached([at for at, name in program.names.items() if CORE.search(name)])
    print(f"CORE = {sum(program.sizes[at] for at in core):_}")
    for kernel, parser in PARSERS.items():
        roots = program.matching(rf"\d\dRegister_{kernel}Ev$") + program.matching(rf"\dParse{parser}E")
        assert len(roots) == 2, (kernel, [program.names[at] for at in roots])
        print(f'    "{kernel}": {sum(program.sizes[at] for at in program.reached(roots) - core):_},')


if __name__ == "__main__":
    main()
