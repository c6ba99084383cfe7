"""`.pt2` archives as torch.export.save writes them, and as somebody else might change them."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

SHAPE = (1, 8, 8)
GRAPH, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"


class Small(nn.Module):
    """A convolution, a batch norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of ten classes."""
        return self.last(self.norm(self.conv(x)).relu().mean((2, 3)))


def save(network: nn.Module, path: Path, example: torch.Tensor | None = None, *, decomposed: bool = False) -> Path:
    """Saves the network for batches of one image, or like `example`."""
    program = torch.export.export(network, (torch.zeros(1, *SHAPE) if example is None else example,))
    torch.export.save(program.run_decompositions() if decomposed else program, path)
    return path


def entries(path: Path) -> dict[str, bytes]:
    """What an archive holds, by name without the root folder."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path: Path, held: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> Path:
    """Writes an archive."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in held.items():
            archive.writestr(f"net/{name}", content)
    return path


def changed(held: dict[str, bytes], change: Callable[[Any], None], entry: str = GRAPH) -> dict[str, bytes]:
    """The same with the JSON of one entry changed in place."""
    record = json.loads(held[entry])
    change(record)
    return held | {entry: json.dumps(record).encode()}


def node(target: str, given: dict[str, Any], output: str, *, at: int = 0) -> Callable[[Any], None]:
    """A change that puts a call of `target`, which gives the tensor `output`, into a graph."""

    def change(record: Any) -> None:
        graph = record["graph_module"]["graph"]
        inputs = [{"name": name, "arg": value, "kind": 1} for name, value in given.items()]
        outputs = [{"as_tensor": {"name": output}}]
        made = {"target": target, "inputs": inputs, "outputs": outputs, "metadata": {}, "name": output}
        graph["nodes"].insert(at, {**made, "is_hop_single_tensor_return": None})
        graph["tensor_values"][output] = graph["tensor_values"][graph["outputs"][0]["as_tensor"]["name"]]

    return change
