"""What comes from a stranger, one class for each way in: what is made, and damaged, and who reads it."""

import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tests.damage import CODE, MARKER, WORDS, Rng, damaged_bytes, damaged_text, damaged_value, places, spelled


@dataclass(frozen=True)
class Way:
    """One way in: `sample(rng)` is something well-formed, damaged and written to `folder`; `enter` takes it in."""

    name: str
    share: int
    make: Callable[[Rng, Path], Any]
    enter: Callable[[Any], object]


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
        leaves = [path for path in places(values) if path]
        expressions = [path for path in leaves if path[-1] == "expr_str"]
        targets = [path for path in leaves if path[-1] == "target"]
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
        from compression.network.pt2 import load_pt2
        from compression.network.tracing import trace

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
        from compression.models.model_cards import WEIGHTS

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
        from compression.models import build
        from compression.models.loading import read_weights

        return read_weights(build("lenet300", input_shape=(1, 8, 8), classes=10), path)


class Cards:
    """Cards beside the user's own weights."""

    def __init__(self) -> None:
        from compression.models.model_cards import WEIGHTS, user_weights

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
        from compression.cli.zoo import zoo_list
        from pages.ui.model.subject import Subject, fitting

        with redirect_stdout(StringIO()) as told:
            zoo_list()
        return told.getvalue(), Subject("lenet5", "digits", "digits").options(), fitting("digits")


# ONNX files


class Onnx:
    """ONNX files for `measure`."""

    def __init__(self) -> None:
        from compression import data
        from compression.data.dataset import Split
        from compression.export import export
        from compression.models import build
        from compression.network.tracing import trace
        from compression.pipeline import measuring

        digits = data.load("digits")
        part = Split(digits.test.images[:64], digits.test.labels[:64])
        from dataclasses import replace

        self.data = replace(digits, test=part)
        graph = trace(build("lenet5", input_shape=(1, 8, 8), classes=10), (1, 8, 8))
        self.content = export(graph, (1, 8, 8), packed=False).onnx
        measuring.latency = lambda *args, **options: None  # type: ignore[assignment] # takes seconds, and no input

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
        from compression.pipeline.measuring import measure_file

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
        from compression.cli.inputs import read_recipe

        found = read_recipe(None, texts, None).hash
        data.normalized(data.load("digits"), texts[0].partition("=")[2], None, titles=("--mean", "--std"))
        return found


class Links:
    """Addresses of pages."""

    def make(self, rng: Rng, folder: Path) -> dict[str, str]:
        """The query of a damaged address, as a browser hands it over."""
        from urllib.parse import parse_qsl, urlencode

        from pages.ui.model.links import link_of
        from pages.ui.model.subject import Subject
        from pages.ui.model.view import View

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
        from pages.ui.model.links import RUN, link_of, read_link

        subject, recipe, view = read_link(link)
        return link_of(subject, recipe, view, link.get(RUN, "")), subject.title, subject.is_trained, subject.options()


class Searches:
    """What is looked for in the store, and what is written into it."""

    def __init__(self) -> None:
        import numpy as np

        from compression.host.machine import this_machine
        from compression.records.measurement import Accuracy, Measurement, Predictions, wilson
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
        from pages.ui.compare.run_rows import Filter, row

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
        from compression.jobs import long_tasks, messages, requested
        from compression.jobs.messages import Request
        from compression.jobs.result_recorder import from_plain, title
        from compression.jobs.small_networks import measured

        kind, values = about
        work, _ = from_plain(kind, values)
        told: list[object] = [said(lambda: title(work))]
        if not isinstance(work, messages.Sweeping | messages.Searching):
            told.append(said(lambda: long_tasks.checkpoint(work)))
        if isinstance(work, Request):
            told += [said(lambda: requested.edition(work)), said(lambda: requested.images(work))]
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
    from tests.stranger_networks import LibraryWeights, OnnxNetworks
    from tests.stranger_rows import Rows
    from tests.stranger_tflite import TfliteFiles
    from tests.stranger_uploads import Archives, Reports, Tables, Teams

    makers: list[tuple[str, int, Callable[[], Any]]] = [
        (".pt2", 24, lambda: Networks(folder)), (".tflite", 2, TfliteFiles),
        ("weights", 8, Weights), ("cards", 8, Cards), ("ONNX", 4, Onnx),
        ("ONNX networks", 4, OnnxNetworks), ("library weights", 4, LibraryWeights),
        ("images", 6, Images), ("recipe, JSON", 8, Json), ("recipe, YAML", 8, Yaml), ("settings", 4, Settings),
        ("links", 12, Links), ("searches", 4, Searches), ("requests", 4, Requests),
        ("rows", 6, lambda: Rows(folder)), ("archives", 6, Archives), ("tables", 2, Tables),
        ("reports", 4, lambda: Reports(folder)), ("teams", 2, Teams),
    ]  # fmt: skip
    chosen = [(name, share, make()) for name, share, make in makers if only in ("", name)]
    return [Way(name, share, maker.make, maker.enter) for name, share, maker in chosen]
