"""Networks that strangers bring as ONNX files, and weights for a network of a library."""

import io
import json
from pathlib import Path

from tests.damage import Rng, damaged_bytes, damaged_text, damaged_value, spelled
from tests.strangers import Onnx, pickled

ARCHITECTURE = "timm:test_efficientnet"


class OnnxNetworks(Onnx):
    """ONNX files as networks."""

    def enter(self, path: Path) -> object:
        """What every way in does with the file."""
        from compression.network.onnx_reader import read_onnx
        from compression.network.tracing import trace

        network, facts = read_onnx(path)
        return trace(network, facts.input_shape)


class LibraryWeights:
    """Weights of a network of timm, as safetensors and as torch.save writes them, plain and wrapped."""

    def __init__(self) -> None:
        import torch
        from safetensors.torch import save

        from compression.models import libraries

        self.tensors = dict(libraries.library("timm").build(ARCHITECTURE.partition(":")[2], 10, {}).state_dict())
        self.plain = save(self.tensors)
        self.saved = []
        for wrapped in (self.tensors, {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in self.tensors.items()}}):
            torch.save(wrapped, kept := io.BytesIO())
            self.saved.append(kept.getvalue())

    def make(self, rng: Rng, folder: Path) -> Path:
        """Damaged bytes, a forged header or pickle, or tensors of other names and shapes."""
        kind, path = rng.randrange(5), folder / "weights.safetensors"
        if kind == 0:
            path.write_bytes(damaged_bytes(rng, self.plain))
        elif kind == 1:
            path.write_bytes(self._headed(rng))
        elif kind == 2:
            path.write_bytes(self._misfitting(rng))
        else:
            path = folder / "weights.pth"
            content = rng.choice(self.saved)
            path.write_bytes(damaged_bytes(rng, content) if kind == 3 else self._pickled(rng, content))
        return path

    def _headed(self, rng: Rng) -> bytes:
        size = int.from_bytes(self.plain[:8], "little")
        header = spelled(damaged_value(rng, json.loads(self.plain[8 : 8 + size]))).encode()
        return len(header).to_bytes(8, "little") + header + self.plain[8 + size :]

    def _misfitting(self, rng: Rng) -> bytes:
        import torch
        from safetensors.torch import save

        tensors = dict(self.tensors)
        for name in rng.sample(sorted(tensors), rng.choice((1, 3, 20))):
            tensor = tensors.pop(name)
            changed = rng.choice(
                (tensor.reshape(-1)[:1], tensor.half(), tensor.float() * torch.nan, tensor[None], None)
            )
            if changed is not None:
                tensors[rng.choice((name, f"model.{name}", damaged_text(rng, name)[:200]))] = changed.contiguous()
        return save({name.encode("utf-8", "replace").decode(): tensor.clone() for name, tensor in tensors.items()})

    def _pickled(self, rng: Rng, content: bytes) -> bytes:
        """An archive whose pickle runs a program, is damaged, or stands under another name."""
        import zipfile

        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made := io.BytesIO(), "w") as target:
            for name in source.namelist():
                entry = source.read(name)
                if name.endswith("data.pkl"):
                    entry = rng.choice((pickled(), damaged_bytes(rng, entry), b""))
                    name = rng.choice((name, name, name.upper(), f"../{name}"))
                target.writestr(name, entry)
        return made.getvalue()

    def enter(self, path: Path) -> object:
        """As `--weights` takes it in; what torch.save wrote without the process that it is read in first."""
        from compression.models.opening import open_source
        from compression.models.weights_files import saved_tensors

        if path.suffix == ".pth":
            return saved_tensors(path, path.name)
        return open_source(ARCHITECTURE, weights=path)
