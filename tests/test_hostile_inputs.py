"""What a stranger sends is taken, or refused in one sentence. Chance finds what nobody thinks of: see `mutations`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compression import models
from compression.data import load
from compression.errors import InvalidData, InvalidFile, InvalidRecipe, InvalidSetting, UnknownName, Unsupported
from compression.jobs.long_tasks import checkpoint
from compression.jobs.messages import Refusal, Training
from compression.jobs.result_recorder import from_plain
from compression.jobs.small_networks import measured
from compression.models import model_cards
from compression.models.model_cards import WEIGHTS, card_path, user_weights
from compression.recipe import Recipe
from compression.store import Store

ROOT = Path(__file__).resolve().parent.parent


def mutated(count: int, seed: int) -> tuple[str, dict[str, Any]]:
    """The table of figures, and the same as data; in a process of its own, as one may crash."""
    command = [sys.executable, "-m", "tests.mutations", str(count), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if line.startswith("|")), json.loads(lines[-1])


def test_a_hundred_mutations_run_nothing_break_nothing_and_end() -> None:
    _, told = mutated(100, seed=0)
    assert told == {"faults": [], "cases": 100}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_ten_thousand_mutations_run_nothing_break_nothing_and_end(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, told = mutated(1_000, seed)
    with capsys.disabled():
        print(f"\n{figures}")
    assert told == {"faults": [], "cases": 1_000}


# What chance and reading have found


def bomb(levels: int) -> str:
    """YAML of some hundred bytes that stands for 9 to the power of `levels` values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(levels)]
    return "\n".join([*lines, f"steps: *a{levels}"])


@pytest.mark.parametrize(("text", "error", "words"), [
    ('{"self": 1}', UnknownName, "Unknown setting of recipe 'self'"),
    ('{"steps": [{"step": "prune", "kind": 1}]}', UnknownName, "Unknown setting of prune 'kind'"),
    ('{"steps": [{"step": "prune", "self": 1}]}', UnknownName, "Unknown setting of prune 'self'"),
    ("[" * 900 + "]" * 900, InvalidRecipe, "more than 20 deep"),
    ("[" * 90_000, InvalidRecipe, "more than 20 deep"),
    (f'{{"seed": "{"9" * 100_000}"}}', InvalidSetting, "recipe.seed must be a whole number"),
    (" " * 300_000, InvalidRecipe, "it has 300,000 characters, and at most 200,000 are allowed"),
])  # fmt: skip
def test_a_strange_recipe_in_json_is_refused_in_a_sentence(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        Recipe.from_json(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("text", "words"), [
    (bomb(30), "aliases .* are not allowed; write every value out"),
    ("&a seed: 3", "aliases .* are not allowed"),
    ("!!int ''", "tags such as tag:yaml.org,2002:int are not allowed"),
    ("!!python/object/apply:os.system ['true']", "tags such as tag:yaml.org,2002:python/object/"),
    (f"seed: 1{':30' * 300}.5", "int too large to convert to float"),
    ("- " * 50_000, "more than 20 deep"), ("[" * 5_000, "more than 20 deep"),
])  # fmt: skip
def test_a_strange_recipe_in_yaml_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(InvalidRecipe, match=words) as caught:
        Recipe.from_yaml(text)
    assert len(str(caught.value)) < 300
    with pytest.raises(InvalidSetting, match=r"not a number of 24,000 bits\.$"):
        Recipe.from_yaml("seed: 0x" + "f" * 6_000)


STRANGE = ("../../secret", "/etc/passwd", "a\0b", "a" * 5_000, "", "Resnet", "resnet20/../x")


@pytest.mark.parametrize("name", STRANGE)
def test_a_name_becomes_no_path_before_it_is_checked(name: str) -> None:
    """Looked up in folders that hold what the path would lead to, so that it is found if it is looked for."""
    secret = user_weights().parent / "secret-digits"
    secret.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".safetensors"):
        secret.with_name(secret.name + suffix).write_text("{}")
    assert card_path(name, "digits") is None and card_path("lenet5", name) is None
    with pytest.raises(UnknownName):
        models.card(name, "digits")
    with pytest.raises(UnknownName):
        checkpoint(Training(name, "digits"))
    with pytest.raises(UnknownName):
        checkpoint(Training("lenet5", name))
    with pytest.raises(UnknownName):
        models.train(name, "digits", lesson=models.Distillation("lenet5"))
    with pytest.raises(UnknownName):
        models.train("lenet5", "digits", lesson=models.Distillation(name or "?"))
    if name:
        assert isinstance(told := measured("lenet5", "digits", name), Refusal) and "Unknown model" in told.sentence


@pytest.mark.parametrize("path", ["folder:a\0b", "folder:~nobody-here/x", f"folder:{'a/' * 5_000}"])
def test_a_folder_that_cannot_be_one_is_refused_in_a_sentence(path: str) -> None:
    with pytest.raises(InvalidData) as caught:
        load(path)
    assert len(str(caught.value)) < 1_010


@pytest.mark.parametrize(("field", "value"), [
    ("model", "../x"), ("dataset", "x"), ("classes", 10**12), ("classes", "ten"), ("input_shape", [1, 2]),
    ("input_shape", [1, -8, 8]), ("mean", [None]), ("mean", [0.1, 0.2]), ("std", [0]), ("std", [float("nan")]),
    ("test_accuracy", 1.5), ("sha256", "../x"), ("recipe", []), ("versions", {"a": 1}),
])  # fmt: skip
def test_a_card_says_only_what_a_card_can(tmp_path: Path, field: str, value: Any) -> None:
    fields = json.loads((WEIGHTS / "lenet5-digits.json").read_text())
    path = tmp_path / "lenet5-digits.json"
    path.write_text(json.dumps(fields))
    assert model_cards.read(path).model == "lenet5"
    path.write_text(json.dumps(fields | {field: value}))
    called = {"std": "standard deviation"}.get(field, field)
    with pytest.raises(InvalidFile, match=f"is not the card of a model: .*{called}"):
        model_cards.read(path)
    path.rename(tmp_path / "vgg11-digits.json")
    with pytest.raises(InvalidFile):
        model_cards.read(tmp_path / "vgg11-digits.json")


@pytest.mark.parametrize(("kind", "values"), [
    ("compress", 3), ("compress", {}), ("train", {"model": "lenet5", "dataset": ["digits"]}),
    ("train", {"model": "lenet5", "dataset": "digits", "epochs": "many"}),
    ("train", {"model": "lenet5", "dataset": "digits", "self": 1}),
    ("train", {"model": "lenet5", "dataset": "digits", "minutes": "x"}), ("x", {"a": "b" * 10**6}),
])  # fmt: skip
def test_a_job_of_another_version_is_refused_in_a_sentence(kind: str, values: Any) -> None:
    with pytest.raises(Unsupported, match="This version cannot read what a job of the kind"):
        from_plain(kind, values)


def test_what_the_store_cannot_look_for_is_refused_in_a_sentence(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}")
    for look in (lambda: store.runs(limit=2**70), lambda: store.runs(model="\ud800"), lambda: store.jobs.get("\ud800")):
        with pytest.raises(InvalidSetting, match="The store can neither keep nor look for that"):
            look()
    store.close()
