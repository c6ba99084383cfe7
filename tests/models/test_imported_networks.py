"""Networks that somebody brings: kept, listed and compressed as those of the zoo are."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compression import models
from compression.data import load
from compression.errors import InvalidFile, InvalidModel, InvalidSetting, UnknownName, UserError
from compression.export import formats, snippets
from compression.jobs import worker
from compression.jobs.additions import import_network
from compression.jobs.messages import Refusal, Request
from compression.models import loading
from compression.models.model_cards import user_weights
from compression.pipeline import compress
from compression.recipe import Recipe
from pages.ui.model.subject import Subject, fitting
from tests import visitors


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("brought") / "mine.pt2"
    torch.export.save(torch.export.export(visitors.learned(visitors.Rows), (torch.zeros(1, 1, 8, 8),)), path)
    return path


@pytest.fixture(autouse=True)
def empty(own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of one test, with the datasets that are there."""
    (tmp_path / "datasets").symlink_to(own_home / "datasets")
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))


def test_a_brought_network_stands_in_the_list_with_what_was_measured(file: Path) -> None:
    digits = load("digits")
    card = models.bring(file, "mine", digits)
    assert models.brought() == [card] == [c for c in models.cards() if c.model == "mine"]
    assert models.card("mine", models.OWN) == card
    prepared = compress.prepare(models.network("mine", models.OWN), digits)
    right = prepared.baseline_predictions.classes == digits.test.labels.numpy()[prepared.baseline_predictions.images]
    assert right.mean() == pytest.approx(card.test_accuracy)
    unlabelled = models.bring(file, "mine", replace(digits, labelled=False))  # again, in its place
    assert unlabelled.sha256 == card.sha256
    assert (unlabelled.validation_accuracy, unlabelled.test_accuracy) == (None, None)
    assert unlabelled.test_images == len(digits.test) and models.card("mine", models.OWN) == unlabelled
    assert len(models.brought()) == 1


@pytest.mark.usefixtures("read_here")
def test_a_network_for_colours_is_brought_on_grey_images(tmp_path: Path) -> None:
    colours = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(288, 10)).eval()
    torch.export.save(torch.export.export(colours, (torch.zeros(1, 3, 8, 8),)), tmp_path / "colours.pt2")
    card = import_network((tmp_path / "colours.pt2").read_bytes(), "colours", "digits", "0.1,0.2,0.3", "")
    assert not isinstance(card, Refusal)
    assert card.input_shape == (3, 8, 8) and card.mean == (0.1, 0.2, 0.3)
    assert ("colours", models.OWN) in fitting("digits")
    prepared = worker.prepared(Request("colours", models.OWN, "digits", Recipe(calibration_images=16).to_json()))
    assert prepared.data.input_shape == (3, 8, 8) and prepared.data.mean == card.mean
    found, labels = prepared.baseline_predictions, load("digits").test.labels.numpy()
    right = found.classes == labels[found.images]
    assert right.mean() == pytest.approx(card.test_accuracy)


@pytest.mark.usefixtures("read_here")
def test_a_damaged_card_costs_the_list_nothing_else(file: Path) -> None:
    card = models.bring(file, "mine", load("digits"))
    for name, content in {"a": b"{", "b": b"\xff", "c": b"[]", "d": b"[" * 100_000}.items():
        (user_weights() / f"{name}-{models.OWN}.json").write_bytes(content)
        (user_weights() / f"{name}-{models.OWN}.pt2").write_bytes(b"")
    (user_weights() / f"e-{models.OWN}.json").symlink_to("gone")
    (user_weights() / f"e-{models.OWN}.pt2").write_bytes(b"")
    assert models.brought() == [card]
    models.dismiss("mine")


@pytest.mark.usefixtures("read_here")
def test_a_brought_network_is_removed_and_the_zoo_stays(file: Path) -> None:
    models.bring(file, "mine", load("digits"))
    others = [card for card in models.cards() if card.model != "mine"]
    models.dismiss("mine")
    assert models.cards() == others
    assert list(user_weights().iterdir()) == []
    for gone in ("mine", "resnet20", "../mine"):
        with pytest.raises(UnknownName, match="Unknown network of your own"):
            models.dismiss(gone)
    with pytest.raises(UnknownName, match="Unknown model 'mine'"):
        models.card("mine", models.OWN)


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize("found", ["card", "weights_path"])
def test_a_network_that_is_removed_while_it_is_looked_up_is_unknown(
    file: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    models.bring(file, "mine", load("digits"))
    find = getattr(loading, found)

    def find_and_dismiss(*about: Any) -> Any:
        answer = find(*about)
        if models.brought():
            models.dismiss("mine")
        return answer

    monkeypatch.setattr(loading, found, find_and_dismiss)
    with pytest.raises(UnknownName, match="Unknown model 'mine'"):
        models.network("mine", models.OWN)


@pytest.mark.usefixtures("read_here")
def test_what_is_brought_anew_is_another_subject(file: Path, tmp_path: Path) -> None:
    digits = load("digits")
    models.bring(file, "mine", digits)
    first = Subject("mine", models.OWN, "digits")
    assert first == Subject("mine", models.OWN, "digits")
    other = torch.export.export(visitors.learned(visitors.Rows, 10), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(other, tmp_path / "other.pt2")
    models.bring(tmp_path / "other.pt2", "mine", digits)
    second = Subject("mine", models.OWN, "digits")
    assert second != first and second.is_trained
    models.dismiss("mine")
    assert not Subject("mine", models.OWN, "digits").is_trained
    assert second.is_trained  # as it was then


@pytest.mark.parametrize(("name", "error", "sentence"), [
    ("resnet20", InvalidSetting, "There is a network 'resnet20' in the zoo already; choose another name."),
    ("../mine", InvalidSetting, "A network's name is up to 31 of a-z, 0-9 and _, a letter first, not '../mine'."),
    ("", InvalidSetting, "A network's name is up to 31 of a-z, 0-9 and _, a letter first, not ''."),
])  # fmt: skip
def test_a_bad_name_is_refused_with_a_sentence(file: Path, name: str, error: type[UserError], sentence: str) -> None:
    with pytest.raises(error) as refused:
        models.bring(file, name, load("digits"))
    assert str(refused.value) == sentence
    assert models.brought() == []


def test_what_does_not_fit_is_refused_and_leaves_nothing(file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pt2"
    wrong.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InvalidFile, match="is not a network saved by"):
        models.bring(wrong, "mine", load("digits"))
    few = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)).eval()
    torch.export.save(torch.export.export(few, (torch.zeros(1, 1, 8, 8),)), wrong)
    with pytest.raises(InvalidModel, match="The network answers with 4 classes, but Digits has 10"):
        models.bring(wrong, "mine", load("digits"))
    assert not user_weights().exists()


@pytest.mark.usefixtures("read_here")
def test_its_images_are_normalized_as_it_was_trained(file: Path) -> None:
    card = import_network(file.read_bytes(), "mine", "digits", " 0.5", "0.25")
    assert not isinstance(card, Refusal)
    assert (card.mean, card.std) == ((0.5,), (0.25,))


@pytest.mark.parametrize(("content", "mean", "std", "sentence"), [
    (None, "", "0", "The standard deviation is of pixels from 0 to 1, so each number is from 0.0001 to 1, not 0."),
    (None, "nan", "", "The mean is of pixels from 0 to 1, so each number is from 0 to 1, not nan."),
    (None, "0.5, 0.4", "", "The mean takes 1 number, not '0.5, 0.4'."),
    (None, "half", "1", "The mean takes 1 number, not 'half'."),
    (b"", "", "", "'mine.pt2' is not a network saved by torch.export.save: File is not a zip file."),
])  # fmt: skip
def test_the_page_is_told_why_not(file: Path, content: bytes | None, mean: str, std: str, sentence: str) -> None:
    told = import_network(file.read_bytes() if content is None else content, "mine", "digits", mean, std)
    assert told == Refusal(sentence)


def test_a_name_is_no_way_out_of_the_folder(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    told = import_network(file.read_bytes(), "../mine", "digits", "", "")
    assert told == Refusal("A network's name is up to 31 of a-z, 0-9 and _, a letter first, not '../mine'.")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("read_here")
def test_its_weights_load_by_the_lines_beside_them(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load("digits")
    models.bring(file, "mine", digits)
    prepared = compress.prepare(models.network("mine", models.OWN), digits)
    recipe = Recipe(quality="fast").with_settings({"quantize.weight_bits": 4, "quantize.activation_bits": 32})
    graph = compress.simulate(prepared, recipe)
    formats.write("safetensors", formats.Compressed(graph, digits.input_shape, recipe), tmp_path / "net")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"Mine": visitors.Rows}
    exec(snippets.snippet("safetensors", "net", brought=True), names)
    images = digits.normalize(digits.test.images)
    assert torch.allclose(names["model"].eval()(images), graph(images), atol=1e-4)
