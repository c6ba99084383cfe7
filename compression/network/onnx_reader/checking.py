"""A network that was read from an ONNX file, against ONNX Runtime on the file itself."""

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch

from compression.errors import InvalidModel
from compression.host.onnx_runtime import REFUSALS, reason
from compression.network.decisions import classes
from compression.network.onnx_reader.ends import ended
from compression.network.onnx_reader.network import Network

MOST_OTHER = 1e-3
"""Share of images that may get another class."""

MOST_NOISE = 0.5
"""Relative error of a quantized file's answers to those of the floats it stands for."""

KINDS = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """`relative_error`: ‖difference‖/‖answers‖; `same_classes`: share of `images` images with the same class."""

    relative_error: float
    same_classes: float
    images: int


@torch.no_grad()
def compared(session: ort.InferenceSession, network: Network, images: torch.Tensor, batch: int = 16) -> Check:
    """The answers of both to images [n, C, H, W]. Raises `InvalidModel` for more than `MOST_OTHER` other classes."""
    theirs = _answers(session, images.numpy(), network)
    ours = ended(torch.cat([network(part) for part in images.split(batch)]).numpy(), network.ending)
    if theirs.shape != ours.shape:
        raise InvalidModel(
            f"The network as read answers with {list(ours.shape)} scores, the file with {list(theirs.shape)}."
        )
    a, b = theirs.astype(np.float64), ours.astype(np.float64)
    error = float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(a)), 1e-30)
    return Check(error, float((classes(a) == classes(b)).mean()), len(images))


def _answers(session: ort.InferenceSession, images: np.ndarray, network: Network) -> np.ndarray:
    """What the file answers to images [n, C, H, W], in its own layout, type and batch."""
    inputs = {each.name: each for each in session.get_inputs()}
    given = inputs.pop(network.takes)
    kind = KINDS.get(given.type)
    if kind is None or any(each.type not in KINDS for each in inputs.values()):
        raise InvalidModel(f"The file takes images of {given.type}; floats and whole numbers are possible.")
    values = (images.transpose(0, 2, 3, 1) if network.channels_last else images).astype(kind)
    size = given.shape[0] if isinstance(given.shape[0], int) and given.shape[0] > 0 else len(values)
    unread = {name: np.zeros([n if isinstance(n, int) else 1 for n in each.shape], KINDS[each.type])
              for name, each in inputs.items()}  # fmt: skip
    output, parts = session.get_outputs()[0].name, []
    for start in range(0, len(values), size):
        part = values[start : start + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
        try:
            answer = session.run([output], unread | {given.name: np.ascontiguousarray(filled)})[0]
        except REFUSALS as error:
            raise InvalidModel(f"ONNX Runtime cannot run the file: {reason(error)}.") from None
        parts.append(answer.reshape(len(answer), -1)[: len(part)])
    return np.concatenate(parts)


def refuse_others(check: Check, *, quantized: bool) -> None:
    """Raises `InvalidModel` where the network as read answers otherwise than the file.

    Of a quantized file the classes are told only: it rounds, which the network of floats does not.
    """
    if not np.isfinite(check.relative_error):
        raise InvalidModel("The network returns NaN or infinite scores; only numbers are allowed.")
    if quantized and check.relative_error > MOST_NOISE:
        raise InvalidModel(
            f"The file is quantized, and the network of floats that it stands for differs from it by"
            f" {check.relative_error:.0%} of its answers; import the network as it was before quantization."
        )
    other = 1 - check.same_classes
    if not quantized and other > MOST_OTHER:
        raise InvalidModel(
            f"The network as read from the file gives {other:.1%} of {check.images} images another class than ONNX"
            f" Runtime does with the file; at most {MOST_OTHER:.1%} may differ. Import it as a .pt2 file instead."
        )
