"""Networks of libraries and files, taken into the list without images."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import compression
from compression import models
from compression.errors import InvalidFile, InvalidModel, InvalidSetting, Unsupported, UserError, WeightsUnavailable
from compression.jobs import requested, worker
from compression.jobs.messages import Request
from compression.models import downloads, hub, libraries
from compression.models.libraries import Remote
from compression.models.model_cards import FORMATS, user_weights
from compression.models.weights_files import saved_tensors
from compression.recipe import Recipe
from compression.records.preprocess import Preprocess

NETWORK = "test_byobnet"
"""A network of timm's own tests, of 0.5 million parameters."""

CLASSES = 5
IMAGES = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def empty(own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of one test."""
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Trained by nobody."""
    torch.manual_seed(1)
    return timm.create_model(NETWORK, num_classes=CLASSES).eval()


def answers(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(IMAGES)


def tensors(model: nn.Module, front: str = "") -> dict[str, torch.Tensor]:
    return {front + name: tensor.clone() for name, tensor in model.state_dict().items()}


ONE = torch.ones(())
WRAPPED: dict[str, Any] = {
    "plain": lambda model: tensors(model),
    "of several devices": lambda model: tensors(model, "module."),
    "compiled": lambda model: {"model": tensors(model, "_orig_mod.")},
    "of a trainer": lambda model: {
        "state_dict": tensors(model, "model.") | {"criterion.weight": torch.ones(3)}, "epoch": 3, "args": {"lr": 0.1},
    },
    "averaged": lambda model: {"state_dict": tensors(nn.Linear(2, 2)), "state_dict_ema": tensors(model, "module.")},
    "with what was counted": lambda model: tensors(model) | {"stem.total_ops": torch.zeros(1), "n_averaged": ONE},
    "in half precision": lambda model: {k: v.half() if v.is_floating_point() else v for k, v in tensors(model).items()},
}  # fmt: skip


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize("wrapping", WRAPPED)
def test_weights_with_a_name_find_their_places(network: nn.Module, tmp_path: Path, wrapping: str) -> None:
    torch.save(WRAPPED[wrapping](network), tmp_path / "weights.pth")
    opened = models.open_source(f"timm:{NETWORK}", weights=tmp_path / "weights.pth")
    assert opened.classes == CLASSES
    allowed = 0.05 if "half" in wrapping else 0.0
    torch.testing.assert_close(answers(opened.network), answers(network), rtol=allowed, atol=allowed)


def test_an_added_network_is_kept_and_rebuilt_from_its_card(network: nn.Module, tmp_path: Path) -> None:
    save_file(tensors(network), tmp_path / "weights.safetensors")
    said: list[str] = []
    card = models.add(
        "mine", f"timm:{NETWORK}", weights=tmp_path / "weights.safetensors", classes=tuple("abcde"),
        progress=lambda sentence, share: said.append(sentence),
    )  # fmt: skip
    assert models.brought() == [card]
    assert (card.origin, card.classes, card.class_names) == (f"timm:{NETWORK}", 5, ("a", "b", "c", "d", "e"))
    assert card.test_accuracy is None and card.preprocess is not None
    assert card.input_shape == (3, 160, 160) and card.mean == card.preprocess.mean
    assert "gives the original's outputs" in card.checked
    assert torch.equal(answers(models.network("mine", models.OWN)), answers(network))
    assert torch.equal(answers(compression.load_model("mine")), answers(network))
    assert len(said) >= 3
    models.dismiss("mine")
    assert list(user_weights().iterdir()) == []


@pytest.mark.usefixtures("read_here")
def test_a_file_takes_the_place_of_a_librarys_network(network: nn.Module, tmp_path: Path) -> None:
    save_file(tensors(network), tmp_path / "weights.safetensors")
    models.add("mine", f"timm:{NETWORK}", weights=tmp_path / "weights.safetensors")
    program = torch.export.export(network, (IMAGES,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, tmp_path / "whole.pt2")
    card = models.add("mine", str(tmp_path / "whole.pt2"))
    assert (card.input_shape, card.classes) == ((3, 160, 160), CLASSES)
    assert card.preprocess == Preprocess(160, 160, resize_to=183) and "are assumed" in card.checked
    assert "does not specify the preprocessing" in card.checked
    assert [path.suffix for path in user_weights().iterdir() if path.suffix in FORMATS] == [".pt2"]
    torch.testing.assert_close(answers(models.network("mine", models.OWN)), answers(network))


def test_preprocessing_and_classes_are_corrected_later(network: nn.Module, tmp_path: Path) -> None:
    save_file(tensors(network), tmp_path / "weights.safetensors")
    first = models.add("mine", f"timm:{NETWORK}", weights=tmp_path / "weights.safetensors")
    made = Preprocess(160, 160, resize="exact", channels="BGR", mean=(0.4, 0.4, 0.4), std=(1.0, 1.0, 1.0))
    card = models.correct("mine", preprocess=made, classes=tuple("abcde"))
    assert models.card("mine", models.OWN) == card
    assert (card.preprocess, card.mean, card.class_names[0]) == (made, made.mean, "a")
    assert card.sha256 == first.sha256 and card.reading != first.reading
    with pytest.raises(InvalidModel, match="3×160×160, not 3×224×224"):
        models.correct("mine", preprocess=Preprocess(224, 224))
    with pytest.raises(InvalidModel, match="5 classes, not 2"):
        models.correct("mine", classes=("a", "b"))


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t | {"extra.weight": torch.zeros(2)}, "not of this network: extra.weight"),
        (lambda t: {k: v for k, v in t.items() if k != "stem.conv.weight"}, "missing: stem.conv.weight"),
        (lambda t: t | {"stem.conv.weight": torch.zeros(1, 2)}, "stem.conv.weight is 1×2 instead of"),
        (lambda t: t | {"stem.conv.weight": t["stem.conv.weight"] * float("nan")}, "no finite"),
        (lambda t: {k: v for k, v in t.items() if "head" not in k}, "no classifier of"),
        (lambda t: {"a": torch.zeros(2)}, "no classifier of"),
    ],
)
def test_what_does_not_fit_is_listed_by_name(network: nn.Module, tmp_path: Path, change: Any, said: str) -> None:
    torch.save(change(tensors(network)), tmp_path / "weights.pt")
    with pytest.raises(InvalidModel, match=said):
        models.add("mine", f"timm:{NETWORK}", weights=tmp_path / "weights.pt")
    assert models.brought() == []


def test_files_of_other_programs_are_told_how_to_be_exported(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network, tmp_path / "whole.pth")
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    (tmp_path / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "lite.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    for name, line in {
        "whole.pth": "torch.onnx.export", "script.pt": "torch.jit.load", "keras.h5": "keras.models.load_model",
        "lite.tflite": "from_tflite", "saved": "--saved-model",
    }.items():  # fmt: skip
        sources = [str(tmp_path / name)] if name not in ("whole.pth",) else []
        for source, weights in [*((s, None) for s in sources), (f"timm:{NETWORK}", tmp_path / name)]:
            with pytest.raises(UserError, match=line):
                models.add("mine", source, weights=weights)


class Evil:
    """What runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/unpickled-by-compression"),))


def test_nothing_in_a_file_of_weights_is_run(network: nn.Module, tmp_path: Path) -> None:
    Path("/tmp/unpickled-by-compression").unlink(missing_ok=True)
    torch.save(tensors(network) | {"evil": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InvalidFile, match="would run code"):
        models.add("mine", f"timm:{NETWORK}", weights=tmp_path / "evil.pth")
    assert not Path("/tmp/unpickled-by-compression").exists()


def test_a_tensor_that_is_larger_than_its_file_is_no_tensor(network: nn.Module, tmp_path: Path) -> None:
    bomb = torch.zeros(1).expand(1 << 40)
    torch.save(tensors(network) | {"stem.conv.weight": bomb}, tmp_path / "bomb.pth")
    with pytest.raises(InvalidModel, match=r"missing: stem\.conv\.weight"):
        models.add("mine", f"timm:{NETWORK}", weights=tmp_path / "bomb.pth")


def test_a_pickle_that_ends_anywhere_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"weight": torch.zeros(2)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    pickled = next(name for name in entries if name.endswith("data.pkl"))
    for end in range(len(entries[pickled])):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content[:end] if name == pickled else content)
        with pytest.raises(InvalidFile, match=r"^cut\.pth (cannot be read as a file of torch\.save: |holds pickled)"):
            saved_tensors(path, path.name)


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".onnx", ".pt2", ".txt"])
def test_files_of_nothing_are_one_sentence(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"broken{ending}"
    for content in (b"", b"PK\x03\x04") if ending == ".pth" else (b"", b"PK\x03\x04", bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(UserError):
            models.open_source(f"timm:{NETWORK}", weights=path)


def test_weights_without_a_network_are_asked_for_its_name(network: nn.Module, tmp_path: Path) -> None:
    save_file(tensors(network), tmp_path / "weights.safetensors")
    with pytest.raises(InvalidModel, match="name the network too"):
        models.add("mine", str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("name", ["", "Mine", "../mine", "resnet20", "a" * 32])
def test_names_that_are_none_or_taken_are_refused(name: str) -> None:
    with pytest.raises(InvalidSetting):
        models.add(name, f"timm:{NETWORK}")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that cannot be reached."""

    def refuse(remote: Remote, **_: Any) -> Path:
        raise WeightsUnavailable(f"{downloads.host(remote)} cannot be reached: no route to host")

    monkeypatch.setattr(downloads, "download", refuse)


@pytest.mark.usefixtures("nowhere")
def test_a_host_that_cannot_be_reached_is_a_sentence_with_what_works() -> None:
    with pytest.raises(WeightsUnavailable, match=r"cannot be reached.*What works without: .*alexnet-owt-7be5be79\.pth"):
        models.add("mine", "torchvision:alexnet")
    with pytest.raises(WeightsUnavailable, match="What works without"):
        models.add("mine", "timm:hf_hub:owner/net")


def test_weights_that_lie_in_the_folder_of_downloads_need_no_host(network: nn.Module) -> None:
    entry = libraries.entry(libraries.Source("timm", NETWORK))
    whole = timm.create_model(NETWORK, num_classes=entry.classes).eval()
    downloads.folder().mkdir(parents=True)
    save_file(tensors(whole), downloads.folder() / entry.remotes[0].name)
    card = models.add("mine", f"timm:{NETWORK}")
    assert card.origin == entry.source and card.licence == entry.licence
    assert len(card.class_names) == 1000
    assert torch.equal(answers(models.network("mine", models.OWN)), answers(whole))


CONFIGURATION = {
    "architecture": NETWORK, "num_classes": CLASSES, "label_names": list("abcde"),
    "pretrained_cfg": {
        "input_size": [3, 160, 160], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 1.0,
        "interpolation": "bilinear", "license": "mit",
    },
}  # fmt: skip


def put_repository(configuration: Any, model: nn.Module) -> None:
    import json

    folder = downloads.folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hub.remote("owner/net", hub.CONFIGURATION).name).write_text(json.dumps(configuration))
    save_file(tensors(model), folder / hub.remote("owner/net", "model.safetensors").name)


def test_a_repository_that_timm_reads(network: nn.Module) -> None:
    put_repository(CONFIGURATION, network)
    card = models.add("mine", "timm:hf_hub:owner/net")
    assert (card.class_names, card.licence, card.origin) == (tuple("abcde"), "mit", "timm:hf_hub:owner/net")
    assert card.preprocess == Preprocess(160, 160, resize_to=160, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert torch.equal(answers(models.network("mine", models.OWN)), answers(network))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"architecture": "nonsense"}, Unsupported),
        ({"architecture": ["a"]}, Unsupported),
        ({"num_classes": 0}, Unsupported),
        ({"num_classes": "5"}, Unsupported),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, Unsupported),
        ({"model_args": {"img_size": 10**9}}, InvalidFile),
        ({"model_args": []}, None),
        ({"pretrained_cfg": {"input_size": "abc"}}, InvalidModel),
        ({"pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": "x"}}, InvalidModel),
    ],
)
def test_a_hostile_repository_is_one_sentence(network: nn.Module, change: dict[str, Any], kind: Any) -> None:
    put_repository(CONFIGURATION | change, network)
    if kind is None:
        assert models.add("mine", "timm:hf_hub:owner/net").classes == CLASSES
        return
    with pytest.raises(kind):
        models.add("mine", "timm:hf_hub:owner/net")


def test_an_added_network_is_prepared_on_pictures_of_any_size(network: nn.Module, tmp_path: Path) -> None:
    """Made as its card says, with its outputs as classes; a corrected card is another subject."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 5), ("test", 2)):
        for name in "abcde":
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(0, 256, (180 + 10 * index, 230 - 10 * index, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{index}.jpg")
    save_file(tensors(network), tmp_path / "weights.safetensors")
    card = models.add(
        "mine", f"timm:{NETWORK}", weights=tmp_path / "weights.safetensors", classes=("e", "d", "c", "b", "a")
    )
    request = Request("mine", models.OWN, f"folder:{tmp_path / 'photos'}", Recipe(calibration_images=16).to_json())
    data = requested.images(request)
    assert data.input_shape == card.input_shape and (data.mean, data.std) == (card.mean, card.std)
    assert data.classes == card.class_names
    assert sorted(data.test.labels.tolist()) == sorted([0, 1, 2, 3, 4] * 2)
    with Image.open(tmp_path / "photos" / "test" / "a" / "0.jpg") as picture:
        resized = timm.data.create_transform(**timm.data.resolve_model_data_config(network))(picture)
    first = data.normalize(data.test.images[data.test.labels == 4][:1])
    torch.testing.assert_close(first[0], resized, atol=0.02, rtol=0)
    before = requested.edition(request)
    models.correct("mine", classes=tuple("abcde"))
    assert requested.edition(request) != before
    assert worker.prepared(request).data.classes == tuple("abcde")


def test_an_onnx_file_is_added_with_what_was_checked(network: nn.Module, tmp_path: Path) -> None:
    torch.onnx.export(
        network, (IMAGES,), str(tmp_path / "network.onnx"), dynamo=True, external_data=True,
        dynamic_shapes=({0: torch.export.Dim("n")},),
    )  # fmt: skip
    card = models.add("mine", str(tmp_path / "network.onnx"), classes=tuple("abcde"))
    assert (card.input_shape, card.classes, card.class_names) == ((3, 160, 160), CLASSES, tuple("abcde"))
    assert "100% of the classes are the same" in card.checked
    for path in tmp_path.glob("network.onnx*"):
        path.unlink()
    torch.testing.assert_close(answers(models.network("mine", models.OWN)), answers(network), rtol=1e-3, atol=1e-4)
