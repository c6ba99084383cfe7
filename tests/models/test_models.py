"""The zoo: every network fits every dataset, and every card tells the truth about its file."""

import dataclasses
import hashlib
import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compression import models, reference
from compression.data import DATASETS, load
from compression.errors import DataUnavailable, InvalidFile, InvalidModel, InvalidSetting, UnknownName, Unsupported
from compression.models import loading, model_cards
from compression.models.resnet import deepened
from compression.training import Progress, accuracy

CARDS = models.cards()
PAIRS = [(card.model, card.dataset) for card in CARDS]
FLOORS = {
    ("lenet300", "fashion-mnist"): 0.895,
    ("lenet5", "fashion-mnist"): 0.915,
    ("resnet20", "fashion-mnist"): 0.94,
    ("vgg11", "fashion-mnist"): 0.925,
    ("resnet56", "fashion-mnist"): 0.945,
    ("mobilenetv2", "fashion-mnist"): 0.9,
    ("shufflenetv2", "fashion-mnist"): 0.88,
}
PARAMETERS = {
    "lenet300": (266_610, 266_610),
    "lenet5": (431_080, 431_080),
    "vgg11": (2_000_000, 2_500_000),
    "resnet20": (268_000, 275_000),
    "resnet56": (850_000, 860_000),
    "resnet20_half": (67_000, 70_000),
    "resnet20_quarter": (17_000, 18_000),
    "resnet8": (75_000, 79_000),
    "mobilenetv2": (650_000, 750_000),
    "shufflenetv2": (340_000, 360_000),
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_every_network_fits_every_datasets_images(name: str) -> None:
    for spec in {spec.input_shape: spec for spec in DATASETS.values()}.values():
        model = models.build(name, input_shape=spec.input_shape, classes=spec.classes)
        assert not model.training
        with torch.inference_mode():
            assert model(torch.randn(3, *spec.input_shape)).shape == (3, spec.classes)


@pytest.mark.parametrize("shape", [(2, 12, 16), (3, 17, 33), (3, 64, 64)])
@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_every_network_fits_other_shapes(name: str, shape: tuple[int, int, int]) -> None:
    with torch.inference_mode():
        assert models.build(name, input_shape=shape, classes=7)(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_parameter_counts(name: str) -> None:
    low, high = PARAMETERS[name]
    assert low <= count(models.build(name, input_shape=(1, 28, 28), classes=10)) <= high


DEEPER = ("resnet20_quarter", "resnet20_half", "resnet56")
"""ResNets that differ from ResNet-20 in nothing but their size."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in DEEPER else name for name in models.ARCHITECTURES],
)
def test_every_network_can_be_traced_for_any_batch_size(name: str) -> None:
    model = models.build(name, input_shape=(1, 8, 8), classes=10)
    batch = torch.export.Dim("batch")
    traced = torch.export.export(model, (torch.randn(2, 1, 8, 8),), dynamic_shapes=({0: batch},)).module()
    images = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(traced(images), model(images))


def test_first_weights_depend_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = (
        torch.cat(
            [p.flatten() for p in models.build("shufflenetv2", input_shape=(1, 8, 8), classes=10, seed=s).parameters()]
        )
        for s in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(UnknownName, match="lenet300, lenet5, vgg11"):
        models.build("alexnet", input_shape=(1, 28, 28), classes=10)
    with pytest.raises(InvalidSetting, match="sides from 8"):
        models.build("resnet20", input_shape=(1, 28, 7), classes=10)
    with pytest.raises(InvalidSetting, match="at least 2"):
        models.build("resnet20", input_shape=(1, 28, 28), classes=1)


# --- stored weights ---


@pytest.mark.parametrize(("name", "dataset"), PAIRS)
def test_a_card_describes_its_file(name: str, dataset: str) -> None:
    card, model, spec = models.card(name, dataset), models.load(name, dataset), DATASETS[dataset]
    path = model_cards.WEIGHTS / f"{name}-{dataset}.safetensors"
    content = path.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (card.size_bytes, card.sha256)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert count(model) == card.parameters
    assert (card.input_shape, card.mean, card.std) == (spec.input_shape, spec.mean, spec.std)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert 0 <= card.best_epoch < card.epochs
    assert {"torch", "torchvision", "python"} <= card.versions.keys()


@pytest.mark.parametrize(("name", "dataset"), [pair for pair in PAIRS if pair in FLOORS])
def test_stored_weights_reach_their_floor(name: str, dataset: str) -> None:
    card = models.card(name, dataset)
    assert card.test_images == 10_000 and card.test_accuracy is not None
    assert card.test_accuracy >= FLOORS[name, dataset]


@pytest.mark.parametrize(
    ("name", "dataset"),
    [p for p in PAIRS if p[1] == "digits" or (p[0].startswith("lenet") and p[1] == "fashion-mnist")],
)
def test_a_cards_accuracy_can_be_measured_again(name: str, dataset: str) -> None:
    """Another processor may round a logit differently, so one image in a thousand may tip over."""
    try:
        data = load(dataset)
    except DataUnavailable as error:
        pytest.skip(str(error))
    card, model = models.card(name, dataset), models.load(name, dataset)
    assert data.fingerprint == card.data_fingerprint
    allowed = max(1, card.test_images // 1000)
    assert card.test_accuracy is not None and card.validation_accuracy is not None
    assert abs(accuracy(model, data, data.test) - card.test_accuracy) * card.test_images <= allowed
    assert abs(accuracy(model, data, data.validation) - card.validation_accuracy) * card.validation_images <= allowed


@pytest.mark.parametrize(("name", "floor"), [("resnet20", 0.85), ("resnet8", 0.8)])
def test_a_network_trained_on_a_copy_of_its_images_says_so(name: str, floor: float) -> None:
    """Those images are a JPEG copy of CIFAR-10, on which accuracy differs from that on the original."""
    card = models.card(name, "cifar10")
    assert "JPEG" in card.source and "JPEG" in card.notes
    assert card.test_images == 10_000 and card.test_accuracy is not None and card.test_accuracy > floor


def test_a_network_trained_for_fewer_epochs_than_its_recipe_says_so() -> None:
    told = {(c.model, c.dataset): c.notes for c in CARDS if c.dataset == "fashion-mnist"}
    assert "10 epochs instead of the recipe's 20" in told["vgg11", "fashion-mnist"]
    assert "3 epochs instead of the recipe's 18" in told["mobilenetv2", "fashion-mnist"]
    for name in ("vgg11", "mobilenetv2"):
        assert f"Trained for {models.card(name, 'fashion-mnist').epochs} epochs" in told[name, "fashion-mnist"]


def test_a_short_training_averages_over_a_short_time() -> None:
    """Else its average still holds what the large learning rates of the middle made of the weights."""
    data = load("digits")
    assert models.recipe("vgg11", data).average_epochs == 1.0
    assert models.recipe("vgg11", data, epochs=3).average_epochs == 0.25


@pytest.mark.parametrize("path", sorted(reference.HERE.glob("*.json")), ids=lambda path: path.stem)
def test_a_reference_sweep_is_of_the_weights_that_are_stored(path: Path) -> None:
    """Its fp32 file answers as the card says, within one image in a thousand, and all of its points are measured."""
    model, dataset = path.stem.split("-", 1)
    sweep, card = reference.load(model, dataset), models.card(model, dataset)
    assert sweep is not None and card.test_accuracy is not None
    assert (sweep.model, sweep.dataset, sweep.accuracy.n) == (model, dataset, card.test_images)
    assert abs(sweep.accuracy.value - card.test_accuracy) <= 0.001
    assert ("JPEG" in sweep.images) == ("JPEG" in card.source)
    assert len(sweep.points) > 40 and all(m.accuracy.n == card.test_images for _, m in sweep.points)


def test_the_repository_holds_the_least_that_the_app_starts_with() -> None:
    assert {("lenet300", "digits"), ("lenet5", "digits"), ("lenet300", "fashion-mnist")} <= set(PAIRS)
    files = list(model_cards.WEIGHTS.iterdir())
    assert {path.stem for path in files if path.suffix == ".safetensors"} == {f"{m}-{d}" for m, d in PAIRS}
    assert sum(path.stat().st_size for path in files) < 40_000_000


def test_a_model_on_jpeg_images_says_so() -> None:
    for card in CARDS:
        if card.dataset.startswith("cifar"):
            assert "JPEG" in card.source + card.notes


def test_missing_weights_are_one_sentence() -> None:
    with pytest.raises(UnknownName, match="model 'alexnet'"):
        models.load("alexnet", "digits")
    with pytest.raises(UnknownName, match="dataset 'imagenet'"):
        models.load("lenet5", "imagenet")
    with pytest.raises(Unsupported, match=r"no stored weights of 'lenet5' for 'cifar100' .*digits"):
        models.load("lenet5", "cifar100")
    with pytest.raises(Unsupported, match="no stored weights of 'lenet5' for 'folder:x'"):
        models.load("lenet5", "folder:x")


def test_weights_survive_the_way_to_a_file_and_back(tmp_path: Path) -> None:
    model = models.build("resnet20", input_shape=(1, 8, 8), classes=10, seed=3)
    digests = [loading.write_weights(model, tmp_path / f"{i}.safetensors") for i in range(2)]
    assert digests[0] == digests[1]  # same weights, same bytes
    blank = models.build("resnet20", input_shape=(1, 8, 8), classes=10, seed=4)
    for name, tensor in loading.read_weights(blank, tmp_path / "0.safetensors").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].half().to(tensor.dtype))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = models.build("lenet5", input_shape=(1, 8, 8), classes=10)
    path = tmp_path / "w.safetensors"
    loading.write_weights(models.build("lenet5", input_shape=(1, 8, 8), classes=11), path)
    with pytest.raises(InvalidModel, match=r"'7\.bias' has shape \(11,\), and the model needs \(10,\)"):
        loading.read_weights(model, path)
    save_file({"0.weight": torch.zeros(20, 1, 5, 5)}, path)
    with pytest.raises(InvalidModel, match=r"'0\.bias' has shape none"):
        loading.read_weights(model, path)
    path.write_bytes(b"not at all")
    with pytest.raises(InvalidFile, match="cannot be read as a safetensors file"):
        loading.read_weights(model, path)


def test_training_stores_weights_and_a_card_that_load_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    monkeypatch.setattr(model_cards, "WEIGHTS", tmp_path / "none")
    card = models.train("lenet300", "digits", epochs=3)
    assert models.cards() == [card] == [models.card("lenet300", "digits")]
    data = load("digits")
    assert card.test_accuracy is not None
    assert accuracy(models.load("lenet300", "digits"), data, data.test) == card.test_accuracy > 0.7
    assert card.recipe == json.loads(json.dumps(dataclasses.asdict(models.recipe("lenet300", data, epochs=3))))


def test_a_deeper_resnet_begins_as_the_shallower_one_and_learns_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    data, shallow = load("digits"), models.load("resnet8", "digits")
    shape = data.input_shape
    deep = deepened(shallow, models.build("resnet20", input_shape=shape, classes=10, seed=3))
    assert accuracy(deep, data, data.test) == accuracy(shallow, data, data.test) > 0.9
    assert torch.equal(deep(data.normalize(data.test.images[:9])), shallow(data.normalize(data.test.images[:9])))
    for other in ("lenet5", "resnet20_half", "resnet8"):  # without stages, other widths, fewer blocks
        with pytest.raises(InvalidSetting, match="A ResNet grows from another one"):
            deepened(deep, models.build(other, input_shape=shape, classes=10))
    seen: list[Progress] = []
    card = models.train("resnet20", "digits", epochs=1, grown_from="resnet8", progress=seen.append)
    assert card.recipe["grown_from"] == "resnet8"
    assert card.recipe["learning_rate"] == models.recipe("resnet20", data).learning_rate / 2
    assert card.test_accuracy is not None and card.test_accuracy > 0.9  # one epoch from nothing: about 0.5
    with pytest.raises(Unsupported, match="no stored weights of 'resnet20_quarter'"):
        models.train("resnet20", "digits", epochs=1, grown_from="resnet20_quarter")


def test_weights_are_replaced_when_their_card_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    models.train("lenet300", "digits", epochs=1)
    card, weights = models.card("lenet300", "digits"), models.load("lenet300", "digits").state_dict()

    def killed(*_: object, **__: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("compression.models.trainer"), "accuracy", killed)
    with pytest.raises(KeyboardInterrupt):
        models.train("lenet300", "digits", epochs=1, seed=1)
    assert models.card("lenet300", "digits") == card
    found = models.load("lenet300", "digits").state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    loading.write_weights(
        models.build("lenet300", input_shape=(1, 8, 8), classes=10), tmp_path / "zoo/lenet300-digits.safetensors"
    )
    with pytest.raises(InvalidFile, match="are not those that this card describes; train lenet300 again"):
        models.load("lenet300", "digits")


def test_a_damaged_card_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cards, "WEIGHTS", tmp_path)
    (tmp_path / "lenet5-digits.safetensors").touch()
    (tmp_path / "lenet5-digits.json").write_text("{}")
    with pytest.raises(InvalidFile, match=r"lenet5-digits\.json is not the card of a model"):
        models.card("lenet5", "digits")
