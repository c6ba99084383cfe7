"""Names of layers and stored tensors, from whatever names a file has."""

import re
from collections.abc import Callable

from torch import fx, nn

TAKEN = set(dir(fx.GraphModule(nn.Module(), fx.Graph())))
"""Names that modules and traced networks have for themselves."""

LONGEST, DEEPEST = 60, 8
OWN = {"weight", "bias", "running_mean", "running_var"}
ENDING = re.compile(r"([._/](weight|kernel|transposed|scaled|MatMul|Conv2D|ReadVariableOp|[0-9]*quantized))+$")


class Names:
    """Gives paths below a module, each once. Nothing stands below a tensor, and no tensor where a part stands."""

    def __init__(self) -> None:
        self._tensors: set[str] = set()
        self._parts: set[str] = set()
        self._layers: set[str] = set()

    def layer(self, weight: str, node: str, op: str) -> str:
        """A new path for a layer, by the name of its weight where that says 'weight', else by its node's."""
        named = ENDING.sub("", weight) if ENDING.search(weight) else ""
        path = _path(named) or _path(_of_node(node, op)) or _path(op) or "layer"
        found = self._free(path, self._is_used)
        self._layers.add(found)
        self._parts |= _above(f"{found}.weight")
        self._tensors |= {f"{found}.{name}" for name in OWN}
        return found

    def tensor(self, name: str) -> str:
        """A new path for a stored tensor that belongs to no layer."""
        found = self._free(_path(name) or "constant", lambda tried: tried in self._parts)
        self._tensors.add(found)
        self._parts |= _above(found)
        return found

    def _is_used(self, layer: str) -> bool:
        """Whether a layer stands at that path, or something else where its tensors would."""
        own = {f"{layer}.{name}" for name in OWN}
        return layer in self._layers or bool(own & (self._tensors | self._parts))

    def _free(self, path: str, is_taken: Callable[[str], bool]) -> str:
        tried, number = path, 1
        while is_taken(tried) or tried in self._tensors or _above(tried) & self._tensors:
            tried, number = f"{path}_{number}", number + 1
            if number > DEEPEST:
                path = path.replace(".", "_")
        return tried


def _above(path: str) -> set[str]:
    """The paths of what a path lies in."""
    parts = path.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts))}


def _of_node(name: str, op: str) -> str:
    """'layer1.0.conv1' of '/layer1/layer1.0/conv1/Conv', as PyTorch's exporter names nodes."""
    parts = [part for part in name.split("/") if part]
    if len(parts) > 1 and re.fullmatch(rf"{re.escape(op)}(_\d+)?|MatMul|Gemm(_\d+)?", parts[-1]):
        parts.pop()
    kept: list[str] = []
    for part, after in zip(parts, [*parts[1:], ""], strict=False):
        if not after.startswith(f"{part}."):
            kept.append(part)
    return ".".join(kept)


def _path(name: str) -> str:
    """Parts of letters, digits and underscores, with dots between them; '' where nothing is left."""
    parts = [re.sub(r"\W+", "_", part, flags=re.ASCII).strip("_")[:LONGEST] for part in re.split(r"[./:]+", name)]
    parts = [f"{part}_" if part in TAKEN else part for part in parts if part]
    if not any(re.search("[a-zA-Z]", part) for part in parts):
        return f"layer_{'_'.join(parts)}" if parts else ""
    return ".".join(parts) if len(parts) <= DEEPEST else "_".join(parts)[:LONGEST]
