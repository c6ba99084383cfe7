"""The page that runs files in the visitor's browser, in a real Chromium, with ONNX Runtime's own WebAssembly."""

import re
import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from compression.errors import DataUnavailable
from compression.probing import browser_runtime
from compression.recipe import Recipe
from compression.steps import Quantize
from compression.store import Store
from tests.browser.links import link

pytestmark = pytest.mark.browser

RECIPE = Recipe(steps=(Quantize(weight_bits=4),), quality="fast")


def picture(path: Path) -> Path:
    """A grey PNG of 9×5 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 9, 5, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(range(0, 180, 20)) for _ in range(5)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


COARSE = """
const exact = performance.now.bind(performance)
let late = 0, calls = 0
performance.now = () => Math.floor(exact() + (++calls % 7 ? late : late += 3))
"""
"""A clock as coarse as browsers have them, on a machine that is busy now and then."""


def test_the_very_file_answers_in_the_browser_as_it_does_here(server: str, page: Page, tmp_path: Path) -> None:
    page.add_init_script(COARSE)
    page.goto(link(server, "browser", RECIPE))
    if not browser_runtime.is_there():
        expect(page.get_by_text("probe browser")).to_be_visible()
        try:
            browser_runtime.fetch()
        except DataUnavailable:  # no npm here, or it reaches no registry: the page has said what is missing
            return
        page.reload()
    note = page.locator(".probe-note")
    expect(note).to_have_text("Ready.")
    expect(page.locator(".probe-label")).to_contain_text("Test image 1 of 200")
    page.locator(".probe-file").set_input_files(picture(tmp_path / "a.png"))
    expect(page.locator(".probe-label")).to_contain_text("does not leave this browser")
    page.get_by_role("button", name="Measure in this browser").click()
    expect(note).to_contain_text(re.compile(r"equal predictions on \d+ of 200 images"))
    expect(page.get_by_text(re.compile(r"in the browser: results for \d runs? added"))).to_be_visible()

    store = Store.open()
    run = next(run for run in store.runs(model="lenet300") if run.recipe == RECIPE)
    [probed] = store.probes.of_run(run.id)
    here = store.predictions(run.id)
    store.close()
    assert (probed.machine.kind, probed.machine.saturates) == ("browser", False)
    assert probed.answers is not None and here is not None
    assert (probed.answers.classes == here.classes[:200]).mean() >= 0.995
    assert probed.latencies[0].pairs >= 20
    page.get_by_role("button", name="Show these latencies on the charts").click()
    expect(page).to_have_url(re.compile(rf"/explore\?.*machine={probed.key}"))
