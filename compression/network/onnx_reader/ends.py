"""The two ends of a file's graph: how it takes images, and what it makes of scores."""

import numpy as np

from compression.errors import InvalidModel
from compression.network.onnx_reader.program import Node, Program

COLOURS = (1, 3, 4)
USUAL = 224
"""Height and width where a file takes images of any size."""

CHANNELS_FIRST, CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
ENDINGS = {"Softmax": "softmax", "LogSoftmax": "log-softmax", "Sigmoid": "sigmoid"}


def settle_input_(program: Program) -> tuple[int, int, int]:
    """The shape (C, H, W) of the images; a graph that takes its channels last gets a transpose in front.

    Raises `InvalidModel` for an input that is no batch of images.
    """
    sizes = list(program.sizes)
    if len(sizes) != 4:
        raise InvalidModel(f"The network's input has {len(sizes)} axes; images have 4, [n, C, H, W] or [n, H, W, C].")
    last = _channels_last(program, sizes)
    channels, height, width = (sizes[3], sizes[1], sizes[2]) if last else (sizes[1], sizes[2], sizes[3])
    if channels is None:
        channels = _channels(program) or 3
    if height is None or width is None:
        given = height or width or USUAL
        program.notes.append(f"It takes images of any size; {height or given}×{width or given} is assumed.")
        height, width = height or given, width or given
    if last:
        program.notes.append("Its input was NHWC.")
        images = f"{program.image}.channels_first"
        program.nodes.insert(0, Node("Transpose", [images], [program.image], {"perm": CHANNELS_LAST}, "channels_last"))
        program.image = images
    if not 0 < height <= 4096 or not 0 < width <= 4096 or not 0 < channels <= 64:
        raise InvalidModel(f"The network takes images of {channels}×{height}×{width}; up to 64×4096×4096 are possible.")
    return channels, height, width


def _channels_last(program: Program, sizes: list[int | None]) -> bool:
    if sizes[3] in COLOURS and sizes[1] not in COLOURS:
        return True
    first = next((node for node in program.nodes if program.image in node.inputs), None)
    free = sizes[1] is None and (sizes[3] is None or sizes[3] in COLOURS)
    return free and first is not None and first.op == "Transpose" and first.get("perm") == CHANNELS_FIRST


def _channels(program: Program) -> int | None:
    """What the first convolution reads."""
    first = next((node for node in program.nodes if node.op in ("Conv", "QLinearConv")), None)
    weight = program.constants.get(first.input(3 if first.op == "QLinearConv" else 1)) if first is not None else None
    return (
        int(weight.shape[1]) * first.get("group", 1)
        if first is not None and weight is not None and weight.ndim > 1
        else None
    )


def settle_output_(program: Program) -> str | None:
    """Leaves out what follows the scores. Returns the operator at the end that was left out, or None."""
    if len(program.outputs) > 1:
        program.notes.append(f"Of its {len(program.outputs)} outputs the first is taken.")
        del program.outputs[1:]
    makers = {name: node for node in program.nodes for name in node.outputs}
    ending = None
    name = program.outputs[0]
    while (node := makers.get(name)) is not None:
        if node.op in ENDINGS and not node.domain and ending is None:
            ending = node.op
            program.notes.append(f"A {ENDINGS[node.op]} at the end was left out.")
        elif not (node.op in ("Identity", "Cast") and not node.domain):
            break
        name = node.inputs[0]
    if ending:
        program.outputs[0] = name
    return ending


def ended(scores: np.ndarray, ending: str | None) -> np.ndarray:
    """What a file with that operator at its end answers where the network answers with `scores` [n, classes]."""
    if ending == "Sigmoid":
        return 1 / (1 + np.exp(-scores))
    if ending is None:
        return scores
    shifted = scores - scores.max(1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log if ending == "LogSoftmax" else np.exp(log)
