"""The command line: what goes to stdout, what to stderr, which exit code, and that a recipe makes the same file."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from compression import models
from compression.cli import app
from compression.cli.inputs import read_recipe
from compression.recipe import Recipe
from compression.recipe.presets import PRESETS
from compression.steps import STEPS
from compression.store import Store
from tests.measure.test_onnx_files import WEIGHTS, linear, outside, value

ROOT = Path(__file__).parents[2]
PROMISED = (
    "recipe_hash", "accuracy", "accuracy_low", "accuracy_high", "baseline_accuracy", "size_bytes",
    "baseline_size_bytes", "latency_ms", "latency_ratio", "latency_ratio_low", "latency_ratio_high", "threads",
    "macs", "n_test", "seconds",
)  # fmt: skip
DIGITS = ("compress", "--model", "lenet5", "--dataset", "digits")
W4A8 = ("--set", "quantize.weight_bits=4", "--set", "quantize.activation_bits=8")


@dataclass(frozen=True)
class Answer:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line of an error."""
        assert (self.code, self.out) == (2, "")
        assert "Traceback" not in self.err
        assert self.err.startswith("Error: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("Error: ").strip()


def call(*arguments: object) -> Answer:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def spawn(*arguments: object) -> Answer:
    command = [sys.executable, "-m", "compression", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A compressed LeNet-5 on Digits, made in a process of its own, and what was printed about it."""
    out = tmp_path_factory.mktemp("exported") / "small.onnx"
    answer = spawn(*DIGITS, "--set", "prune.sparsity=0.5", *W4A8, "--seed", 3, "--out", out, "--json")
    assert answer.code == 0, answer.err
    assert answer.err
    assert answer.out.count("\n") == 1
    return out, json.loads(answer.out)


class Tiny(nn.Module):
    """A network that is not in the zoo."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.classify = nn.Linear(8 * 16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(x).flatten(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 8×8 colour images, each mostly of its own colour."""
    root, random = tmp_path_factory.mktemp("shoes"), np.random.default_rng(0)
    for part, count in (("train", 30), ("test", 8)):
        for number, name in enumerate(("blue", "green", "red")):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 120, (8, 8, 3), dtype=np.uint8)
                pixels[:, :, 2 - number] += 120
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return root


def save_program(path: Path, *, channels: int, classes: int) -> Path:
    torch.manual_seed(0)
    batch = torch.export.Dim("batch")
    example = torch.zeros(2, channels, 8, 8)
    program = torch.export.export(Tiny(channels, classes).eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


def save_weights(path: Path, *, channels: int, classes: int) -> Path:
    model = models.build("lenet5", input_shape=(channels, 8, 8), classes=classes)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def test_a_home_that_takes_no_file_costs_nobody_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "files").touch()
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    answer = call(*DIGITS, *W4A8, "--out", tmp_path / "small.onnx", "--json")
    assert answer.json["run"] is None
    assert f"The result is not kept: The file cannot be kept in {tmp_path}" in answer.err
    assert (tmp_path / "small.onnx").stat().st_size == answer.json["size_bytes"]


class TestCompress:
    def test_json_has_what_scripts_rely_on(self, exported: tuple[Path, dict[str, Any]]) -> None:
        file, found = exported
        assert set(PROMISED) <= set(found)
        assert found["n_test"] == 359
        assert found["size_bytes"] == file.stat().st_size < found["baseline_size_bytes"]
        assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]
        assert found["accuracy"] > found["baseline_accuracy"] - 0.03
        assert found["latency_ratio_low"] <= found["latency_ratio"] <= found["latency_ratio_high"]
        assert found["threads"] == 1
        assert found["file_hash"] == sha256(file)
        assert Recipe.from_dict(found["recipe"]).hash == found["recipe_hash"]

    def test_a_tflite_file_is_written_and_measured(self, tmp_path: Path) -> None:
        out = tmp_path / "small.tflite"
        found = call(*DIGITS, "--preset", "8-bit", "--out", out, "--json").json
        assert out.read_bytes()[4:8] == b"TFL3"
        assert found["tflite"]["size_bytes"] == out.stat().st_size != found["size_bytes"]
        assert found["tflite"]["equal"] >= 0.995
        again = call("measure", out, "--dataset", "digits", "--json").json
        same = ("size_bytes", "accuracy", "accuracy_low", "arena_bytes", "kernels", "n_test")
        assert {k: again[k] for k in same} == {k: found["tflite"][k] for k in same}
        assert again["latency_p50_ms"] > 0
        assert "leave --threads out" in call("measure", out, "--dataset", "digits", "--threads", "2").sentence
        assert "activation_bits=8" in call(*DIGITS, "--out", out, "--tflite-4-bit").sentence

    def test_the_result_joins_those_that_the_app_shows(self, exported: tuple[Path, dict[str, Any]]) -> None:
        store, found = Store.open(), exported[1]
        run = store.run(found["run"])
        assert (run.subject.model, run.subject.weights, run.recipe.hash) == ("lenet5", "digits", found["recipe_hash"])
        assert store.file(run).read_bytes() == exported[0].read_bytes()  # type: ignore[union-attr]
        baseline = store.baseline(run.subject)
        assert baseline is not None
        assert baseline.size_bytes == found["baseline_size_bytes"]

    def test_same_recipe_and_seed_in_another_process_give_the_same_bytes(
        self, exported: tuple[Path, dict[str, Any]], tmp_path: Path
    ) -> None:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(Recipe.from_dict(exported[1]["recipe"]).to_yaml())
        again = call(*DIGITS, "--recipe", recipe, "--out", tmp_path / "again.onnx", "--json").json
        assert again["recipe_hash"] == exported[1]["recipe_hash"]
        assert sha256(tmp_path / "again.onnx") == sha256(exported[0])
        assert again["accuracy"] == exported[1]["accuracy"]

    def test_a_preset_is_a_recipe_to_start_from(self, tmp_path: Path) -> None:
        found = read_recipe(None, ["recover.steps=9"], 4, preset="deep-compression")
        assert found == PRESETS["deep-compression"].recipe.with_settings({"recover.steps": 9, "seed": 4})
        for wrong in (["--preset", "smal"], ["--preset", "small", "--recipe", tmp_path / "recipe.yaml"]):
            answer = call(*DIGITS, *wrong)
            assert answer.code and "preset" in answer.err and answer.err.count("\n") == 1

    def test_settings_and_seed_change_the_recipe_of_a_file(self, tmp_path: Path) -> None:
        recipe = tmp_path / "recipe.json"
        recipe.write_text(Recipe().with_setting("prune.sparsity", 0.9).to_json())
        found = call(*DIGITS, "--recipe", recipe, "--set", "prune.sparsity=0.25", "--seed", 7, "--json").json
        (step,) = found["recipe"]["steps"]
        assert (step["step"], step["sparsity"]) == ("prune", 0.25)
        assert found["recipe"]["seed"] == 7

    def test_a_table_for_people(self, tmp_path: Path) -> None:
        answer = call(*DIGITS, *W4A8, "--threads", 2, "--out", tmp_path / "small.onnx")
        assert answer.code == 0
        assert [line.split()[0] for line in answer.out.splitlines()] == [
            "model", "dataset", "recipe", "quantize", "accuracy", "size", "latency", "cost", "file", "run",
        ]  # fmt: skip
        assert "threads: 2" in answer.out
        assert list(tmp_path.iterdir()) == [tmp_path / "small.onnx"]


class TestOwnModels:
    def test_own_weights_on_a_folder_of_images(self, folder: Path, tmp_path: Path) -> None:
        weights = save_weights(tmp_path / "own.safetensors", channels=3, classes=3)
        own = ("compress", "--model", "lenet5", "--weights", weights, "--dataset", f"folder:{folder}", "--json")
        found = call(*own, *W4A8).json
        assert found["n_test"] == 24
        assert found["run"] is None  # the app could not make it again
        assert found["size_bytes"] < found["baseline_size_bytes"]
        shifted = call(*own, "--mean", "0.1,0.2,0.3", "--std", "0.2,0.2,0.2").json
        assert shifted["baseline_accuracy"] != found["baseline_accuracy"] or shifted["file_hash"] != found["file_hash"]

    def test_a_network_that_is_not_in_the_zoo(self, tmp_path: Path) -> None:
        program = save_program(tmp_path / "tiny.pt2", channels=1, classes=10)
        found = call("compress", "--model", program, "--dataset", "digits", *W4A8, "--json").json
        assert found["n_test"] == 359
        assert found["macs"] == 8 * 8 * 72 + 1280

    def test_a_weights_file_for_other_classes(self, tmp_path: Path) -> None:
        weights = save_weights(tmp_path / "own.safetensors", channels=1, classes=7)
        sentence = last_line(call(*DIGITS, "--weights", weights))
        assert "7" in sentence
        assert "10" in sentence

    @pytest.mark.usefixtures("read_here")
    def test_a_program_for_other_classes(self, tmp_path: Path) -> None:
        program = save_program(tmp_path / "tiny.pt2", channels=1, classes=7)
        sentence = last_line(call("compress", "--model", program, "--dataset", "digits"))
        assert "7" in sentence
        assert "10" in sentence

    @pytest.mark.usefixtures("read_here")
    def test_a_program_for_other_images(self, tmp_path: Path) -> None:
        program = save_program(tmp_path / "tiny.pt2", channels=2, classes=10)
        assert "1×8×8" in last_line(call("compress", "--model", program, "--dataset", "digits"))

    @pytest.mark.usefixtures("read_here")
    def test_a_network_for_colours_on_grey_images(self, folder: Path, tmp_path: Path) -> None:
        grey = tmp_path / "grey"
        shutil.copytree(folder, grey)
        for path in grey.glob("*/*/*"):
            Image.open(path).convert("L").save(path)
        program, out = save_program(tmp_path / "tiny.pt2", channels=3, classes=3), tmp_path / "small.onnx"
        images = ("--dataset", f"folder:{grey}", "--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6")
        found = call("compress", "--model", program, *images, *W4A8, "--out", out, "--json").json
        again = call("measure", out, *images, "--json").json
        assert found["n_test"] == 24 and again["accuracy"] == found["accuracy"]
        weights = save_weights(tmp_path / "own.safetensors", channels=3, classes=3)
        own = ("compress", "--model", "lenet5", "--weights", weights, *images, *W4A8, "--json")
        assert call(*own).json["n_test"] == 24
        wrong = ("--mean", "0.5", "--std", "0.5")
        sentence = last_line(call("compress", "--model", program, "--dataset", f"folder:{grey}", *wrong))
        assert "given for 1 channel, but the network takes images of 3" in sentence

    def test_a_program_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "tiny.pt2").write_bytes(b"nonsense")
        assert "tiny.pt2" in last_line(call("compress", "--model", tmp_path / "tiny.pt2", "--dataset", "digits"))


def last_line(answer: Answer) -> str:
    """The sentence of an error that comes after some progress."""
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    line = answer.err.splitlines()[-1]
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


class TestMeasure:
    def test_a_file_measures_as_it_did_when_it_was_made(self, exported: tuple[Path, dict[str, Any]]) -> None:
        file, made = exported
        found = call("measure", file, "--dataset", "digits", "--json").json
        same = ("accuracy", "accuracy_low", "accuracy_high", "size_bytes", "file_hash", "n_test")
        assert {k: found[k] for k in same} == {k: made[k] for k in same}
        assert set(PROMISED) <= set(found)

    def test_a_file_that_takes_other_images(self, exported: tuple[Path, dict[str, Any]], folder: Path) -> None:
        assert last_line(call("measure", exported[0], "--dataset", f"folder:{folder}"))

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "x.onnx").write_bytes(b"nonsense")
        assert last_line(call("measure", tmp_path / "x.onnx", "--dataset", "digits", "--json"))

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        for arguments in ((tmp_path / "gone.onnx",), (__file__, "--baseline", tmp_path / "gone.onnx")):
            assert "gone.onnx" in call("measure", *arguments, "--dataset", "digits").sentence

    @pytest.mark.parametrize("file", ["/dev/zero", "/", ""])
    def test_what_is_no_file(self, file: str) -> None:
        assert "name a file" in call("measure", file, "--dataset", "digits").sentence

    def test_weights_in_another_file_count(self, tmp_path: Path) -> None:
        content = outside("w.bin").SerializeToString()
        (tmp_path / "net.onnx").write_bytes(content)
        (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes() * 100)
        found = call("measure", tmp_path / "net.onnx", "--dataset", "digits", "--json").json
        assert found["size_bytes"] == len(content) + 256_000
        (tmp_path / "plain.onnx").write_bytes(linear().SerializeToString())
        files = ("measure", tmp_path / "net.onnx", "--baseline", tmp_path / "plain.onnx")
        answer = call(*files, "--dataset", "digits")
        assert "256.2 KB" in answer.out and "baseline 2.7 KB" in answer.out

    def test_a_file_that_takes_some_images_at_once_is_timed_on_them(self, tmp_path: Path) -> None:
        fixed = linear(inputs=[value("image", [8, 1, 8, 8])], outputs=[value("scores", [8, 10])])
        (tmp_path / "net.onnx").write_bytes(fixed.SerializeToString())
        assert " ms for 8 images at once (p95" in call("measure", tmp_path / "net.onnx", "--dataset", "digits").out


class TestNamesThatAreNoText:
    """A file's name is bytes; Python has those that are no UTF-8 as lone surrogates."""

    def test_files_are_read_written_and_named(self, tmp_path: Path) -> None:
        (tmp_path / "\udcff.yaml").write_text("seed: 3")
        out = tmp_path / "a\udcff.onnx"
        made = spawn(*DIGITS, "--recipe", tmp_path / "\udcff.yaml", "--out", out)
        assert made.code == 0, made.err
        assert f"{tmp_path}/a\\xff.onnx" in made.out
        found = spawn("measure", out, "--dataset", "digits", "--json").json
        assert (found["file"], found["size_bytes"]) == (f"{tmp_path}/a\\xff.onnx", out.stat().st_size)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("measure", "gone\udcff.onnx", "--dataset", "digits"),
            ("measure", "gone.onnx", "--dataset", "\udcff"),
            (*DIGITS, "--recipe", "\udcff.yaml"),
            (*DIGITS, "--recipe", "\udcff"),
            (*DIGITS, "--weights", "\udcff"),
            ("compress", "--model", "\udcff.pt2", "--dataset", "digits"),
            (*DIGITS, "--out", "\udcff/net.onnx"),
            (*DIGITS, "--set", "\udcff=1"),
            ("zoo", "train", "lenet300", "digits", "--epochs", "1", "--out", "\udcff"),
            ("runs", "list", "--model", "\udcff"),
            ("runs", "export", "\udcff.csv", "--dataset", "\udcff"),
            ("jobs", "cancel", "\udcff"),
        ],
        ids=lambda arguments: " ".join(arguments).encode("ascii", "replace").decode(),
    )
    def test_mistakes_are_sentences(self, arguments: tuple[str, ...]) -> None:
        sentence = call(*arguments).sentence
        assert sentence.isprintable()
        assert "udcff" in sentence or "xff" in sentence


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--set", "prune.sparsity=1.5"), ("prune.sparsity", "1.5", "0.99")),
            (("--set", "prune.sparsity=nan"), ("prune.sparsity", "nan")),
            (("--set", "quantize.weight_bits=9"), ("quantize.weight_bits", "9", "1, 2, 3, 4, 5, 6, 7, 8, 16, 32")),
            (("--set", "quantize.bits=8"), ("bits", "weight_bits")),
            (("--set", "shrink.amount=1"), ("shrink", "factorize, prune, share, quantize")),
            (("--set", "prune.sparsity"), ("KEY=VALUE", "prune.sparsity")),
            (("--set", "steps=prune"), ("steps", "prune")),
            (("--seed", "-1"), ("seed", "-1", "0")),
            (("--out", "."), ("--out", "file")),
            (("--out", "net.ort"), ("net.ort", ".onnx", ".ort", ".safetensors")),
            (("--out", "net"), ("'net'", ".onnx")),
            (("--out", "net.qdq.onnx"), ("net.qdq.onnx",)),
            (("--out", "x" * 300 + ".onnx"), ("xxx", "name")),
            (("--mean", "123.7"), ("--mean", "from 0 to 1", "123.7 is 0.485")),
            (("--mean", "-0.1"), ("--mean", "from 0 to 1", "-0.1")),
            (("--mean", "nan"), ("--mean", "nan")),
            (("--std", "58.4"), ("--std", "from 0.0001 to 1", "58.4 is 0.229")),
            (("--std", "-1"), ("--std", "-1")),
            (("--std", "nan"), ("--std", "nan")),
            (("--std", "1e-30"), ("--std", "1e-30")),
            (("--out", "no/such/folder/x.onnx"), ("no/such/folder",)),
            (("--recipe", "gone.yaml"), ("gone.yaml",)),
            (("--recipe", "recipe.txt"), ("recipe.txt", ".yaml")),
            (("--weights", "gone.safetensors"), ("gone.safetensors",)),
        ],
        ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
    )
    def test_one_sentence_says_what_is_allowed(self, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
        sentence = call(*DIGITS, *arguments, "--json").sentence
        assert all(word in sentence for word in words), sentence

    @pytest.mark.parametrize(
        "text", ["", "- 1", "steps: 5", "steps: [{step: shrink}]", "schema: 99", "{", "1: 2", "seed: 2026-13-01"]
    )
    def test_a_recipe_that_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "recipe.yaml").write_text(text)
        assert call(*DIGITS, "--recipe", tmp_path / "recipe.yaml").sentence

    def test_a_recipe_in_another_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "recipe.json").write_bytes(b"\xff\xfe{")
        assert "UTF-8" in call(*DIGITS, "--recipe", tmp_path / "recipe.json").sentence

    def test_an_output_that_is_an_input(self, tmp_path: Path) -> None:
        (tmp_path / "recipe.yaml").write_text(Recipe().to_yaml())
        paths = ("--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "recipe.yaml")
        assert "overwrite" in call(*DIGITS, *paths).sentence

    def test_an_unknown_model_lists_the_known(self) -> None:
        sentence = call("compress", "--model", "resnet21", "--dataset", "digits").sentence
        assert "resnet21" in sentence
        assert all(name in sentence for name in (*models.ARCHITECTURES, "FILE.pt2"))

    def test_an_unknown_dataset_lists_the_known(self) -> None:
        answer = spawn("compress", "--model", "lenet5", "--dataset", "didgits", "--json")
        assert "fashion-mnist, digits" in answer.sentence

    @pytest.mark.parametrize("text", ["", "0.1,0.2", "a", "inf"])
    @pytest.mark.parametrize("option", ["--mean", "--std"])
    def test_normalisation_is_one_number_a_channel(self, option: str, text: str) -> None:
        assert option in call(*DIGITS, option, text).sentence

    def test_standard_deviations_are_positive(self) -> None:
        assert "0" in call(*DIGITS, "--std", "0").sentence

    def test_weights_for_a_program(self, tmp_path: Path) -> None:
        arguments = ("--model", "x.pt2", "--dataset", "digits", "--weights", tmp_path / "x.safetensors")
        assert "--weights" in call("compress", *arguments).sentence


class TestLists:
    def test_help_answers_without_the_engine_and_lists_every_setting(self) -> None:
        script = "import sys; from compression.cli import app; app(['compress', '--help'], standalone_mode=False)"
        script += "; sys.exit('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        for kind, settings in STEPS.items():
            assert all(f"{kind}.{name}" in done.stdout for name in settings.model_fields)
        assert "a number from 0 to 0.99" in done.stdout

    def test_zoo_list(self) -> None:
        cards = call("zoo", "list", "--json").json
        assert {(card["model"], card["dataset"]) for card in cards} >= {("lenet5", "digits"), ("lenet300", "digits")}
        table = call("zoo", "list").out
        assert all(name in table for name in models.ARCHITECTURES)

    def test_data_list(self) -> None:
        names = [spec["name"] for spec in call("data", "list", "--json").json]
        assert names[:2] == ["fashion-mnist", "digits"]
        assert "folder:PATH" in call("data", "list").out

    def test_pictures_in_an_archive(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for i in range(6):
                kept = io.BytesIO()
                Image.new("RGB", (20 + i, 30), (40 * i, 0, 0)).save(kept, "PNG")
                archive.writestr(f"photos/{'ab'[i % 2]}/{i}.png", kept.getvalue())
        found = call("data", "add", tmp_path / "photos.zip", "--json").json
        assert found["pictures"] == 6 and found["dataset"].startswith("folder:")
        shown = call("data", "show", found["dataset"], "--json").json
        assert (shown["classes"], shown["test"], shown["left_out"]) == (["a", "b"], 4, [])
        (tmp_path / "bad.zip").write_bytes(b"x")
        assert "damaged or no .zip" in last_line(call("data", "add", tmp_path / "bad.zip"))

    def test_data_cache(self) -> None:
        before = call("data", "cache", "--json").json
        assert before["limit_bytes"] == 32 << 30
        assert call("data", "cache", "--limit", "2.5", "--json").json["limit_bytes"] == int(2.5 * 2**30)
        assert "0 GiB; 1 to 1,048,576 are allowed" in call("data", "cache", "--limit", "0").sentence
        cleared = call("data", "cache", "--clear", "--limit", "32", "--json").json
        assert (cleared["files"], cleared["removed_bytes"]) == (0, before["size_bytes"])

    def test_data_fetch(self) -> None:
        found = call("data", "fetch", "digits", "--json").json
        assert "scikit-learn" in found["source"]
        assert found["test"] == 359
        assert "known are" in call("data", "fetch", "digit").sentence

    def test_zoo_train(self, tmp_path: Path) -> None:
        train = ("zoo", "train", "lenet300", "digits", "--epochs", 1, "--device", "cpu", "--out", tmp_path)
        answer = call(*train, "--json")
        assert answer.json["recipe"]["epochs"] == 1
        assert "Epoch 1 of 1" in answer.err
        assert {path.name for path in tmp_path.iterdir()} == {"lenet300-digits.json", "lenet300-digits.safetensors"}

    def test_zoo_train_mistakes(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for arguments in (
            ("lenet", "digits"),
            ("lenet300", "digit"),
            ("lenet300", "digits", "--out", tmp_path / "file"),
        ):
            assert call("zoo", "train", *arguments).sentence
