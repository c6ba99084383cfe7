"""A file with preprocessing inside: the same classes as the plain one, from bytes of pictures to a class's name."""

import contextlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from compression.data import Dataset, Split, load
from compression.errors import Unsupported
from compression.export import preprocessing
from compression.export.snippets import photo_snippet
from compression.host.onnx_runtime import session
from compression.models import card, preprocess_of
from compression.models import load as load_model
from compression.pipeline import verification
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe
from compression.records.preprocess import Channels, Preprocess
from compression.steps import Quantize

W8A8 = Recipe(steps=(Quantize(),), quality="fast")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def colours(size: tuple[int, int] = (12, 16)) -> Dataset:
    digits = load("digits")
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Split:
        images = torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
        return Split(images, torch.arange(count) % 10)

    return replace(
        digits, input_shape=(3, *size), mean=MEAN, std=STD, given=True, train=drawn(64), validation=drawn(8),
        test=drawn(40),
    )  # fmt: skip


class Colours(nn.Module):
    """Answers depend on where each channel is bright, so that channels in another order give other classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Conv2d(3, 16, 3, 2), nn.Linear(16 * 5 * 7, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.first(x).relu().flatten(1))


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_pixels_give_the_very_scores_of_normalised_images(channels: Channels) -> None:
    data = colours()
    ready = prepare(Colours().eval(), data)
    plain = compress_prepared(ready, W8A8).onnx
    how = Preprocess(12, 16, "exact", channels=channels, mean=MEAN, std=STD)
    inside = verification.with_preprocessing(plain, ready.data, how)
    images = ready.data.test.images
    rgb = images.flip(1) if channels == "BGR" else images
    expected = session(plain).run(None, {"image": data.normalize(images).numpy()})[0]
    found = session(inside).run(None, {"pixels": np.ascontiguousarray(rgb.permute(0, 2, 3, 1).numpy())})[0]
    assert np.array_equal(found, expected)
    assert len(inside) - len(plain) < 1500


def test_the_input_is_bytes_with_channels_last_and_the_graph_behind_is_the_same() -> None:
    ready = prepare(load_model("lenet5", "digits"), load("digits"))
    plain = compress_prepared(ready, W8A8).onnx
    inside = verification.with_preprocessing(plain, ready.data)
    (pixels,) = session(inside).get_inputs()
    assert (pixels.name, pixels.type, pixels.shape[1:]) == ("pixels", "tensor(uint8)", [8, 8, 1])
    before, after = onnx.load_model_from_string(plain), onnx.load_model_from_string(inside)
    count = len(before.graph.node)
    assert list(after.graph.node)[-count:] == list(before.graph.node)
    assert list(after.functions) == list(before.functions)
    about = {prop.key: json.loads(prop.value) for prop in after.metadata_props}
    assert about["classes"] == list(ready.data.classes)
    assert Preprocess.from_plain(about["preprocess"]).mean == ready.data.mean


def test_a_file_that_answers_otherwise_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = prepare(load_model("lenet5", "digits"), load("digits"))
    right = preprocessing.with_preprocessing
    monkeypatch.setattr(
        preprocessing, "with_preprocessing",
        lambda content, how, **about: right(content, replace(how, mean=(-3.0,), std=(0.05,)), **about),
    )  # fmt: skip
    with pytest.raises(Unsupported, match="another class, so it is not offered"):
        verification.with_preprocessing(ready.baseline.onnx, ready.data)


@pytest.mark.parametrize(
    "how",
    [
        Preprocess(12, 16, "exact", mean=MEAN, std=STD),
        Preprocess(12, 16, "shorter", resize_to=20, interpolation="bicubic", mean=MEAN, std=STD),
        Preprocess(12, 16, "letterbox", channels="BGR", mean=MEAN, std=STD),
    ],
    ids=lambda how: how.resize,
)
def test_the_lines_on_the_page_print_a_photos_class(how: Preprocess, tmp_path: Path) -> None:
    data = colours()
    ready = prepare(Colours().eval(), data)
    inside = verification.with_preprocessing(ready.baseline.onnx, ready.data, how)
    (tmp_path / "net.pixels.onnx").write_bytes(inside)
    pixels = np.random.default_rng(1).integers(0, 256, (33, 47, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95)
    printed, before = io.StringIO(), os.getcwd()
    try:
        os.chdir(tmp_path)
        with contextlib.redirect_stdout(printed):
            exec(photo_snippet("net", how), {})
    finally:
        os.chdir(before)
    seen = torch.from_numpy(expected_pixels(tmp_path / "photo.jpg", how))[None]
    scores = session(ready.baseline.onnx).run(None, {"image": data.normalize(seen).numpy()})[0]
    assert printed.getvalue().strip() == data.classes[int(scores.argmax())]


def expected_pixels(path: Path, how: Preprocess) -> np.ndarray:
    """uint8 [3, H, W] by torchvision's transforms."""
    from torchvision.transforms import v2

    image = Image.open(path).convert("RGB")
    mode = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}[how.interpolation]
    if how.resize == "exact":
        image = v2.Resize((how.height, how.width), mode)(image)
    elif how.resize == "shorter":
        image = v2.CenterCrop((how.height, how.width))(v2.Resize(how.resize_to, mode)(image))
    else:
        scale = min(how.width / image.width, how.height / image.height)
        inner = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BILINEAR)
        image = Image.new("RGB", (how.width, how.height), (114, 114, 114))
        image.paste(inner, ((how.width - inner.width) // 2, (how.height - inner.height) // 2))
    pixels = np.asarray(image).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[::-1] if how.channels == "BGR" else pixels)


def test_a_network_of_the_zoo_has_its_cards_preprocessing() -> None:
    how = preprocess_of(card("lenet5", "digits"))
    assert (how.height, how.width, how.channels, how.resize) == (8, 8, "grey", "exact")
    assert how.mean == card("lenet5", "digits").mean
