"""Files of networks that are not read here, told by their content, each with the lines that export it to ONNX."""

import zipfile
from pathlib import Path
from typing import Literal

from compression.errors import InvalidFile, Unsupported

Format = Literal["onnx", "pt2", "safetensors", "torch"]

_TORCH = "import torch; {load}; torch.onnx.export(model, torch.zeros(1, 3, 224, 224), 'network.onnx')"
_KERAS = "import keras; model = keras.models.load_model({name!r}); model.export('network.onnx', format='onnx')"

PICKLED = (
    "{name} holds pickled Python objects, which would run code when they are read; where you trust it: "
    + _TORCH.format(load="model = torch.load({name!r}, weights_only=False).eval()")
    + ", then import network.onnx."
)
_SAID = {
    "torchscript": "{name} is TorchScript, which holds a program; export it where it runs: "
    + _TORCH.format(load="model = torch.jit.load({name!r}).eval()"),
    "keras": "{name} is a Keras model; export it where Keras is installed: " + _KERAS,
    "tflite": "{name} is a TensorFlow Lite model; export it where tf2onnx is installed: "
    "import tf2onnx; tf2onnx.convert.from_tflite({name!r}, output_path='network.onnx'); print('network.onnx')",
    "savedmodel": "{name} is a TensorFlow SavedModel; export it where tf2onnx is installed: "
    "python -m tf2onnx.convert --saved-model {name} --output network.onnx",
    "paddle": "{name} is a Paddle model; export it where paddle2onnx is installed: "
    "paddle2onnx --model_dir . --model_filename {name} --save_file network.onnx",
    "coreml": "{name} is a Core ML model, of which no ONNX file is made; export the network it was made from.",
    "openvino": "{name} is an OpenVINO model, of which no ONNX file is made; export the network it was made from.",
    "gguf": "{name} is a GGUF file of a language model; image classifiers are compressed here.",
}
_SUFFIXES = {
    ".h5": "keras", ".keras": "keras", ".hdf5": "keras", ".tflite": "tflite", ".lite": "tflite", ".pb": "savedmodel",
    ".pdmodel": "paddle", ".pdiparams": "paddle", ".mlmodel": "coreml", ".mlpackage": "coreml", ".xml": "openvino",
    ".gguf": "gguf",
}  # fmt: skip
ENDINGS: dict[str, Format] = {
    ".onnx": "onnx", ".pt2": "pt2", ".safetensors": "safetensors", ".pth": "torch", ".pt": "torch", ".bin": "torch",
    ".tar": "torch", ".ckpt": "torch",
}  # fmt: skip


def format_of(path: Path) -> Format:
    """What a file is, by its content and then its ending.

    Raises `InvalidFile` for one that is not there and for no network's, `Unsupported` for those of other programs, with
    the lines that export them.
    """
    if path.is_dir():
        kind = "savedmodel" if (path / "saved_model.pb").is_file() else _SUFFIXES.get(path.suffix.lower(), "")
        if kind:
            raise Unsupported(_SAID[kind].format(name=path.name))
        raise InvalidFile(f"{str(path)!r} is a folder; a network is a file.")
    if not path.is_file():
        raise InvalidFile(f"There is no file {str(path)!r}.")
    kind = _by_content(path) or _SUFFIXES.get(path.suffix.lower(), "")
    if kind in _SAID:
        raise Unsupported(_SAID[kind].format(name=path.name))
    if kind == "torch" or kind == "pt2":
        return "pt2" if kind == "pt2" else "torch"
    if path.suffix.lower() not in ENDINGS:
        raise InvalidFile(f"{path.name} is not a network file; {', '.join(ENDINGS)} are read here.")
    return ENDINGS[path.suffix.lower()]


def _by_content(path: Path) -> str:
    """What the first bytes, or the entries of an archive, say; '' where they say nothing."""
    try:
        with path.open("rb") as file:
            begin = file.read(16)
    except OSError as error:
        raise InvalidFile(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    if begin.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if begin[4:8] == b"TFL3":
        return "tflite"
    if begin.startswith(b"GGUF"):
        return "gguf"
    if begin.startswith(b"PK"):
        return _by_entries(path)
    return "torch" if begin[:1] == b"\x80" else ""  # a pickle's protocol


def _by_entries(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()[:100_000]]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        return ""
    if any(name == "constants.pkl" or name.startswith("code/") for name in names):
        return "torchscript"
    if any(name.startswith("models/") and name.endswith(".json") for name in names):
        return "pt2"
    if "data.pkl" in names:
        return "torch"
    return "keras" if {"config.json", "model.weights.h5"} <= set(names) else ""
