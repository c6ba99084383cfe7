"""A file with preprocessing inside: it takes the bytes of pictures and normalises them itself, then runs as before."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compression.export.writer import INPUT
from compression.records.preprocess import Preprocess

PIXELS = "pixels"
"""The input's name: uint8 ['n', H, W, C], RGB or grey, of pictures that are resized and cropped already."""

CLASSES, PREPROCESS = "classes", "preprocess"
"""Names of what stands in the file for programs that read it: the classes' names and `Preprocess`, as JSON."""


def with_preprocessing(content: bytes, preprocess: Preprocess, *, channels: int, classes: Sequence[str] = ()) -> bytes:
    """The ONNX file `content` of `export`, whose input is pixels in place of normalised images.

    In front of the graph, which stays as it is: Transpose to [n, C, H, W], the channels turned round for BGR, Cast,
    Mul and Sub. These are the operations of `Dataset.normalize`, in its order and precision.
    """
    model = onnx.load_model_from_string(content)
    graph = model.graph
    std, mean = (np.array(values, np.float32) for values in (preprocess.std, preprocess.mean))
    scale = (np.float32(1) / std).reshape(1, -1, 1, 1)
    nodes = [helper.make_node("Transpose", [PIXELS], ["pixels_nchw"], perm=[0, 3, 1, 2])]
    constants = {"pixels_scale": scale / np.float32(255), "pixels_shift": mean.reshape(1, -1, 1, 1) * scale}
    ordered = "pixels_nchw"
    if preprocess.channels == "BGR":
        ordered, constants["pixels_order"] = "pixels_bgr", np.array([2, 1, 0], np.int64)
        nodes.append(helper.make_node("Gather", ["pixels_nchw", "pixels_order"], [ordered], axis=1))
    nodes += [
        helper.make_node("Cast", [ordered], ["pixels_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels_float", "pixels_scale"], ["pixels_scaled"]),
        helper.make_node("Sub", ["pixels_scaled", "pixels_shift"], [INPUT]),
    ]
    behind = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *behind])
    shape: list[str | int | None] = ["n", preprocess.height, preprocess.width, channels]
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, shape))
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    about = {PREPROCESS: asdict(preprocess)} | ({CLASSES: list(classes)} if classes else {})
    helper.set_model_props(model, {name: json.dumps(value, ensure_ascii=False) for name, value in about.items()})
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
