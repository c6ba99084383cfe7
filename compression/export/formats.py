"""The other files that users expect, beside the packed ONNX file: each with the lines that load it again."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import fx
from torch.nn.utils import parametrize

from compression.errors import UnknownName
from compression.export import export
from compression.host.onnx_runtime import optimized
from compression.network.graph import shapes
from compression.network.parametrizations import QUANTIZER, ActivationQuantizer
from compression.recipe import Recipe


@dataclass(frozen=True)
class Compressed:
    """A compressed network in torch, as `pipeline.simulate` returns it, and what it was made from.

    `architecture` is its name in the zoo, or None for a network of the user's own.
    """

    graph: fx.GraphModule
    input_shape: tuple[int, int, int]
    recipe: Recipe
    architecture: str | None = None


@dataclass(frozen=True)
class Format:
    """One kind of output. `suffixes` are those of its files; `export.snippets` has the lines that load it."""

    title: str
    suffixes: tuple[str, ...]
    write: Callable[[Compressed], tuple[bytes, ...]]


def write(name: str, compressed: Compressed, stem: Path) -> tuple[Path, ...]:
    """Writes format `name` beside `stem`: 'net' becomes net.onnx, or net.safetensors and net.json.

    Raises `UnknownName` for a format that is not in `FORMATS`, `Unsupported` where the network has no ONNX translation.
    """
    if name not in FORMATS:
        raise UnknownName("format", name, FORMATS)
    found = FORMATS[name]
    paths = tuple(stem.with_name(stem.name + suffix) for suffix in found.suffixes)
    for path, content in zip(paths, found.write(compressed), strict=True):
        path.write_bytes(content)
    return paths


def _packed(compressed: Compressed) -> tuple[bytes, ...]:
    return (export(compressed.graph, compressed.input_shape).onnx,)


def _plain(compressed: Compressed) -> tuple[bytes, ...]:
    return (export(compressed.graph, compressed.input_shape, packed=False).onnx,)


def _ort(compressed: Compressed) -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ort"
        optimized(_plain(compressed)[0], str(path), portable=True)
        return (path.read_bytes(),)


def _safetensors(compressed: Compressed) -> tuple[bytes, ...]:
    config = json.dumps(_config(compressed), indent=2) + "\n"
    return save(tensors(compressed.graph)), config.encode()


@torch.no_grad()
def tensors(graph: fx.GraphModule) -> dict[str, torch.Tensor]:
    """The state dict under the original network's names: weights as they are computed with (masked, on their grid)."""
    found: dict[str, torch.Tensor] = {}
    for path, module in graph.named_modules():
        if isinstance(module, ActivationQuantizer) or ".parametrizations" in path:
            continue
        state = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        if parametrize.is_parametrized(module):
            state |= {name: getattr(module, name) for name in module.parametrizations}
        found |= {f"{path}.{name}".lstrip("."): t.detach().clone().contiguous() for name, t in state.items()}
    return found


def _config(compressed: Compressed) -> dict[str, Any]:
    known = shapes(compressed.graph, compressed.input_shape)
    output = next(node for node in compressed.graph.graph.nodes if node.op == "output").args[0]
    quantizers = {
        name.removeprefix(QUANTIZER): {"scale": float(module.get_buffer("scale")), "zero_point": module.zero_point}
        for name, module in compressed.graph.named_modules()
        if isinstance(module, ActivationQuantizer)
    }
    return {
        "network": {
            "name": compressed.architecture,
            "input_shape": list(compressed.input_shape),
            "classes": known[output.name][1],
        },
        "recipe": compressed.recipe.to_dict(),
        "activations": quantizers,
    }


FORMATS: dict[str, Format] = {
    "onnx": Format("ONNX, packed", (".onnx",), _packed),
    "qdq": Format("ONNX, unpacked (QuantizeLinear and DequantizeLinear)", (".qdq.onnx",), _plain),
    "ort": Format("ONNX Runtime's own format", (".ort",), _ort),
    "safetensors": Format("PyTorch weights and how they were made", (".safetensors", ".json"), _safetensors),
}
"""Every format by name."""
