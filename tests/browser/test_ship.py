"""Deploy, Report and Demo as a person sees them: downloads work, and say what was measured."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Download, Page, expect

from compression import data
from compression.export import snippets
from compression.recipe import Recipe
from compression.steps import Quantize
from compression.store import Store
from pages.ui.charts import tables
from pages.ui.model import wording
from pages.ui.state import known
from tests.browser.links import DIGITS, link

pytestmark = pytest.mark.browser

RECIPE = Recipe(steps=(Quantize(weight_bits=4),), quality="fast")


def saved(download: Download, folder: Path) -> Path:
    path = folder / download.suggested_filename
    download.save_as(path)
    return path


def fetched(page: Page, suffix: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=re.compile(rf"^{re.escape(suffix)}, ")).click()
    return saved(started.value, folder)


def test_every_download_of_deploy_runs_with_the_lines_beside_it(
    server: str, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.goto(link(server, "deploy", RECIPE))
    expect(page.get_by_role("heading", name="Devices")).to_be_visible()
    expect(page.get_by_text("Why isn't it faster?")).to_be_visible()
    for name in list(tables.FORMATS)[1:]:
        page.locator(f"[class*='st-key-files-{name}'] button").click()
    expect(page.get_by_role("button", name="Prepare", exact=True)).to_have_count(0)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    stem = wording.file_name(DIGITS, RECIPE).removesuffix(".onnx")
    for suffix in (".onnx", ".qdq.onnx", ".ort", ".safetensors", ".json"):
        assert fetched(page, suffix, tmp_path).name == stem + suffix
    shown = page.get_by_test_id("stCode").first.inner_text()
    assert f'"{stem}.pixels.onnx"' in shown

    monkeypatch.chdir(tmp_path)
    digits = data.load("digits")
    images = digits.normalize(digits.test.images)
    answers = {}
    for name in snippets.PYTHON:
        names: dict[str, Any] = {"images": images.numpy()}
        exec(snippets.snippet(name, stem), names)
        scores = names["model"](images).detach().numpy() if "model" in names else names["scores"]
        answers[name] = np.asarray(scores).argmax(1)
    right = digits.test.labels.numpy()
    assert np.mean(answers["onnx"] == right) > 0.95
    assert all(np.mean(answer == answers["onnx"]) >= 0.99 for answer in answers.values())
    page.get_by_text(f"{100 * np.mean(answers['onnx'] == right):.1f}%").first.wait_for()


@pytest.mark.slow
def test_clicks_in_one_breath_are_all_heard(server: str, page: Page) -> None:
    page.goto(link(server, "deploy", Recipe(steps=(Quantize(weight_bits=5),), quality="fast")))
    expect(page.get_by_text("Why isn't it faster?")).to_be_visible()
    prepare = page.get_by_role("button", name="Prepare", exact=True)
    expect(prepare).to_have_count(len(tables.FORMATS) - 1)
    prepare.evaluate_all("buttons => buttons.forEach((button, i) => setTimeout(() => button.click(), 40 * i))")
    expect(prepare).to_have_count(0)
    expect(page.locator("[class*='st-key-download-']")).not_to_have_count(0)


def test_the_report_says_what_the_store_says_in_every_form(
    server: str, page: Page, browser: Browser, tmp_path: Path
) -> None:
    page.goto(f"{link(server, 'explore', RECIPE)}")
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    page.goto(f"{link(server, 'report', RECIPE)}&budget=drop:1,smallest")
    paths = {}
    for name in ("HTML", "Markdown", "CSV", "JSON"):
        with page.expect_download() as started:
            page.get_by_role("button", name=name, exact=True).click()
        paths[name] = saved(started.value, tmp_path)

    store = Store.open()
    runs = {run.recipe.hash: run for run in store.runs(model=DIGITS.model, dataset=DIGITS.dataset) if run.full}
    store.close()
    kept = {(run.accuracy.value, run.size_bytes) for run in runs.values()}
    kept |= {(point.measurement.accuracy.value, point.measurement.size_bytes) for point in known(DIGITS).points}
    rows = list(csv.DictReader(paths["CSV"].open()))
    files = json.loads(paths["JSON"].read_text())["files"]
    assert len(rows) == len(files) >= len(runs) > 0
    assert {(float(row["accuracy"]), int(row["size_bytes"])) for row in rows} <= kept
    assert {(file["accuracy"], file["size_bytes"]) for file in files} <= kept
    ours = runs[RECIPE.hash]
    assert (ours.accuracy.value, ours.size_bytes) in {(file["accuracy"], file["size_bytes"]) for file in files}
    assert wording.size(ours.size_bytes) in paths["Markdown"].read_text()
    printed, text = opened_from_disk(browser, paths["HTML"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 4
    best = next(row for row in paths["Markdown"].read_text().splitlines() if row.startswith("| **"))
    assert all(cell.strip(" *") in text for cell in best.split("|") if cell)


def opened_from_disk(browser: Browser, path: Path) -> tuple[bytes, str]:
    """The report as a PDF and its text, in a browser that has no network."""
    context = browser.new_context(offline=True)
    page, requests = context.new_page(), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    printed, text = page.pdf(format="A4"), page.inner_text("body")
    context.close()
    assert requests == [path.as_uri()]
    return printed, text


def test_the_demo_is_turned_by_keyboard_and_needs_no_network(server: str, page: Page, console: list[str]) -> None:
    page.goto(f"{server}/?demo=1")
    headline, place = page.locator(".demo-headline"), page.get_by_text(re.compile(r"^\d of 4 · Measured on"))
    expect(page).to_have_url(re.compile("/demo"))
    titles = page.locator(".st-key-demo-stories").get_by_role("button")
    expect(titles).to_have_count(5)
    expect(titles.last).to_have_text("Your runs")
    titles.nth(2).click()
    expect(place).to_contain_text("1 of 4")
    told = [headline.inner_text()]
    for slide in (2, 3, 4):
        page.keyboard.press("ArrowRight")
        expect(place).to_contain_text(f"{slide} of 4")
        told.append(headline.inner_text())
        expect(page.locator(".demo-figure")).to_contain_text(re.compile(r"\d"))
    assert len(set(told)) == 4
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    expect(headline).to_have_text(told[2])
    assert not console  # it would name a request to another machine
