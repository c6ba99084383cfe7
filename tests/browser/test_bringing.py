"""A network of one's own, from its file to the chart and to a smaller file."""

from pathlib import Path

import onnx
import pytest
import torch
from playwright.sync_api import Page, expect

from compression.recipe import Recipe
from compression.steps import Quantize
from tests import visitors
from tests.browser.links import link

pytestmark = pytest.mark.browser


def test_a_brought_network_is_measured_and_made_smaller(server: str, page: Page, tmp_path: Path) -> None:
    model, images = visitors.learned(visitors.Residual), torch.zeros(2, 1, 8, 8)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, tmp_path / "mine.pt2")
    (tmp_path / "not.pt2").write_text("nothing")

    page.goto(f"{link(server, 'explore', Recipe(steps=(Quantize(weight_bits=4),), quality='fast'))}&panel=files")
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    page.get_by_role("button", name="Bring your own network").click()
    page.get_by_label("Name", exact=True).fill("visitor")
    page.get_by_label("Name", exact=True).press("Tab")
    answers = {"not.pt2": "'visitor.pt2' is not a network saved", "mine.pt2": "visitor is in the list of networks"}
    for file, said in answers.items():
        page.locator("input[type=file]").set_input_files(tmp_path / file)
        page.get_by_role("button", name=f"Add {file} to the list").click()
        expect(page.get_by_text(said)).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Network").click()
    page.get_by_role("option", name="visitor, your own").click()
    expect(page.get_by_role("heading", name="visitor on Digits")).to_be_visible()
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    with page.expect_download() as started:
        page.get_by_role("button", name=".onnx,").click()
    onnx.checker.check_model(onnx.load(started.value.path()))
    assert started.value.suggested_filename.startswith("visitor-own-")
    page.get_by_role("button", name="Bring your own network").click()
    page.get_by_role("button", name="Remove visitor").click()
    expect(page.get_by_text("visitor is no longer in the list")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="visitor on Digits")).not_to_be_visible()
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    page.get_by_role("combobox", name="Network").click()
    expect(page.get_by_role("option").first).to_be_visible()
    expect(page.get_by_role("option", name="visitor, your own")).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Bring your own network").click()
    page.get_by_role("button", name="Add mine.pt2 to the list").click()  # the same form again
    expect(page.get_by_role("button", name="Remove visitor")).to_be_visible()
