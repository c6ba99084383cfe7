"""The zip that goes to another machine: `probe.py`, files of runs with their fp32 file, test images and labels."""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compression.data import Dataset
from compression.errors import InvalidSetting
from compression.measure.accuracy import normalized_values
from compression.records.measurement import order
from compression.records.probe import MOST_FILES

IMAGES = 200
MOST_PIXELS = 64 << 20
"""Bytes of test images in a package: of large images there are fewer."""

STAMP = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip

README = """\
python probe.py

measures the files in this folder on this machine and writes report.json, which Compression Lab takes on its page Deploy
or with `python -m compression probe add report.json`. In the same network,

    python probe.py --send LINK

sends it by a link from the page Deploy or from `python -m compression probe receive`; nothing else is ever sent.
It needs Python 3.8 or newer with numpy and onnxruntime:

    pip install numpy onnxruntime

Files that end in .tflite are measured with LiteRT where that is installed too: pip install ai-edge-litert

In Termux (Android): pkg install python python-numpy python-onnxruntime.
`python probe.py --help` lists its options, such as --name "My board" and --threads 1,4.
"""


@dataclass(frozen=True)
class Packed:
    """A file of a run. `title` is for people; the `baseline` is what the others are timed in turns with.

    `tflite` is the same network for LiteRT, if it goes along too.
    """

    run: str
    title: str
    onnx: bytes
    baseline: bool = False
    tflite: bytes = b""


def package(files: Sequence[Packed], data: Dataset, fingerprint: str) -> bytes:
    """The zip: images are the first of the fixed order, and equal files are there once.

    Raises `InvalidSetting` where there are too many files, or not one fp32 file among them.
    """
    count = len(files) + sum(file.tflite != b"" for file in files)
    if not 0 < count <= MOST_FILES or sum(file.baseline for file in files) != 1:
        raise InvalidSetting(f"A package has an fp32 file and up to {MOST_FILES - 1} others, not {count:,} files.")
    files = sorted(files, key=lambda file: (file.baseline, file.tflite != b""))
    files = list({file.onnx: file for file in files}.values())
    files.sort(key=lambda file: not file.baseline)
    chosen = order(len(data.test))[: images_of(data)]
    stems = [f"files/{number:02d}-{file.run}" for number, file in enumerate(files)]
    manifest = {
        "format": "compression-lab probe package", "version": 1, "data_fingerprint": fingerprint,
        "n_test": len(data.test), "images": len(chosen), "dataset": data.title, "classes": list(data.classes),
        "files": [entry for stem, file in zip(stems, files, strict=True) for entry in _entries(stem, file)],
    }  # fmt: skip
    contents = {
        "README.txt": README.encode(),
        "probe.py": Path(__file__).with_name("probe.py").read_bytes(),
        "manifest.json": json.dumps(manifest, indent=1).encode(),
        "pixels.npy": _array(data.test.images[chosen].numpy()),
        "normalized.npy": _array(normalized_values(data)),
        "saturation.onnx": saturation(),
    }
    if data.labelled:
        contents["labels.npy"] = _array(data.test.labels[chosen].numpy())
    contents |= {f"{stem}.onnx": file.onnx for stem, file in zip(stems, files, strict=True)}
    contents |= {f"{stem}.tflite": file.tflite for stem, file in zip(stems, files, strict=True) if file.tflite}
    return _zipped(contents)


def _entries(stem: str, file: Packed) -> list[dict[str, Any]]:
    """What the manifest tells of a run's files; `of` is the ONNX file whose run a `.tflite` file is of."""
    onnx = hashlib.sha256(file.onnx).hexdigest()
    shared = {"run": file.run, "title": file.title, "baseline": file.baseline}
    found: list[dict[str, Any]] = [{"file": f"{stem}.onnx", "sha256": onnx, **shared}]
    if file.tflite:
        mark, title = hashlib.sha256(file.tflite).hexdigest(), f"{file.title}, .tflite"
        more = {"baseline": False, "title": title, "of": onnx}
        found.append({"file": f"{stem}.tflite", "sha256": mark, **shared, **more})
    return found


def images_of(data: Dataset, most: int = MOST_PIXELS) -> int:
    """How many test images go along: `IMAGES`, or as many as there are or `most` bytes hold."""
    return max(1, min(IMAGES, len(data.test), most // int(np.prod(data.input_shape))))


def saturation() -> bytes:
    """An ONNX file that sums 64 products of 255 and 127 in integers: 2,072,640, unless pairs are added in 16 bits."""
    weights = numpy_helper.from_array(np.full((64, 16), 127, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["codes", "weights"], ["sums"])],
        "saturation",
        [helper.make_tensor_value_info("codes", TensorProto.UINT8, [1, 64])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 16])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _array(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def _zipped(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(f"probe/{name}", STAMP), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
