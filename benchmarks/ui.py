"""What a person at the browser waits for, in a real Chromium in front of a server of its own.

Times are medians of twenty, on the smallest network on Digits unless said otherwise: the first chart on a warm server,
a change of page, a slider's release until the measured point is drawn, and the point that is expected while the slider
is still held. Then ten tabs move sliders at once, one tab moves a slider 200 times while the server's memory is
watched, a slider of each lesson is moved, pages are changed while all layers of ResNet-20 are swept, and Compare opens
on 2,000 stored runs.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.quiet import Quiet
from benchmarks.report import Report, Spread, spread, table
from compression import reference
from compression.cli.console import Progress
from compression.data import user_folder
from compression.errors import Unsupported
from compression.host.machine import this_machine
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from compression.store import Store, Subject
from pages.ui.explore import tour
from pages.ui.model.links import link_of
from pages.ui.model.subject import Subject as Shown

ROOT = Path(__file__).resolve().parent.parent
REPEATS, TABS, MOVES, RUNS = 20, 10, 200, 2_000
PATIENCE_MS = 120_000
CHART = ".js-plotly-plot .scatterlayer .trace:last-child .point"
TRACK = ".st-key-prune-sparsity [data-orientation=horizontal]"
POINTS = ".js-plotly-plot .point"
SEEN = f"""window.seen = {{}}
const wanted = {{ points: "{POINTS}, .plot-sketch circle", alive: "{POINTS}" }}
new MutationObserver(() => {{
  for (const [name, selector] of Object.entries(wanted)) {{
    if (!window.seen[name] && document.querySelector(selector)) window.seen[name] = performance.now()
  }}
}}).observe(document, {{ subtree: true, childList: true }})"""
"""In the browser: the milliseconds after which a chart has points, and is one that can be used."""

SLIDERS = {
    "why": "Bits of a weight", "pruning": "Removed", "quantization": "Bits", "distillation": "Temperature",
    "sharing": "Values", "lowrank": "Rank", "architectures": "Output channels", "together": "Time, of fp32",
}  # fmt: skip
"""A slider of each lesson."""

ANSWERED = """() => {
  window.answered = 0
  let began
  addEventListener("keydown", () => { began ??= performance.now() }, { capture: true, once: true })
  const watch = new MutationObserver((changes) => {
    const elsewhere = changes.some(({ target }) => !(target.parentElement ?? target).closest("[data-testid=stSlider]"))
    if (began && elsewhere) { window.answered = performance.now() - began; watch.disconnect() }
  })
  watch.observe(document.querySelector("[data-testid=stMain]"), { subtree: true, childList: true, characterData: true })
}"""
"""In the browser: the milliseconds from a key until the page has changed outside of its sliders."""

OWN = "compression-lab"
"""The server's folder below its home."""

CHROMIUM = "/usr/bin/chromium"


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """Everything, in the order of the docstring."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _server(Path(folder)) as (address, pid),
        sync_playwright() as playwright,
    ):
        path = CHROMIUM if Path(CHROMIUM).exists() else None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        link = f"{address}/explore?model={model}&dataset={dataset}"
        progress("Warming the server up", 0.0)
        with _tab(browser, link) as page:
            _measured(page)
        values: dict[str, Any] = {}
        progress("Opening the first chart", 0.1)
        drawn, alive = zip(*(_first_chart(browser, link) for _ in range(REPEATS)), strict=True)
        values["first_chart"], values["first_chart_alive"] = spread(drawn), spread(alive)
        progress("Changing pages", 0.2)
        with _tab(browser, link) as page:
            values["page_switch"] = spread(_switches(page))
        progress("Moving a slider", 0.3)
        with _tab(browser, link) as page:
            values["release_to_point"], values["drag_readout"] = _slides(page)
        progress(f"Moving sliders in {TABS} tabs", 0.5)
        with ExitStack() as tabs:
            links = [_link(address, model, dataset, 0.3 + 0.05 * n) for n in range(TABS)]
            values["first_point_of_ten"] = spread(_at_once([tabs.enter_context(_tab(browser, each)) for each in links]))
        progress(f"Moving a slider {MOVES} times", 0.6)
        with _tab(browser, link) as page:
            grown = _growth_mb(page, pid)
        progress("Moving sliders of lessons", 0.7)
        values["lesson"] = spread([took for name in SLIDERS for took in _lesson(browser, address, name)])
        progress("Changing pages beside a sweep", 0.8)
        with _sweeping(browser, address), _tab(browser, link) as page:
            values["page_switch_beside_a_sweep"] = spread(_switches(page))
        progress(f"Filling the store with {RUNS} runs", 0.9)
        _fill(Path(folder), model, dataset)
        values["compare_of_2000"] = spread([_compare(browser, address) for _ in range(5)])
    plain = {name: asdict(found) for name, found in values.items()} | {"memory_growth_mb": grown}
    return Report("ui", model, dataset, this_machine(), quiet, plain, _markdown(model, dataset, values, grown))


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, int]]:
    """An app with a home of its own; only the datasets are shared."""
    datasets, own = user_folder() / "datasets", folder / OWN
    own.mkdir()
    (own / "datasets").symlink_to(datasets, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.port", str(port), "--server.headless", "true", "--server.fileWatcherType", "none"]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", *options]
    environment = {**os.environ, "HOME": str(folder), "COMPRESSION_HOME": str(own)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment) as app:
        try:
            _await(f"http://localhost:{port}/_stcore/health")
            yield f"http://localhost:{port}", app.pid
        finally:
            app.terminate()
            app.wait(timeout=30)


def _await(address: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise Unsupported("The app's server does not answer.")


def _link(address: str, model: str, dataset: str, sparsity: float) -> str:
    recipe = Recipe(steps=(Prune(sparsity=round(sparsity, 2)),), quality="fast")
    return f"{address}/explore?{urlencode(link_of(Shown(model, dataset, dataset), recipe))}"


def _page(browser: Browser) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(tour.SEEN)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


def _open(browser: Browser, link: str) -> Page:
    page = _page(browser)
    page.goto(link)
    return page


@contextmanager
def _tab(browser: Browser, link: str) -> Iterator[Page]:
    """A page of a browser of its own, which is closed again."""
    page = _open(browser, link)
    try:
        yield page
    finally:
        page.context.close()


def _measured(page: Page) -> None:
    page.wait_for_selector(".st-key-status >> text=on all")
    page.wait_for_selector(CHART)


def _first_chart(browser: Browser, link: str) -> tuple[float, float]:
    """Seconds from the start of the navigation until its points are there, and until it is alive."""
    page = _page(browser)
    page.add_init_script(SEEN)
    page.goto(link)
    page.wait_for_selector(POINTS)
    page.wait_for_function("window.seen.points && window.seen.alive")
    seen = page.evaluate("window.seen")
    page.context.close()
    return seen["points"] / 1000, seen["alive"] / 1000


def _switches(page: Page) -> list[float]:
    """From a click in the navigation to the other page's heading or charts, there and back."""
    _measured(page)
    took = []
    for number in range(REPEATS):
        name, sign = ("Compare", "text=Search") if number % 2 == 0 else ("Explore", CHART)
        page.get_by_test_id("stTopNavSection").filter(has_text="Lab").click()
        entry = page.get_by_test_id("stTopNavDropdownLink").filter(has_text=name)
        entry.wait_for()
        began = time.perf_counter()
        entry.click()
        page.wait_for_selector(sign)
        took.append(time.perf_counter() - began)
    return took


def _slides(page: Page) -> tuple[Spread, Spread]:
    """Release to measured point, and pointer to expected point; each at a new position."""
    _measured(page)
    released, followed = [], []
    for number in range(REPEATS):
        before = _now(page)
        box = page.locator(TRACK).first.bounding_box()
        assert box
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.5, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.035 * number), y)
        began = time.perf_counter()
        page.mouse.move(box["x"] + box["width"] * (0.11 + 0.035 * number), y)
        page.wait_for_function("document.querySelector('.js-plotly-plot').data.some("
                               "t => t.name === 'Interpolated' && t.x.length)", polling="raf")  # fmt: skip
        followed.append(time.perf_counter() - began)
        began = time.perf_counter()
        page.mouse.up()
        _moved(page, before)
        released.append(time.perf_counter() - began)
        _measured(page)
    return spread(released), spread(followed)


def _now(page: Page) -> str:
    """Which recipe the chart's current point is of."""
    return page.locator(CHART).first.evaluate("p => p.closest('.js-plotly-plot').data.at(-1).customdata[0][1]")


def _moved(page: Page, before: str) -> None:
    """Waits until the current point is of another recipe."""
    page.wait_for_function(
        "before => { const t = document.querySelector('.js-plotly-plot').data.at(-1); "
        "return t.name === 'Now' && t.customdata.length && t.customdata[0][1] !== before }",
        arg=before, polling="raf",
    )  # fmt: skip


def _at_once(pages: list[Page]) -> list[float]:
    """All tabs move their slider, each from and to places of its own; seconds until each has its first point there.

    Counted from the first tab's move on, also for the others.
    """
    for page in pages:
        _measured(page)
    before = [_now(page) for page in pages]
    began = time.perf_counter()
    for page in pages:
        page.get_by_role("slider", name="Sparsity").first.press("ArrowLeft")
    took = []
    for page, recipe in zip(pages, before, strict=True):
        _moved(page, recipe)
        took.append(time.perf_counter() - began)
        if page.get_by_test_id("stException").count():
            raise Unsupported("A tab shows an error.")
    return took


def _lesson(browser: Browser, address: str, name: str) -> list[float]:
    """From a key on a lesson's slider until something else on the page has changed; counted in the browser."""
    took = []
    with _tab(browser, f"{address}/{name}") as page:
        page.wait_for_selector("text=predictions made")
        slider = page.get_by_role("slider", name=SLIDERS[name]).first
        for _ in range(4):
            page.wait_for_timeout(1000)
            slider.focus()
            page.evaluate(ANSWERED)
            page.keyboard.press(slider.evaluate("s => s.value === s.max ? 'Home' : 'End'"))
            page.wait_for_function("window.answered")
            took.append(page.evaluate("window.answered") / 1000)
    return took


@contextmanager
def _sweeping(browser: Browser, address: str) -> Iterator[None]:
    """While the sensitivity of each layer of ResNet-20 is measured."""
    with _tab(browser, f"{address}/layers?model=resnet20&dataset=fashion-mnist") as page:
        page.get_by_role("button", name="Run sensitivity analysis").click()
        stop = page.get_by_role("button", name="Stop")
        stop.wait_for()
        yield
        stop.click()
        stop.wait_for(state="detached")


def _growth_mb(page: Page, pid: int) -> float:
    """What the server's process grows by in 200 moves, after 20 that are not counted."""
    _measured(page)
    slider = page.get_by_role("slider", name="Sparsity").first
    slider.focus()
    start = 0
    for move in range(MOVES + REPEATS):
        if move == REPEATS:
            start = psutil.Process(pid).memory_info().rss
        page.keyboard.press("ArrowLeft" if (move // 40) % 2 else "ArrowRight")
        page.wait_for_timeout(150)
    _measured(page)
    return (psutil.Process(pid).memory_info().rss - start) / 1e6


def _fill(folder: Path, model: str, dataset: str) -> None:
    """Runs that differ in sparsity, bits and seed, with the measurement of the reference sweep's first point."""
    sweep = reference.load(model, dataset)
    if sweep is None:
        raise Unsupported(f"There is no reference sweep of {model} on {dataset} to fill the store with.")
    measured, store = sweep.points[0][1], Store.open(f"sqlite:///{folder / OWN / 'store.sqlite'}")
    subject = Subject(model, dataset, dataset, "benchmark", "benchmark")
    for number in range(RUNS):
        steps = (Prune(sparsity=round(0.01 * (number % 95), 2)), Quantize(weight_bits=(8, 4, 3, 2)[number % 4]))
        recipe = Recipe(steps=steps, seed=number)
        store.add(subject, recipe, replace(measured, file_hash=f"{number:064x}"), engine="benchmark")
    store.close()


def _compare(browser: Browser, address: str) -> float:
    began = time.perf_counter()
    page = _open(browser, f"{address}/compare")
    page.wait_for_selector("text=What that changed")
    took = time.perf_counter() - began
    page.context.close()
    return took


def _markdown(model: str, dataset: str, found: dict[str, Spread], grown: float) -> str:
    rows = [
        ("points of the first chart, warm server", "first_chart", "3"),
        ("the same, alive", "first_chart_alive", ""), ("change of page", "page_switch", "1"),
        ("slider's release to the measured point", "release_to_point", "1.5"),
        ("dragged pointer to the expected point", "drag_readout", ""),
        (f"first point in {TABS} tabs at once", "first_point_of_ten", "10 (p95)"),
        ("slider of a lesson to what it changes", "lesson", "0.15"),
        ("change of page beside a sweep", "page_switch_beside_a_sweep", "1"),
        (f"Compare with {RUNS:,} runs", "compare_of_2000", "2"),
    ]  # fmt: skip
    lines = [(told, f"{found[n].median:.2f}", f"{found[n].p95:.2f}", goal) for told, n, goal in rows]
    heading = f"{model} on {dataset}: seconds in Chromium, {REPEATS} times each."
    memory = f"The server grew by {grown:.0f} MB over {MOVES} moves of a slider (goal: less than 50)."
    return f"{heading}\n\n{table(('what', 'median, s', 'p95, s', 'goal, s'), lines)}\n\n{memory}"
