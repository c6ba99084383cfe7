"""The lines that load a file again, in Python, C++ and JavaScript. No torch in here: pages show them."""

from compression.errors import UnknownName
from compression.records.preprocess import Preprocess

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


_PHOTO = """\
import json
import numpy, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{stem}{suffix}")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{mode}")
{resize}pixels = numpy.asarray(picture).reshape(1, {height}, {width}, {channels})  # uint8
scores = session.run(None, {{"pixels": pixels}})[0][0]
print(classes[scores.argmax()])
"""

_RESIZE = {
    "exact": "picture = picture.resize(({width}, {height}), {how})\n",
    "shorter": """\
short = min(picture.size)
picture = picture.resize([{to} * side // short for side in picture.size], {how})
""",
    "letterbox": """\
scale = min({width} / picture.width, {height} / picture.height)
inner = picture.resize([max(1, round(side * scale)) for side in picture.size], {how})
picture = Image.new("{mode}", ({width}, {height}), {grey})
picture.paste(inner, (({width} - inner.width) // 2, ({height} - inner.height) // 2))
""",
}

_CROP = """\
left, top = round((picture.width - {width}) / 2), round((picture.height - {height}) / 2)
picture = picture.crop((left, top, left + {width}, top + {height}))
"""

PIXELS_SUFFIX = ".pixels.onnx"
"""How the name of a file with preprocessing inside ends."""

_GREY = 114
"""Beside a picture in a letterbox, as `data` has it."""


def photo_snippet(stem: str, preprocess: Preprocess) -> str:
    """The Python lines that open a JPEG, answer it with the file that has preprocessing inside, and print its class."""
    p, grey = preprocess, preprocess.channels == "grey"
    about = {
        "width": p.width, "height": p.height, "to": p.resize_to or min(p.height, p.width),
        "mode": "L" if grey else "RGB",
        "how": f"Image.Resampling.{p.interpolation.upper()}", "grey": _GREY if grey else (_GREY,) * 3,
    }  # fmt: skip
    resize = _RESIZE[p.resize].format(**about) + (_CROP.format(**about) if p.resize == "shorter" else "")
    return _PHOTO.format(stem=stem, suffix=PIXELS_SUFFIX, resize=resize, channels=1 if grey else 3, **about)


def foreign_snippet(language: str, stem: str, input_shape: tuple[int, int, int]) -> str:
    """The lines that run `stem`.onnx in another language. Raises `UnknownName`."""
    if language not in LANGUAGES:
        raise UnknownName("language", language, LANGUAGES)
    return LANGUAGES[language].format(stem=stem, shape=", ".join(map(str, input_shape)))
