"""Pictures of every page for docs/screenshots: light, dark, and 768 pixels wide; a palette keeps them small.

The app runs with a home of its own, on LeNet-5 and Digits, so that the pictures come out the same wherever they are
taken, up to the machine's milliseconds. The first picture of README.md and of README.zh-CN.md, in all its colours,
shows measurements on colour photographs: an archive of CIFAR-10's images, which whoever takes the pictures names.
"""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.ui import CHROMIUM, OWN, PATIENCE_MS, _server
from compression.cli.console import Progress
from compression.errors import Unsupported
from compression.jobs.cluster import ROOT
from pages.ui.explore import tour
from pages.ui.lessons.lesson import LESSONS

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
COLOURS, MOST_HEIGHT = 256, 1_700
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "768": ("light", 768)}
FIRST = {"explore-cifar10": "en-US", "explore-cifar10.zh-CN": "zh-CN"}
"""The first picture of each README, and the language of its browser."""
PHOTOS = "explore?model=resnet20&weights=cifar10&dataset={images}::test=1000,seed=0&quality=fast&steps=prune,quantize"
RECIPES = ((0.3, 8), (0.5, 5), (0.75, 4), (0.85, 3), (0.6, 4))
"""Sparsity and bits of the points on it; the last one is the current one."""
LINK = "model=lenet5&dataset=digits&steps=prune,quantize&prune.sparsity=0.8&quantize.weight_bits=4&quality=fast"


@dataclass(frozen=True)
class Shot:
    """A page, the text that says it is ready, and what is done before the picture is taken."""

    path: str
    ready: str
    prepare: Callable[[Page], None] = lambda page: None


def _swept(page: Page) -> None:
    button = page.get_by_role("button", name="Run sensitivity analysis")
    curves = page.get_by_text("Simulated in PyTorch")
    expect(button.or_(curves).first).to_be_visible()
    if button.count():
        button.click()
    expect(curves.last).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def _last_slide(page: Page) -> None:
    for slide in (2, 3):
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_text(f"{slide} of 4")).to_be_visible()


SHOTS = {
    "explore": Shot(f"explore?{LINK}", "on all 359 test images"),
    "layers": Shot(f"layers?{LINK}", "relative output error", _swept),
    "compare": Shot("compare", "Differing settings"),
    "bring": Shot("bring", "How to export a network"),
    "jobs": Shot("jobs", "Store"),
    "deploy": Shot(f"deploy?{LINK}", "Time per operator"),
    "report": Shot(f"report?{LINK}&budget=drop:1,smallest", "All files work offline"),
    "demo": Shot("demo", "1 of 4", _last_slide),
} | {name: Shot(name, "predictions made") for name in LESSONS}  # fmt: skip


def run(progress: Progress, only: tuple[str, ...] = (), photos: Path | None = None) -> str:
    """Takes all pictures, or those of the pages named; a sentence says how many and how large."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    shots = {name: shot for name, shot in SHOTS.items() if not only or name in only}
    with tempfile.TemporaryDirectory() as home, _server(Path(home)) as (address, _), sync_playwright() as playwright:
        path = CHROMIUM if Path(CHROMIUM).exists() else None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        if photos:
            progress("Photographs", 0.0)
            _first(browser, address, _added(photos, Path(home)))
        for number, (name, shot) in enumerate(shots.items()):
            for look in LOOKS:
                progress(f"{name}, {look}", number / len(shots))
                (FOLDER / f"{name}-{look}.png").write_bytes(_small(_taken(browser, address, shot, look)))
    taken = [path.stat().st_size for path in FOLDER.glob("*.png")]
    return f"{len(taken)} pictures in {FOLDER}, at most {max(taken) / 1000:.0f} KB each."


def _added(photos: Path, home: Path) -> str:
    """The dataset that an archive of photographs becomes in the app's own home, under the name of CIFAR-10."""
    named = home / f"CIFAR-10{''.join(photos.suffixes)}"
    named.symlink_to(photos.resolve())
    command = [sys.executable, "-m", "compression", "data", "add", str(named)]
    environment = {**os.environ, "HOME": str(home), "COMPRESSION_HOME": str(home / OWN)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    dataset = next((word for word in done.stdout.split() if word.startswith("folder:")), "")
    if not dataset:
        raise Unsupported(f"{photos.name} cannot be added: {done.stderr.strip()[-300:]}")
    return dataset


def _first(browser: Browser, address: str, images: str) -> None:
    """Explore in each language at 1440 × 900, with a few points measured before."""
    link = f"{address}/{PHOTOS.format(images=images)}"
    for name, locale in FIRST.items():
        with browser.new_context(viewport={"width": 1440, "height": 900}, locale=locale) as context:
            context.add_init_script(tour.SEEN)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            expect.set_options(timeout=PATIENCE_MS)
            for sparsity, bits in RECIPES:
                page.goto(f"{link}&prune.sparsity={sparsity}&quantize.weight_bits={bits}")
                expect(page.get_by_test_id("stMetricValue").first).to_contain_text("%")
                expect(page.get_by_text("1 thread").or_(page.get_by_text("1 个线程")).first).to_be_visible()
            _settle(page)
            (FOLDER / f"{name}.png").write_bytes(_packed(Image.open(io.BytesIO(page.screenshot())).convert("RGB")))


def _taken(browser: Browser, address: str, shot: Shot, look: str) -> bytes:
    scheme, width = LOOKS[look]
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    context.add_init_script(tour.SEEN)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page.goto(f"{address}/{shot.path}")
    expect(page.get_by_text(shot.ready).first).to_be_visible()
    shot.prepare(page)
    _settle(page)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")  # a click may have scrolled
    page.set_viewport_size({"width": width, "height": min(int(height) + 60, MOST_HEIGHT)})
    _settle(page)
    picture = page.screenshot()
    context.close()
    return picture


def _settle(page: Page) -> None:
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.wait_for_timeout(1500)  # charts fit themselves to the new size


def _small(png: bytes) -> bytes:
    picture = (
        Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    )
    return _packed(picture)


def _packed(picture: Image.Image) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True)
    return packed.getvalue()
