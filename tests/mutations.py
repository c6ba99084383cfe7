"""Everything that can come from a stranger, damaged and forged by chance from a seed, sent through every way in.

    python -m tests.mutations 10000              # a table of what happened; --seed N, --only WAY, --case N

A case is right where its input is taken or refused with one sentence (`UserError`). Counted is what must not be: code
that comes with the input and runs (it leaves a marker, or the interpreter's audit hook sees a program started or a
pickle read), any other exception, a file made or changed outside of the case's own folder, and more than 30 seconds.
"""

import before_compression  # noqa: F401

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

HANG_S = 30.0
Rng = random.Random


@dataclass(frozen=True)
class Way:
    """One way in: `sample(rng)` is something well-formed, damaged and written to `folder`; `enter` takes it in."""

    name: str
    share: int
    make: Callable[[Rng, Path], Any]
    enter: Callable[[Any], object]


@dataclass
class Figures:
    """What happened to the cases of one way, and how to bring about again what should not have."""

    taken: int = 0
    refused: int = 0
    broken: int = 0
    tracebacks: int = 0
    code_run: int = 0
    written: int = 0
    hangs: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class Watch:
    """What the interpreter tells of files, programs and pickles while a case is under way; see `sys.addaudithook`."""

    RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pickle.find_class", "pty.spawn",
            "subprocess.Popen")  # fmt: skip
    CHANGES: ClassVar = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.chmod": 0, "os.truncate": 0,
               "os.link": 1, "os.symlink": 1, "shutil.rmtree": 0}  # fmt: skip

    def __init__(self, *inside: Path):
        self.inside = tuple(str(path.resolve()) for path in inside)
        self.on = False
        self.ran: list[str] = []
        self.wrote: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, about: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "subprocess.Popen" and about[0] == sys.executable:
            return  # ours, to read in
        if event in self.RUNS:
            self.ran.append(f"{event} {about[:2]!r:.200}")
        elif event == "open" and isinstance(about[2], int) and about[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._change(about[0])
        elif event in self.CHANGES:
            self._change(about[self.CHANGES[event]])

    def _change(self, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            where = os.path.realpath(os.fsdecode(path))
            if not where.startswith(self.inside) and where != os.devnull:
                self.wrote.append(where)

    @contextmanager
    def case(self) -> Iterator[None]:
        """Watches what is done inside."""
        self.ran, self.wrote, self.on = [], [], True
        try:
            yield
        finally:
            self.on = False


# How things are damaged

MARKER = "ran"
"""The file that a payload makes where it runs, in the folder that is the current one then."""

CODE = f"__import__('os').system('touch {MARKER}')"
WORDS = [
    "", " ", "\0", "\n", "\ud800", "\u202e", "../../../etc/passwd", "/etc/passwd", "a" * 5000, "9" * 5000, "-1", "NaN",
    "-Infinity", "1e999", "0x" + "f" * 5000, "true", "null", "self", "kind", "step", "__class__", "__init__", "%s%n",
    "{0.__class__}", "${jndi:x}", "<script>alert(1)</script>", "![x](http://localhost/)", "'; DROP TABLE x; --", "*?[",
    "~nobody", "folder:", "folder:/", "folder:\0", "folder:~nobody", "resnet20", "own", CODE,
    f"!!python/object/apply:os.system ['touch {MARKER}']", "&a [*a]", "<<: *a", "[" * 2000, "{" * 2000, "- " * 2000,
    "%", "%ff%fe", "&", "=", "a=b", ":", "1:30.5" + ":30" * 200,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**200, 10**400, 0.0, -0.0, 1e308, float("inf"), float("nan"),
    [], {}, [[]], [None], {"": None}, "x", 7.5, [1, 2, 3, 4, 5, 6, 7, 8, 9], {"as_int": -1},
    {"as_expr": {"expr_str": CODE}},
]  # fmt: skip


def damaged_bytes(rng: Rng, content: bytes) -> bytes:
    """A few bytes changed, taken out, put in, doubled, or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 4, 8, 64, 1000)))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:to] = rng.randbytes(to - at)
        elif kind == 2:
            data[at:to] = b""
        elif kind == 3:
            data[at:at] = data[at:to]
        elif kind == 4:
            data[at:to] = rng.choice((b"\0", b"\xff", b"\x7f")) * (to - at)
        elif kind == 5:
            data[at:at] = rng.choice(WORDS)[:200].encode("utf-8", "surrogatepass")
        else:
            del data[at:]
    return bytes(data)


def damaged_text(rng: Rng, text: str) -> str:
    """Parts of the text changed for others, or for what parsers trip over."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.choice((0, 1, 3, 10, 40)))
        new = rng.choice((rng.choice(WORDS), chr(rng.randrange(1, 0x3000)), text[at:to] * 2, text[to : to + 20], ""))
        text = text[:at] + new + text[to:]
    return text


def damaged_value(rng: Rng, value: Any) -> Any:
    """Plain data with one or two places changed: another type, size, name, or one place put into another."""
    for _ in range(rng.choice((1, 1, 2))):
        value = _changed(rng, value, rng.choice(list(_places(value))))
    return value


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value[:50]):
            yield from _places(inner, (*path, i))


def _changed(rng: Rng, value: Any, path: tuple[Any, ...]) -> Any:
    if path:
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[path[0]] = _changed(rng, value[path[0]], path[1:])
        return copy
    kind = rng.randrange(7)
    if kind == 0 and isinstance(value, dict) and value:
        gone = rng.choice(list(value))
        return {k: v for k, v in value.items() if k != gone}
    if kind == 1 and isinstance(value, dict):
        return {**value, rng.choice(WORDS)[:3000]: rng.choice(VALUES)}
    if kind == 2 and isinstance(value, list) and value:
        return rng.choice((value[1:], value + value, [*value, rng.choice(VALUES)], value[::-1]))
    if kind == 3:
        return rng.choice(WORDS)
    if kind == 4 and isinstance(value, str):
        return damaged_text(rng, value)
    if kind == 5 and isinstance(value, int | float):
        return rng.choice((value + 1, -value, value * 10**6, value * 1.5, str(value), [value]))
    if kind == 6 and rng.random() < 0.2:
        for _ in range(rng.choice((3, 50, 900))):
            value = [value]
        return value
    return rng.choice(VALUES)


def spelled(value: Any) -> str:
    """As JSON, in which anything may stand."""
    return json.dumps(value)


# Networks saved by torch.export.save


EXTRAS = (
    "data/sample_inputs/MODEL.PT", "DATA/SAMPLE_INPUTS/model.pt", "data/weights/x.pt", "data/constants/custom_obj_0",
    "models/evil.json", "data/aotinductor/model/x.so", "code/x.py", "extra/../../../x",
)  # fmt: skip


class Networks:
    """Archives of three small networks, and how they are forged."""

    SHAPE = (1, 8, 8)

    def __init__(self, folder: Path) -> None:
        import torch
        from torch import nn

        plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Flatten(), nn.Linear(64, 10))  # fmt: skip
        tokens = nn.Sequential(
            nn.Flatten(2), nn.LayerNorm(64), nn.Linear(64, 16), nn.GELU(), nn.Flatten(), nn.Linear(16, 10)
        )
        pooled = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                               nn.Dropout(), nn.Linear(6, 10))  # fmt: skip
        self.archives = []
        for i, network in enumerate((plain, tokens, pooled)):
            batch = ({0: torch.export.Dim("n")},) if i != 2 else None
            program = torch.export.export(network.eval(), (torch.zeros(2, *self.SHAPE),), dynamic_shapes=batch)
            torch.export.save(program, folder / "network.pt2")
            self.archives.append((folder / "network.pt2").read_bytes())

    def make(self, rng: Rng, folder: Path) -> Path:
        """A forged archive."""
        path, archive = folder / "network.pt2", rng.choice(self.archives)
        if rng.random() < 0.2:
            path.write_bytes(damaged_bytes(rng, archive))
            return path
        self._forge(rng, archive, path)
        return path

    def _forge(self, rng: Rng, archive: bytes, path: Path) -> None:
        import io
        import zipfile

        kind = rng.randrange(9)
        with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(path, "w") as target:
            names = source.namelist()
            victim = rng.choice(names)
            if kind < 5:
                wanted = "model.json" if kind == 4 else ".json"
                victim = rng.choice([name for name in names if name.endswith(wanted)])
            elif kind == 6 and rng.random() < 0.5:
                victim = next(name for name in names if name.endswith("model.pt"))
            for name in names:
                content, spelling, method = source.read(name), name, zipfile.ZIP_STORED
                if name == victim and kind < 4:
                    content = spelled(damaged_value(rng, json.loads(content))).encode()
                elif name == victim and kind == 4:
                    content = self._poisoned(rng, json.loads(content))
                elif name == victim and kind == 5:
                    content = rng.choice((pickled(), damaged_bytes(rng, content), b"", b"\0" * 5_000_000))
                    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
                elif name == victim and kind == 6:
                    other = damaged_text(rng, name).replace("\0", "")[:500] or "x"
                    spelling = rng.choice((name.upper(), name.swapcase(), f"../{name}", f"/{name}", other))
                    content = rng.choice((content, pickled()))
                target.writestr(zipfile.ZipInfo(spelling.encode("utf-8", "replace").decode()), content, method)
            if kind == 7:
                root = names[0].partition("/")[0]
                for extra in rng.sample((*EXTRAS, victim.partition("/")[2]), 2):
                    target.writestr(f"{root}/{extra}", rng.choice((pickled(), b"{}", b"x" * 100)))
        if kind == 8:
            path.write_bytes(damaged_bytes(rng, path.read_bytes()))

    def _poisoned(self, rng: Rng, values: Any) -> bytes:
        """Code wherever PyTorch's own reader evaluates or executes a text."""
        kind = rng.randrange(4)
        guard = f'True\n, "x")\nimport os\nos.system("touch {MARKER}")\ndef g(*args):\n  torch._assert(True'
        places = [path for path in _places(values) if path]
        expressions = [path for path in places if path[-1] == "expr_str"]
        targets = [path for path in places if path[-1] == "target"]
        if kind == 0:
            values["guards_code"] = [guard]
        elif kind == 1 and expressions:
            values = _replaced(values, rng.choice(expressions), CODE)
        elif kind == 2 and expressions:
            for path in expressions:
                values = _replaced(values, path, CODE)
        else:
            forged = rng.choice(("torch.ops.aten.from_file.default", "os.system", "torch.ops.aten.save.default",
                                 "torch.hub.load", "builtins.eval", "torch.ops.prim.device.default", CODE))  # fmt: skip
            values = _replaced(values, rng.choice(targets), forged)
        return spelled(values).encode()

    def enter(self, path: Path) -> object:
        """What every way in does with the file."""
        from compression.pt2 import load_pt2
        from compression.tracing import trace

        return trace(load_pt2(path), self.SHAPE)


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def pickled() -> bytes:
    """A pickle that runs a program when it is read, alone and as torch.save would wrap it."""
    return b"cos\nsystem\n(S'touch " + MARKER.encode() + b"'\ntR."


# Weights and their cards


class Weights:
    """Files of weights for a network of the zoo."""

    def __init__(self) -> None:
        from compression.zoo.model_cards import WEIGHTS

        self.content = (WEIGHTS / "lenet300-digits.safetensors").read_bytes()

    def make(self, rng: Rng, folder: Path) -> Path:
        """Damaged bytes, or a forged header."""
        path, size = folder / "weights.safetensors", int.from_bytes(self.content[:8], "little")
        if rng.random() < 0.5:
            path.write_bytes(damaged_bytes(rng, self.content))
            return path
        header = spelled(damaged_value(rng, json.loads(self.content[8 : 8 + size]))).encode()
        length = rng.choice((len(header), len(header), len(header), 0, 2**63, len(header) + 7, 2**40))
        path.write_bytes(length.to_bytes(8, "little") + header + self.content[8 + size :])
        return path

    def enter(self, path: Path) -> object:
        """As `--weights` takes it in."""
        from compression.zoo import build
        from compression.zoo.stored import read_weights

        return read_weights(build("lenet300", input_shape=(1, 8, 8), classes=10), path)


class Cards:
    """Cards beside the user's own weights."""

    def __init__(self) -> None:
        from compression.zoo.model_cards import WEIGHTS, user_weights

        self.text = (WEIGHTS / "lenet5-digits.json").read_text()
        self.folder = user_weights()

    def make(self, rng: Rng, folder: Path) -> Path:
        """A card where the program looks for one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / rng.choice(("lenet5-digits.json", "mine-own.json"))
        text = (
            damaged_text(rng, self.text) if rng.random() < 0.3 else spelled(damaged_value(rng, json.loads(self.text)))
        )
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        for suffix in (".safetensors", ".pt2"):
            path.with_suffix(suffix).write_bytes(b"")
        return path

    def enter(self, path: Path) -> object:
        """As the lists of networks and pages read it."""
        from compression import zoo
        from pages.ui.subject import Subject, fitting

        told = [f"{card.model} {card.test_accuracy:.2%} {card.parameters:,}" for card in zoo.cards()]
        return told, Subject("lenet5", "digits", "digits").options(), fitting("digits")


# ONNX files


class Onnx:
    """ONNX files for `measure`."""

    def __init__(self) -> None:
        from compression import data, pipeline
        from compression.data.dataset import Split
        from compression.export import export
        from compression.tracing import trace
        from compression.zoo import build

        digits = data.load("digits")
        part = Split(digits.test.images[:64], digits.test.labels[:64])
        from dataclasses import replace

        self.data = replace(digits, test=part)
        graph = trace(build("lenet5", input_shape=(1, 8, 8), classes=10), (1, 8, 8))
        self.content = export(graph, (1, 8, 8), packed=False).onnx
        pipeline.latency = lambda *args, **options: None  # type: ignore[assignment] # takes seconds, and no input

    def make(self, rng: Rng, folder: Path) -> Path:
        """Damaged bytes, or a forged graph."""
        path = folder / "network.onnx"
        path.write_bytes(damaged_bytes(rng, self.content) if rng.random() < 0.4 else self._forged(rng))
        return path

    def _forged(self, rng: Rng) -> bytes:
        import onnx

        model = onnx.load_from_string(self.content)
        graph = model.graph
        for _ in range(rng.choice((1, 1, 2))):
            node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
            kind = rng.randrange(10)
            if kind == 0:
                node.op_type = rng.choice(
                    ("Relu", "Loop", "If", "Scan", "NonZero", "Unknown", "ConstantOfShape", "Gemm", "")
                )
            elif kind == 1:
                node.input[rng.randrange(len(node.input))] = rng.choice(
                    (node.output[0], "", "nowhere", graph.input[0].name)
                )
            elif kind == 2:
                tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((-1, 0, 1, 2**31, 2**62, 3))
            elif kind == 3:
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                where = rng.choice(("../../../etc/passwd", "/etc/passwd", "network.onnx", "none.bin", "/dev/zero", "."))
                for key, value in (
                    ("location", where),
                    ("offset", rng.choice(("0", "-1", "x"))),
                    ("length", "99999999999"),
                ):
                    entry = tensor.external_data.add()
                    entry.key, entry.value = key, value
            elif kind == 4:
                dim = rng.choice(graph.input[0].type.tensor_type.shape.dim)
                dim.dim_value = rng.choice((0, -1, 1, 7, 2**40))
            elif kind == 5:
                shape = onnx.helper.make_tensor("huge", onnx.TensorProto.INT64, [3], [1 << 14] * 3)
                graph.initializer.append(shape)
                graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["huge"], ["made"]))
                node.input[0] = "made"
            elif kind == 6:
                attribute = rng.choice(node.attribute) if node.attribute else node.attribute.add()
                attribute.ints.extend([rng.choice((0, -1, 2**31, 2**62))] * 3)
            elif kind == 7:
                del graph.output[:]
            elif kind == 8:
                graph.input.add().CopyFrom(graph.input[0])
            else:
                model.opset_import[0].version = rng.choice((0, -1, 1, 99, 2**40))
        return model.SerializeToString()

    def enter(self, path: Path) -> object:
        """As `measure FILE` takes it in."""
        from compression.pipeline import measure_file

        return measure_file(path, self.data).summary()


# Images


class Images:
    """Folders of images, of which one is damaged or has a strange name."""

    def __init__(self) -> None:
        import io

        import numpy as np
        from PIL import Image

        self.files: list[tuple[str, bytes]] = []
        for form, suffix in (
            ("PNG", ".png"),
            ("JPEG", ".jpg"),
            ("BMP", ".bmp"),
            ("WEBP", ".webp"),
            ("TIFF", ".tif"),
            ("PPM", ".ppm"),
        ):
            kept = io.BytesIO()
            Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(kept, form)
            self.files.append((suffix, kept.getvalue()))

    def make(self, rng: Rng, folder: Path) -> str:
        """A data set of eight images."""
        suffix, content = rng.choice(self.files)
        root = folder / "images"
        for part, count in (("train", 2), ("test", 1)):
            for name in "ab":
                (root / part / name).mkdir(parents=True)
                for i in range(count):
                    (root / part / name / f"{i}{suffix}").write_bytes(content)
        victim = root / rng.choice(("train", "test")) / rng.choice("ab") / f"0{suffix}"
        kind = rng.randrange(6)
        if kind < 3:
            victim.write_bytes(damaged_bytes(rng, content))
        elif kind == 3:
            victim.write_bytes(self._bomb(rng))
        elif kind == 4:
            victim.unlink()
            rng.choice((lambda: victim.symlink_to("nowhere"), victim.mkdir, lambda: victim.symlink_to("/dev/zero"),
                        lambda: os.mkfifo(victim)))()  # fmt: skip
        else:
            other = (
                os.fsencode(victim.parent)
                + b"/"
                + rng.choice((b"\xff\xfe.png", b"\n.png", b"a" * 200 + b".png", b"-.png"))
            )
            Path(os.fsdecode(other)).write_bytes(damaged_bytes(rng, content))
        return f"folder:{root}"

    def _bomb(self, rng: Rng) -> bytes:
        """A small PNG that says that it is huge."""
        import struct
        import zlib

        sides = rng.choice(((60_000, 60_000), (2**31 - 1, 1), (8, 8), (0, 8)))
        head = struct.pack(">IIBBBBB", *sides, rng.choice((1, 8, 16)), rng.choice((0, 2, 3, 6)), 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1_000_000)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )

    def enter(self, name: str) -> object:
        """As `--dataset` takes it in."""
        from compression import data

        return data.edition(name), data.load(name).source


# Texts


def _recipe() -> Any:
    from compression.recipe import Recipe
    from compression.steps import Prune, Quantize, Recover

    return Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4, layer_bits="conv1=8"), Recover(steps=10)), seed=3)


class Json:
    """Recipes in JSON."""

    def make(self, rng: Rng, folder: Path) -> str:
        """A damaged recipe."""
        text = _recipe().to_json()
        return damaged_text(rng, text) if rng.random() < 0.4 else spelled(damaged_value(rng, json.loads(text)))

    def enter(self, text: str) -> object:
        """As a file, a worker and the store read it."""
        from compression.recipe import Recipe

        return Recipe.from_json(text).to_yaml()


class Yaml:
    """Recipes in YAML."""

    def make(self, rng: Rng, folder: Path) -> str:
        """A damaged recipe, or one that grows when it is read."""
        import yaml

        if rng.random() < 0.1:
            levels = rng.choice((3, 9, 30))
            lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
            lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(levels)]
            return "\n".join([*lines, f"steps: *a{levels}"])
        text = _recipe().to_yaml()
        if rng.random() < 0.5:
            return damaged_text(rng, text)
        value = damaged_value(rng, yaml.safe_load(text))
        try:
            return yaml.safe_dump(value)
        except (yaml.YAMLError, RecursionError):  # JSON is YAML too
            return spelled(value)

    def enter(self, text: str) -> object:
        """As `--recipe` and a pasted recipe read it."""
        from compression.recipe import Recipe

        return Recipe.from_yaml(text).to_query()


class Settings:
    """KEY=VALUE of the command line, and the normalization of images."""

    def make(self, rng: Rng, folder: Path) -> list[str]:
        """Two or three of them."""
        known = [
            "prune.sparsity=0.5",
            "quantize.weight_bits=4",
            "seed=3",
            "quantize.layer_bits=conv1=8,fc=4",
            "quality=fast",
        ]
        return [damaged_text(rng, rng.choice(known)) for _ in range(rng.choice((1, 2, 3)))]

    def enter(self, texts: list[str]) -> object:
        """As `--set`, `--mean` and `--std` read them."""
        from compression import data
        from compression.cli_inputs import read_recipe

        found = read_recipe(None, texts, None).hash
        data.normalized(data.load("digits"), texts[0].partition("=")[2], None, titles=("--mean", "--std"))
        return found


class Links:
    """Addresses of pages."""

    def make(self, rng: Rng, folder: Path) -> dict[str, str]:
        """The query of a damaged address, as a browser hands it over."""
        from urllib.parse import parse_qsl, urlencode

        from pages.ui.links import link_of
        from pages.ui.subject import Subject
        from pages.ui.views import View

        link = link_of(Subject("lenet5", "digits", "digits"), _recipe(), View(panel="Speed"), "0123456789abcdef")
        link |= {"budget": "drop:1,size:50,smallest", "weights": "digits"}
        if rng.random() < 0.4:
            text = damaged_text(rng, urlencode(link)).encode("utf-8", "replace").decode()
            return dict(parse_qsl(text, keep_blank_values=True))
        for _ in range(rng.choice((1, 2, 3))):
            name = rng.choice(list(link))
            if rng.random() < 0.3:
                link[rng.choice(WORDS)] = rng.choice(WORDS)
            else:
                link[name] = rng.choice((rng.choice(WORDS), damaged_text(rng, link[name])))
        return link

    def enter(self, link: dict[str, str]) -> object:
        """As a page opens it, and writes it again."""
        from pages.ui.links import RUN, link_of, read_link

        subject, recipe, view = read_link(link)
        return link_of(subject, recipe, view, link.get(RUN, "")), subject.title, subject.is_trained, subject.options()


class Searches:
    """What is looked for in the store, and what is written into it."""

    def __init__(self) -> None:
        import numpy as np

        from compression.measure.machine import this_machine
        from compression.results import Accuracy, Measurement, Predictions, wilson
        from compression.store import Store, Subject

        self.store = Store.open()
        none = np.empty(0)
        right = Accuracy(0.9, wilson(90, 100), 100, 0.95, 0.05)
        measured = Measurement("", "f" * 64, right, 1000, 4000, None, 1, 1, 100, 1.0, this_machine(),
                               Predictions(none, none, none))  # fmt: skip
        subject = Subject("lenet5", "digits", "digits", "a" * 64, "b")
        self.run = self.store.add(subject, _recipe(), measured, engine="e")

    def make(self, rng: Rng, folder: Path) -> tuple[str, ...]:
        """Texts where pages and commands take any."""
        return tuple(damaged_text(rng, rng.choice(("lenet5", "digits", "prune", "4 bits", ""))) for _ in range(4))

    def enter(self, texts: tuple[str, ...]) -> object:
        """As Compare, Jobs and the command line look and write."""
        from compression.store import export
        from pages.ui.runs import Filter, row

        search, model, dataset, note = texts
        told: list[object] = []
        for act in (
            lambda: self.store.runs(model=model), lambda: self.store.runs(dataset=dataset),
            lambda: self.store.run(search), lambda: self.store.jobs.get(search),
            lambda: self.store.runs(limit=int(search)) if search.isascii() and search.isdigit() else None,
            lambda: self.store.annotate(self.run, note), lambda: self.store.annotate(search, note),
        ):  # fmt: skip
            told.append(said(act))
        for run in self.store.runs():
            told += [Filter(search, (model, dataset), True).keeps(run), Filter(search).keeps(run), row(run)]
        return told, [export(self.store, self.store.runs(), form) for form in ("csv", "json", "parquet")]


class Requests:
    """What a page asks of a worker, and what the book of jobs has written down."""

    def make(self, rng: Rng, folder: Path) -> tuple[str, Any]:
        """A job's kind and its request, damaged."""
        whole: dict[str, Any] = {
            "model": "lenet5",
            "weights": "digits",
            "dataset": "digits",
            "recipe": _recipe().to_json(),
            "threads": 1,
        }
        training: dict[str, Any] = {"model": "lenet5", "dataset": "digits", "epochs": 3, "seed": 1, "minutes": 2.5}
        sweep = {name: whole[name] for name in ("model", "weights", "dataset")}
        kind, sample = rng.choice((("compress", whole), ("train", training), ("sweep", sweep), ("x", whole)))
        return kind, damaged_value(rng, sample)

    def enter(self, about: tuple[str, Any]) -> object:
        """As Jobs, the command line and a worker read it."""
        from compression import long_work, worker
        from compression.keeper import from_plain, title
        from compression.students import measured
        from compression.worker import Request

        kind, values = about
        work, _ = from_plain(kind, values)
        told: list[object] = [said(lambda: title(work))]
        if not isinstance(work, long_work.Sweeping):
            told.append(said(lambda: long_work.checkpoint(work)))  # type: ignore[arg-type]
        if isinstance(work, Request):
            told += [said(lambda: worker.edition(work)), said(lambda: worker._load(work))]
            told.append(said(lambda: measured(work.model, work.dataset, work.weights or "?")))
        return told


def said(act: Callable[[], object]) -> object:
    """What `act` returns, or the sentence with which it refuses."""
    from compression.errors import UserError

    try:
        return act()
    except UserError as error:
        check(str(error))
        return str(error)


def check(sentence: str) -> None:
    """Raises AssertionError for what is no sentence."""
    from compression.errors import LONGEST

    sentence.encode()
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) <= LONGEST + 2, (
        f"no sentence: {sentence!r}"
    )


def ways(folder: Path, only: str = "") -> list[Way]:
    """All of them, or the one of that name; `share` is how many of 100 cases go there."""
    makers: list[tuple[str, int, Callable[[], Any]]] = [
        (".pt2", 34, lambda: Networks(folder)), ("weights", 8, Weights), ("cards", 8, Cards), ("ONNX", 4, Onnx),
        ("images", 6, Images), ("recipe, JSON", 8, Json), ("recipe, YAML", 8, Yaml), ("settings", 4, Settings),
        ("links", 12, Links), ("searches", 4, Searches), ("requests", 4, Requests),
    ]  # fmt: skip
    chosen = [(name, share, make()) for name, share, make in makers if only in ("", name)]
    return [Way(name, share, maker.make, maker.enter) for name, share, maker in chosen]


def run(count: int, seed: int, only: str = "", case: int | None = None) -> dict[str, Figures]:
    """Sends `count` cases through the ways in, and says what happened."""
    base = Path(tempfile.mkdtemp(prefix="mutations-")).resolve()
    os.environ["COMPRESSION_HOME"], os.environ["HOME"] = str(base / "home"), str(base / "home")
    for name in ("home", "case", "marked"):
        (base / name).mkdir()
    all_ways = ways(base, only)
    os.chdir(base / "marked")
    import_module("compression.pipeline")  # what libraries do when they are loaded is no case's doing
    import_module("compression.data").load("digits")
    watch = Watch(base / "home", base / "case")
    order = [way for way in all_ways for _ in range(way.share)]
    random.Random(seed).shuffle(order)
    found = {way.name: Figures() for way in all_ways}
    try:
        for number in range(count) if case is None else [case]:
            way = order[number % len(order)]
            _case(way, f"{seed}/{number}", base, watch, found[way.name], loud=case is not None)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return found


def _case(way: Way, name: str, base: Path, watch: Watch, figures: Figures, *, loud: bool) -> None:
    from compression.errors import UserError

    rng, folder, outside = random.Random(name), base / "case", _listing(base)
    given = way.make(rng, folder)
    begin = time.monotonic()
    late = threading.Timer(2 * HANG_S, _given_up, [f"hangs {way.name} {name}"])
    late.start()
    try:
        with watch.case():
            way.enter(given)
        figures.taken += 1
    except UserError as error:
        figures.refused += 1
        if loud:
            print(error)
        try:
            check(str(error))
        except (AssertionError, UnicodeError) as wrong:
            _fault(figures, "tracebacks", f"{way.name} {name}: {wrong}")
    except Exception as error:
        if loud:
            traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/compression/" in frame.filename or "/pages/" in frame.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "here"
        figures.broken += 1
        text = f"{type(error).__name__}: {str(error)[:120]!r} ({place})"
        _fault(figures, "tracebacks", f"{way.name} {name}: {text}")
    late.cancel()
    took = time.monotonic() - begin
    figures.slowest_s = max(figures.slowest_s, took)
    if took > HANG_S:
        _fault(figures, "hangs", f"{way.name} {name}: {took:.0f} s")
    if watch.ran or any((base / "marked").iterdir()):
        _fault(figures, "code_run", f"{way.name} {name}: {watch.ran[:2] or 'marked'}")
    if watch.wrote or _listing(base) != outside:
        _fault(figures, "written", f"{way.name} {name}: {watch.wrote[:3]}")
    (base / "marked" / MARKER).unlink(missing_ok=True)
    shutil.rmtree(base / "home" / "zoo", ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _given_up(fault: str) -> None:
    """Ends everything where a case does not end."""
    print(json.dumps({"faults": [fault], "cases": 0}), flush=True)
    os._exit(3)


def _listing(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir())


def _fault(figures: Figures, kind: str, text: str) -> None:
    setattr(figures, kind, getattr(figures, kind) + 1)
    figures.faults.append(f"{kind} {text}")


COUNTED = ("taken", "refused", "code_run", "tracebacks", "written", "hangs")


def table(found: dict[str, Figures]) -> str:
    """The figures as a Markdown table."""
    heads = (
        "way in",
        "cases",
        "taken",
        "refused",
        "code run",
        "tracebacks",
        "files outside",
        "over 30 s",
        "slowest, s",
    )
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    total: Counter[str] = Counter()
    for way, figures in found.items():
        numbers = {name: getattr(figures, name) for name in COUNTED}
        numbers = {"cases": figures.taken + figures.refused + figures.broken, **numbers}
        total.update(numbers)
        lines.append(_line(way, numbers, figures.slowest_s))
    return "\n".join([*lines, _line("all", total, max(figures.slowest_s for figures in found.values()))])


def _line(way: str, numbers: Mapping[str, int], slowest_s: float) -> str:
    return f"| {way} | {' | '.join(f'{numbers[name]:,}' for name in ('cases', *COUNTED))} | {slowest_s:.1f} |"


def main() -> None:
    """See above; the last line is JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--case", type=int)
    given = parser.parse_args()
    found = run(given.count, given.seed, given.only, given.case)
    faults = [fault for figures in found.values() for fault in figures.faults]
    print("\n".join(faults))
    print(table(found))
    print(json.dumps({"faults": faults, "cases": given.count}))


if __name__ == "__main__":
    main()
