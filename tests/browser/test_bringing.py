"""A network of one's own, from its file to the list, to the chart and to a smaller file."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from playwright.sync_api import Page, Route, WebSocket, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from compression import models
from compression.data import load
from compression.recipe import Recipe
from compression.steps import Quantize
from pages.ui.model.links import link_of
from pages.ui.model.subject import Subject
from tests import visitors
from tests.browser.links import link

pytestmark = pytest.mark.browser

RECIPE = Recipe(steps=(Quantize(weight_bits=4),), quality="fast")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for Digits as PyTorch saves it."""
    path = tmp_path_factory.mktemp("brought") / "mine.pt2"
    model, images = visitors.learned(visitors.Residual, steps=50), torch.zeros(2, 1, 8, 8)
    torch.export.save(torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("n")},)), path)
    return path


@pytest.fixture
def form(server: str, page: Page) -> Iterator[Page]:
    """The form, with the name 'visitor' in it; what it brings is gone afterwards."""
    page.goto(link(server, "bring"))
    page.get_by_label("Name", exact=True).fill("visitor")
    page.get_by_label("Name", exact=True).press("Tab")
    yield page
    for card in models.brought():
        models.dismiss(card.model)


@pytest.fixture
def brought(file: Path, own_home: Path, read_here: None) -> Iterator[Subject]:
    """The network, in the list already."""
    models.bring(file, "visitor", load("digits"))
    yield Subject("visitor", models.OWN, "digits")
    for card in models.brought():
        models.dismiss(card.model)


def add(page: Page, file: Path) -> None:
    """Chooses a file and has it taken in."""
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name=f"Import {file.name}").click()


@pytest.mark.parametrize("kind", ["safetensors", pytest.param("pt2", marks=pytest.mark.slow)])
def test_the_button_stays_in_its_place_as_a_list_above_it_is_loaded(form: Page, tmp_path: Path, kind: str) -> None:
    """The browser fetches what draws a list when the first is shown; a click on what moves meanwhile hits nothing."""
    held = list[Route]()
    form.route("**/Selectbox.*.js", lambda route: held.append(route))
    (tmp_path / f"not.{kind}").write_text("nothing")
    form.locator("input[type=file]").set_input_files(tmp_path / f"not.{kind}")
    button = form.get_by_role("button", name=f"Import not.{kind}")
    expect(button).to_be_visible()
    expect(form.locator(".st-key-bring-images, .st-key-bring-library")).to_be_visible()
    expect(form.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    before = button.bounding_box()
    assert held
    expect(form.get_by_role("combobox")).to_have_count(0)
    for route in held:
        route.continue_()
    expect(form.get_by_role("combobox")).to_have_count(1)
    assert button.bounding_box() == before


def test_after_a_refused_file_a_network_is_taken_removed_taken_again_and_opens_on_explore(
    form: Page, file: Path, tmp_path: Path
) -> None:
    expect(form.get_by_role("button", name="Import", exact=True)).to_be_disabled()
    expect(form.get_by_role("combobox")).to_have_count(0)  # which images it takes is asked of a .pt2 alone
    (tmp_path / "not.pt2").write_text("nothing")
    add(form, tmp_path / "not.pt2")
    expect(form.get_by_role("combobox", name="Dataset of the network")).to_have_value("Digits")
    expect(form.get_by_text("'visitor.pt2' is not a network saved")).to_be_visible()
    add(form, file)
    expect(form.get_by_text("visitor added to the list of networks")).to_be_visible()
    remove = form.get_by_role("button", name="Remove visitor")
    remove.click()
    expect(form.get_by_text("visitor removed from the list")).to_be_visible()
    expect(remove).to_have_count(0)
    form.get_by_role("button", name="Import mine.pt2").click()  # the same form again
    expect(remove).to_be_visible()
    form.get_by_role("link", name="Compress visitor on Explore").click()
    expect(form.get_by_role("heading", name="visitor on Digits")).to_be_visible()


def test_a_file_is_never_lost_as_only_the_form_is_drawn_anew(form: Page, file: Path, tmp_path: Path) -> None:
    whole = []

    def look(frame: bytes | str) -> None:
        message = ForwardMsg.FromString(frame) if isinstance(frame, bytes) else ForwardMsg()
        if message.HasField("new_session") and not message.metadata.run.fragment_ids:
            whole.append(message)

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", look)

    form.on("websocket", listen)
    form.goto(form.url)
    for number in range(5):
        (tmp_path / f"{number}.pt2").write_text("nothing")
        form.get_by_label("Name", exact=True).fill(f"visitor{number}")
        form.get_by_label("Name", exact=True).press("Tab")
        form.locator("input[type=file]").set_input_files(tmp_path / f"{number}.pt2")
        expect(form.get_by_role("button", name=f"Import {number}.pt2")).to_be_enabled()
        if not number:
            whole.clear()  # the page was opened
    form.get_by_role("button", name="Import 4.pt2").click()
    expect(form.get_by_text("'visitor4.pt2' is not a network saved")).to_be_visible()
    assert not whole


def test_a_brought_network_is_measured_and_made_smaller(server: str, page: Page, brought: Subject) -> None:
    query = "&".join(f"{name}={value}" for name, value in link_of(brought, RECIPE).items())
    page.goto(f"{server}/explore?{query}&panel=files")
    expect(page.get_by_role("heading", name="visitor on Digits")).to_be_visible()
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    with page.expect_download() as started:
        page.get_by_role("button", name=".onnx,").click()
    onnx.checker.check_model(onnx.load(started.value.path()))
    assert started.value.suggested_filename.startswith("visitor-own-")


@pytest.mark.slow
def test_explore_goes_on_with_another_network_when_one_is_removed(server: str, page: Page, brought: Subject) -> None:
    query = "&".join(f"{name}={value}" for name, value in link_of(brought, RECIPE).items())
    page.goto(f"{server}/explore?{query}")
    expect(page.get_by_role("heading", name="visitor on Digits")).to_be_visible()
    page.get_by_role("link", name="Bring your own network").click()
    page.get_by_role("button", name="Remove visitor").click()
    expect(page.get_by_role("button", name="Remove visitor")).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("heading", name="visitor on Digits")).not_to_be_visible()
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    page.get_by_role("combobox", name="Network").click()
    expect(page.get_by_role("option").first).to_be_visible()
    expect(page.get_by_role("option", name="visitor (imported)")).to_have_count(0)
