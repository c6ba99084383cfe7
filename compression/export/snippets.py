"""The lines that load a file again, in Python, C++ and JavaScript. No torch in here: pages show them."""

from compression.errors import UnknownName

_ONNX = """\
import onnxruntime
session = onnxruntime.InferenceSession("{stem}%s")
scores = session.run(None, {{"image": images}})[0]
"""

_TORCH = """\
import json, safetensors.torch, compression.models as zoo
config = json.load(open("{stem}.json"))
model = zoo.build(**config["network"])
model.load_state_dict(safetensors.torch.load_file("{stem}.safetensors"))
"""

PYTHON = {"onnx": _ONNX % ".onnx", "qdq": _ONNX % ".qdq.onnx", "ort": _ONNX % ".ort", "safetensors": _TORCH}
"""By the format's name in `compression.export.formats`; `images` is float32 [n, C, H, W], normalized."""

_CPP = """\
#include <array>
#include <onnxruntime_cxx_api.h>

Ort::Env environment;
Ort::Session session(environment, "{stem}.onnx", Ort::SessionOptions{{}});
auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
std::array<int64_t, 4> shape{{1, {shape}}};  // one image
auto image = Ort::Value::CreateTensor<float>(memory, pixels.data(), pixels.size(), shape.data(), shape.size());
const char *inputs[] = {{"image"}}, *outputs[] = {{"scores"}};
auto scores = session.Run(Ort::RunOptions{{}}, inputs, &image, 1, outputs, 1);
const float *answer = scores[0].GetTensorData<float>();
"""

_JAVASCRIPT = """\
import * as ort from "onnxruntime-node"; // in a browser: "onnxruntime-web"

const session = await ort.InferenceSession.create("{stem}.onnx");
const image = new ort.Tensor("float32", pixels, [1, {shape}]); // one image
const {{ scores }} = await session.run({{ image }});
"""

LANGUAGES = {"C++": _CPP, "JavaScript": _JAVASCRIPT}
"""Lines that run the packed or the unpacked ONNX file; `pixels` are the floats of one image, normalized."""


_BROUGHT = """\
import safetensors.torch
model = Mine()  # your network, as you wrote it
model.load_state_dict(safetensors.torch.load_file("{stem}.safetensors"), strict=False)
"""


def snippet(name: str, stem: str, *, brought: bool = False) -> str:
    """The Python lines that load format `name` of the files called `stem`; `brought` for a network not of the zoo.

    Raises `UnknownName`.
    """
    if name not in PYTHON:
        raise UnknownName("format", name, PYTHON)
    return (_BROUGHT if brought and name == "safetensors" else PYTHON[name]).format(stem=stem)


def foreign_snippet(language: str, stem: str, input_shape: tuple[int, int, int]) -> str:
    """The lines that run `stem`.onnx in another language. Raises `UnknownName`."""
    if language not in LANGUAGES:
        raise UnknownName("language", language, LANGUAGES)
    return LANGUAGES[language].format(stem=stem, shape=", ".join(map(str, input_shape)))
