"""Somebody's ONNX file and photos of many sizes, from two files to a live chart, as a first visitor clicks it."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect
from torch import nn

from compression import models
from compression.host.machine_lock import work_turn
from tests.browser.links import link

pytestmark = pytest.mark.browser

CLASSES = ("blue", "green", "red")


class Colours(nn.Module):
    """Names the strongest colour of a picture; its convolutions and batch norm are those of any network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.last = nn.Conv2d(16, 3, 1)
        with torch.no_grad():
            self.first.weight.mul_(0.05)[:3, :, 1, 1] = torch.eye(3).flip(0)  # blue, green, red
            self.last.weight.mul_(0.05)[:, :3, 0, 0] += torch.eye(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.last(torch.relu(self.norm(self.first(images)))).mean((2, 3)), 1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as ONNX, for 64×64 pixels."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("photos") / "My Colours.onnx"
    torch.onnx.export(Colours().eval(), (torch.zeros(2, 3, 64, 64),), path, dynamo=False,
                      input_names=["image"], dynamic_axes={"image": {0: "n"}})  # fmt: skip
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class, 60 pictures of 60 sizes, and one file that is no picture, in a .zip."""
    path, generator = tmp_path_factory.mktemp("photos") / "holidays.zip", np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(60):
            pixels = generator.integers(0, 120, (70 + i, 90 + 2 * i % 37, 3), np.uint8)
            pixels[..., 2 - i % 3] += 100
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "JPEG")
            archive.writestr(f"holidays/{CLASSES[i % 3]}/{i}.jpg", content.getvalue())
        archive.writestr("holidays/red/broken.jpg", b"no picture")
    return path


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    for card in models.brought():
        models.dismiss(card.model)


def test_an_onnx_file_and_photos_reach_a_chart(server: str, page: Page, network: Path, photos: Path) -> None:
    page.goto(link(server, "explore"))
    page.get_by_role("link", name="Bring your own network").click()
    page.locator("input[type=file]").set_input_files(network)
    page.get_by_role("button", name="Import My Colours.onnx").click()
    expect(page.get_by_text("my_colours added to the list of networks")).to_be_visible()
    page.get_by_role("button", name="Choose images for my_colours").click()
    expect(page.get_by_role("combobox", name="Network")).to_have_value("my_colours")  # the other form is gone
    page.get_by_role("region", name="Archive or images").locator("input").set_input_files(photos)
    with work_turn(quick=True):  # decoding waits for whoever does quick work
        page.get_by_role("button", name="Add these images").click()
        expect(page.get_by_text("61 images added")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("Stopped.")).to_be_visible()
    page.get_by_role("button", name="Start again").click()
    expect(page.get_by_text("1 files skipped")).to_be_visible()
    expect(page.get_by_text("Tried on", exact=False)).to_be_visible()
    page.get_by_role("link", name="Compress my_colours with these images").click()
    expect(page.get_by_role("heading", name="my_colours on holidays")).to_be_visible()
    expect(page.locator(".st-key-status")).to_contain_text("test images")
