"""The folder for boards: its C++ compiles and runs against stubs of the library, and says what LiteRT said."""

import io
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from compression import boards
from compression.boards import Board, folder, literal, pixel_codes
from compression.data import load
from compression.errors import Unsupported
from compression.export.tflite import export
from compression.export.tflite.file import Grid, TfliteFile
from compression.measure import tflite_runs
from compression.measure.tflite_outline import largest_filter
from compression.pipeline.compress import compress_prepared, prepare
from compression.pipeline.tflite_file import measure_tflite
from compression.recipe import Recipe
from compression.records.tflite import Arena
from compression.steps import Quantize
from tests.pipeline.test_tflite_file import linear, quantized

GRID = Grid(0.1, 0)
GCC = shutil.which("g++")

STUBS = {
    "TensorFlowLite.h": "#pragma once\n#include <Arduino.h>\n",
    "Arduino.h": """#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
struct Port {
  void begin(long) {}
  explicit operator bool() const { return true; }
  void print(const char* s) { std::printf("%s", s); }
  void print(int n) { std::printf("%d", n); }
  void print(unsigned long n) { std::printf("%lu", n); }
  void print(float x, int digits) { std::printf("%.*f", digits, static_cast<double>(x)); }
  void println(const char* s) { std::printf("%s\\n", s); }
  void println(unsigned long n) { std::printf("%lu\\n", n); }
};
extern Port Serial;
inline unsigned long micros() { static unsigned long now = 0; return now += 21; }
inline void delay(int) { std::fflush(stdout); }
""",
    "tensorflow/lite/schema/schema_generated.h": """#pragma once
#include <cstdint>
namespace tflite {
struct Model { unsigned int version() const { return 3; } };
inline const Model* GetModel(const void* p) { return reinterpret_cast<const Model*>(p); }
}
""",
    "tensorflow/lite/micro/micro_mutable_op_resolver.h": """#pragma once
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
namespace tflite {
template <unsigned int n> struct MicroMutableOpResolver {
  unsigned int added = 0;
  TfLiteStatus Add() { return added++ < n ? kTfLiteOk : kTfLiteError; }
  TfLiteStatus AddReshape() { return Add(); }
  TfLiteStatus AddFullyConnected() { return Add(); }
  TfLiteStatus AddConv2D() { return Add(); }
  TfLiteStatus AddQuantize() { return Add(); }
};
}
""",
    "tensorflow/lite/micro/micro_interpreter.h": """#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include "tensorflow/lite/schema/schema_generated.h"
struct TfLiteTensor { union { int8_t* int8; void* data; } data; };
namespace tflite {
struct MicroInterpreter {
  int8_t in[64] = {};
  SCORE out[10] = {};
  TfLiteTensor first, last;
  template <class R> MicroInterpreter(const Model*, R& r, uint8_t*, size_t size) {
    std::printf("kernels %u arena %u\\n", r.added, static_cast<unsigned>(size));
    first.data.int8 = in, last.data.data = out;
  }
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  size_t arena_used_bytes() { return 1234; }
  TfLiteStatus Invoke() {
    for (int i = 0; i < 64; ++i) std::printf("%d ", in[i]);
    std::printf("\\n");
    out[1] = static_cast<SCORE>(256), out[2] = 9;
    return kTfLiteOk;
  }
  TfLiteTensor* input(int) { return &first; }
  TfLiteTensor* output(int) { return &last; }
};
}
""",
}
MAIN = """#include "model.h"
#include "network.h"
#include <Arduino.h>
Port Serial;
void setup();
void loop();
int main() {
  std::printf("aligned %d\\n", static_cast<int>(reinterpret_cast<unsigned long>(kModel) % 16));
  setup();
  loop();
  for (int half = -600; half <= 600; ++half) std::printf("%d ", Quantize(0.5f * half * kInputScale));
  std::printf("%d\\n", Quantize(NAN));
  std::FILE* file = std::fopen("model.out", "wb");
  std::fwrite(kModel, 1, kModelBytes, file);
  return std::fclose(file);
}
"""


def with_wide_scores() -> bytes:
    """The file of one layer as it is exported, whose scores are int16."""
    prepared = prepare(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), load("digits"), calibration_images=64)
    recipe = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8, placement="everywhere"),), quality="fast")
    return export(compress_prepared(prepared, recipe).books.graph, (1, 8, 8), prepared.calibration.images)


@pytest.fixture(scope="module", params=[quantized, with_wide_scores])
def board(request: pytest.FixtureRequest) -> Board:
    data, content = load("digits"), request.param()
    return Board(content, measure_tflite(content, data), data, 'A "net"\n#include </etc/passwd>')


@pytest.mark.skipif(GCC is None, reason="no g++ here")
def test_the_sketch_compiles_and_runs_against_stubs(board, tmp_path):
    with zipfile.ZipFile(io.BytesIO(folder(board))) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"classify"}
        archive.extractall(tmp_path)
    sketch, about = tmp_path / "classify", tflite_runs.about(board.content, (1, 8, 8))
    for name, text in {**STUBS, "main.cpp": MAIN}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    strict = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unused-const-variable"]
    strict += [f"-I{sketch}", f"-I{tmp_path}", f"-DSCORE={about.score_type}_t"]
    parts = ["-x", "c++", sketch / "classify.ino", sketch / "model.cpp", tmp_path / "main.cpp", "-o", tmp_path / "run"]
    subprocess.run([str(GCC), *strict, "-include", "Arduino.h", *map(str, parts)], check=True, timeout=60)
    told = subprocess.run([str(tmp_path / "run")], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=10)
    *lines, quantized_halves = told.stdout.splitlines()
    assert lines[:2] == ["aligned 0", f"kernels {len(about.kernels)} arena {boards.arena_bytes(board)}"]
    best = 1 if about.score_type == "int16" else 2  # of int8 codes, 256 is none
    assert re.fullmatch(
        rf"Class {best} \({best}\), score -?\d+\.\d{{3}}, (as expected|NOT as on the computer), 21 us", lines[-1]
    )
    assert (tmp_path / "model.out").read_bytes() == board.content
    sent = np.array(lines[-2].split(), int).reshape(8, 8)
    grid = about.image_grid
    halves = np.float32(0.5) * np.arange(-600, 601, dtype=np.float32) * np.float32(grid[0]) / np.float32(grid[0])
    rounded = np.clip(np.round(halves) + grid[1], -128, 127).astype(int)
    assert quantized_halves.split() == [*map(str, rounded), "-128"]
    codes = pixel_codes(board.data, grid)[0]
    (image,) = re.findall(r"Test image (\d+)", (sketch / "test_image.h").read_text())
    assert np.array_equal(sent, codes[board.data.test.images[int(image), 0].numpy()])


def test_an_arena_holds_what_was_counted(board):
    if board.measured.arena.size_bytes:
        assert boards.arena_bytes(board) >= board.measured.arena.size_bytes + 1024
    assert boards.arena_bytes(board) % 16 == 0


def test_the_arena_has_room_for_two_columns_of_the_largest_filter(board):
    file = TfliteFile()
    image, last = file.value((1, 8, 8, 3), GRID, "x"), file.value((1, 8, 8, 4), GRID, "y")
    for outputs, shape in ((last, (4, 3, 5, 3)), (file.value((1, 8, 8, 9), GRID, "z"), (9, 1, 1, 3))):
        weights = file.weights(np.ones(shape, np.int8), np.ones(shape[0], np.float32), 0, "w")
        file.operator("CONV_2D", [image, weights, -1], [outputs], "Conv2DOptions")
    content = file.finish(image, last)
    assert largest_filter(content) == 3 * 5 * 3 and largest_filter(quantized()) == 0
    counted = replace(board, content=content, measured=replace(board.measured, arena=Arena(10_000)))
    assert boards.arena_bytes(counted) == 11_216  # 10,000 + 2 columns x 45 inputs x 2 bytes + 1024, in steps of 16


@pytest.mark.parametrize(("content", "told"), [
    (linear(), "1 image of float32 with channels last and gives float32"),
    (linear((1, 1, 8, 8)), "1 image of float32 with channels first"),
    (linear((2, 8, 8, 1)), "2 images of float32 with channels last"),
])  # fmt: skip
def test_a_file_that_the_sketch_cannot_feed_is_refused(board, content, told):
    with pytest.raises(Unsupported, match=told):
        folder(replace(board, content=content))


def test_names_of_strangers_are_data_in_c():
    assert literal('a"b\\n\n??/é') == r'"a\042b\134n\012\077\077\057\303\251"'
    assert len(literal("x" * 1000)) == 62


def test_a_kernel_without_a_name_is_named(board, monkeypatch):
    monkeypatch.delitem(boards.ADDS, "RESHAPE")
    with pytest.raises(Unsupported, match="RESHAPE"):
        folder(board)
