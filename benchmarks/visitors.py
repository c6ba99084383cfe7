"""Browsers that do what users do: each signs in, moves sliders, opens pages and begins searches.

One Chromium has a context for each, so none sees another's cookies.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from operator import ne
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl, urlencode, urlsplit

from playwright.async_api import Browser, Error, Page, async_playwright
from playwright.async_api import TimeoutError as Late

from benchmarks.ui import CHROMIUM
from pages.ui.explore import tour
from pages.ui.model.links import read_link

PEOPLE = ("ann", "bob", "bob", "ann", "vic")
"""Admin, user, user, admin, viewer: in this order, again and again."""

MODELS = ("lenet5", "lenet300", "resnet20")
PATIENCE_MS = 240_000
PAUSE_S = (5.0, 20.0)
"""How long somebody looks at what came, before the next act."""

BROKEN = ("Something went wrong", "Traceback", "Connection error", "CONNECTING", "Page not found", "Bad delta")
"""Texts of which none may ever be seen."""

ALERTS = "[data-testid=stAlert], [data-testid=stException], [data-testid=stToast], [role=dialog]"


@dataclass
class Seen:
    """What one browser met: recipes that it saw measured, searches that it began, what it did, and what was amiss.

    `told` are sentences in boxes, `late` the acts whose result did not come in time, `errors` what may not be.
    """

    name: str
    measured: set[str] = field(default_factory=set)
    searches: int = 0
    acts: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


async def visit(address: str, browsers: int, begin: Callable[[], float], seed: int) -> list[Seen]:
    """So many visitors at once; they sign in one after another, then `begin` says until when they are at it.

    The end is on the monotonic clock.
    """
    async with async_playwright() as playwright:
        path = CHROMIUM if Path(CHROMIUM).exists() else None
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        people = [Visitor(address, PEOPLE[n % len(PEOPLE)], Random(seed * 1000 + n)) for n in range(browsers)]
        for person in people:
            await person.arrive(browser)
        end = begin()
        await asyncio.gather(*(person.live(end) for person in people))
        await browser.close()
        return [person.seen for person in people]


class Visitor:
    """One person with a browser of their own."""

    def __init__(self, address: str, name: str, chance: Random):
        self.address, self.name, self.chance, self.seen = address, name, chance, Seen(name)
        self.page: Page

    async def arrive(self, browser: Browser) -> None:
        """Opens a browser of its own and signs in."""
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(PATIENCE_MS)
        await context.add_init_script(tour.SEEN)
        self.page = await context.new_page()
        self.page.on("pageerror", lambda error: self.seen.errors.append(f"in the browser: {error}"))
        self.page.on(
            "response", lambda it: self.seen.errors.append(f"{it.status} {it.url}") if it.status >= 500 else None
        )
        await self.do(self.sign_in)

    async def live(self, end: float) -> None:
        """Does one thing after another."""
        acts = [self.move, self.move, self.move, self.compare, self.report, self.look_at_search, self.search]
        viewing = [self.compare, self.report, self.look_at_search, self.lesson]
        while time.monotonic() < end:
            await self.do(self.chance.choice(viewing if self.name == "vic" else acts))
            await asyncio.sleep(self.chance.uniform(*PAUSE_S))
        await self.page.context.close()

    async def do(self, act: Callable[[], Awaitable[None]]) -> None:
        """One act, and then a look at what the page says."""
        name = act.__name__.replace("_", " ")
        self.seen.acts[name] += 1
        try:
            await act()
        except Late as late:
            self.seen.late[f"{name}: {str(late).splitlines()[0]}"] += 1
        except Error as error:
            self.seen.errors.append(f"{name}: {str(error).splitlines()[0]}")
        try:
            await self.look(name)
        except Error as error:
            self.seen.errors.append(f"{name}, looking: {str(error).splitlines()[0]}")

    async def look(self, doing: str) -> None:
        """What the page says in its boxes; what is broken is an error."""
        text = await self.page.locator("body").inner_text()
        for broken in BROKEN:
            if broken in text:
                at = text.index(broken)
                self.seen.errors.append(f"{doing}: {text[max(at - 40, 0) : at + 120]!r}")
        for said in await self.page.locator(ALERTS).all_inner_texts():
            self.seen.told[f"{doing}: {' '.join(said.split())[:160]}"] += 1

    async def open(self, path: str, ready: str, **query: str) -> None:
        """Opens a page and waits for a text on it."""
        await self.page.goto(f"{self.address}/{path}?{urlencode(query)}")
        await self.page.get_by_text(ready).first.wait_for()

    async def sign_in(self) -> None:
        """By the provider, which believes everybody."""
        await self.page.goto(f"{self.address}/explore")
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_text(f"{self.name}@example.org").click()
        await self.page.get_by_role("button", name="Sign out").first.wait_for()

    @property
    def subject(self) -> dict[str, str]:
        """A small network on digits."""
        return {"model": self.chance.choice(MODELS), "dataset": "digits"}

    async def move(self) -> None:
        """Moves the sparsity on Explore, and waits until all test images are answered."""
        start = {"steps": "prune,quantize", "prune.sparsity": f"{self.chance.randrange(10, 95) / 100}",
                 "quantize.weight_bits": str(self.chance.choice((3, 4, 5, 8))), "quality": "fast"}  # fmt: skip
        await self.open("explore", "Sparsity", **self.subject, **start)
        for _ in range(self.chance.randrange(1, 4)):
            await self.measured()
            slider = self.page.get_by_role("slider", name="Sparsity").first
            moved = partial(ne, self.page.url)
            await slider.press(self.chance.choice(("ArrowLeft", "ArrowRight", "PageUp", "PageDown")))
            await self.page.wait_for_url(moved)
        await self.measured()

    async def measured(self) -> None:
        """Waits until the recipe of the address is measured, and notes it."""
        status = self.page.locator(".st-key-status")
        await status.get_by_text("on all 359 test images").wait_for()
        await self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        link = dict(parse_qsl(urlsplit(self.page.url).query))
        if "on all" in await status.inner_text():
            self.seen.measured.add(read_link(link)[1].hash)

    async def compare(self) -> None:
        """All runs."""
        await self.open("compare", "Differing settings", **self.subject)

    async def report(self) -> None:
        """The report of one recipe."""
        await self.open("report", "All files work offline", **self.subject, steps="quantize", quality="fast")

    async def lesson(self) -> None:
        """A lesson."""
        await self.open("pruning", "predictions made")

    async def look_at_search(self) -> None:
        """The searches of a network."""
        await self.open("search", "New search", **self.subject)

    async def search(self) -> None:
        """Begins a search of half a minute; its page is left before it has ended."""
        await self.look_at_search()
        button = self.page.get_by_role("button", name="Search", exact=True)
        if not await button.count() or not await button.is_visible():
            await self.page.get_by_text("New search").click()
        minutes = self.page.locator(".st-key-search\\.minutes input, .st-key-search-minutes input")
        await minutes.fill("0.5")
        await minutes.press("Enter")
        await button.click()
        self.seen.searches += 1
        await self.page.get_by_text("Best within limits").first.wait_for()
