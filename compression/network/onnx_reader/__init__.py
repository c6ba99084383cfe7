"""Networks in ONNX files, read as data: a table of our own from ONNX's operators to calls of torch.

    network, facts = read_onnx("resnet18.onnx")
    check_onnx("resnet18.onnx", network, images)

`program` holds the file's graph, `folding` computes what it stores, `quantization` reads integers back as floats,
`layout`, `rewriting` and `strided_views` put together what exporters took apart, `batch` frees the number of images,
`network` runs it all in torch, and `checking` compares with ONNX Runtime. What comes out is traced like any other
module.

A stranger's file is read first in a confined process: `attempt_onnx(path)`.
"""

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn

from compression import confined
from compression.errors import InvalidFile
from compression.host.onnx_assembly import MAX_BYTES, assemble, checked
from compression.host.onnx_runtime import session
from compression.network.onnx_reader.batch import rehearse
from compression.network.onnx_reader.checking import Check, compared, refuse_others
from compression.network.onnx_reader.ends import settle_input_, settle_output_
from compression.network.onnx_reader.folding import folded
from compression.network.onnx_reader.layout import settle_layout_
from compression.network.onnx_reader.network import Network, refuse_training
from compression.network.onnx_reader.program import inlined, read_program
from compression.network.onnx_reader.quantization import as_floats_
from compression.network.onnx_reader.rewriting import rewrite_
from compression.network.onnx_reader.strided_views import rewrite_views_

__all__ = ["Check", "OnnxFacts", "attempt_onnx", "check_onnx", "load_onnx", "read_onnx"]


@dataclass(frozen=True)
class OnnxFacts:
    """What a file says of itself: the images that it takes, its classes, and what was changed in reading."""

    input_shape: tuple[int, int, int]
    classes: int
    notes: tuple[str, ...]


def load_onnx(path: str | Path) -> nn.Module:
    """The network in an ONNX file, in float32, in eval mode; it takes any number of images [n, C, H, W].

    Raises what `read_onnx` raises.
    """
    return read_onnx(path)[0]


def read_onnx(path: str | Path) -> tuple[nn.Module, OnnxFacts]:
    """The network in an ONNX file, in float32, in eval mode, and what the file says of it.

    It takes any number of images [n, C, H, W] and gives scores [n, classes]. Raises `InvalidFile` for what is no ONNX
    file that ONNX Runtime knows, `Unsupported` for operators that are not known here, and `InvalidModel` for a network
    that does not take images, does not run or does not answer with scores.
    """
    path = Path(path)
    return read_content(_bytes(path), path.absolute().parent)


def read_content(content: bytes, folder: Path | None) -> tuple[nn.Module, OnnxFacts]:
    """`read_onnx` of the bytes of a file, with weights that lie in other files of `folder`; None is no folder."""
    model = checked(content)
    whole = assemble(content, model, folder).content
    network, shape = _built(model if whole is content else checked(whole))
    classes = rehearse(network, shape)
    return network.eval(), OnnxFacts(shape, classes, tuple(network.program.notes))


def attempt_onnx(path: str | Path) -> None:
    """Reads and traces the network in a stranger's ONNX file in a confined process.

    Raises what `read_onnx` and `trace` raise, and `InvalidFile` where that process does not survive.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(f"There is no file {str(path)!r}.")
    confined.attempt("onnx_network", path, folder=str(path.absolute().parent))


def check_onnx(path: str | Path, module: nn.Module, images: torch.Tensor) -> Check:
    """`module`, as `read_onnx` read it from that file, against ONNX Runtime on the file, for images [n, C, H, W].

    Raises `InvalidModel` where more than 1 in 1,000 images get another class; of a quantized file the classes are told
    only.
    """
    if not isinstance(module, Network):
        raise TypeError("check_onnx compares what read_onnx returned")
    path = Path(path)
    content = _bytes(path)
    whole = assemble(content, checked(content), path.absolute().parent).content
    check = compared(session(whole), module, images)
    refuse_others(check, quantized=module.quantized)
    return check


def _bytes(path: Path) -> bytes:
    """Raises `InvalidFile` for what is no plain file, or too long."""
    try:
        if not path.is_file():
            raise InvalidFile(f"There is no file {str(path)!r}.")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InvalidFile(f"{str(path)!r} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', error)}.") from None


def _built(model: onnx.ModelProto) -> tuple[Network, tuple[int, int, int]]:
    """The network in an ONNX file, and the shape of its images."""
    model = inlined(model)
    program = read_program(model, folded(model))
    refuse_training(program)
    quantized = as_floats_(program)
    if quantized:
        program.notes.append("Quantized: read back as the float network it stands for.")
    takes, ending = program.image, settle_output_(program)
    nodes = len(program.nodes)
    shape = settle_input_(program)
    channels_last = len(program.nodes) > nodes
    rewrite_views_(program)
    settle_layout_(program)
    rewrite_(program)
    network = Network(program)
    network.takes, network.ending = takes, ending
    network.channels_last, network.quantized = channels_last, quantized
    return network, shape
