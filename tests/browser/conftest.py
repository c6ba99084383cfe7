"""A real server with a home of its own, and a real Chromium in front of it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from compression.jobs.cluster import ROOT
from pages.ui.explore import tour

PATIENCE_S = 180  # a cold engine on a busy machine


@pytest.fixture(scope="package")
def server(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the one app that all tests here open; nobody has before the first of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    options = ["--server.port", str(port), "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", *options]
    with log.open("w") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=os.environ) as app:
        address = f"http://localhost:{port}"
        _wait_for(f"{address}/_stcore/health", log)
        yield address
        app.send_signal(signal.SIGTERM)
        app.wait(timeout=30)
    told = log.read_text()
    assert "Traceback" not in told and "Warning:" not in told, told


def _wait_for(address: str, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"The server does not answer: {log.read_text()}")


@pytest.fixture(scope="session")
def browser(chromium_path: str | None) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_S * 1000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def _is_ours(message: ConsoleMessage) -> bool:
    """Whether a message is an error of ours.

    Streamlit's client first looks for its server below the page's address; Chromium logs that it is not there. And the
    first visitor of a server is told that there is no such page: see app.py, and test_a_cold_link.
    """
    streamlits = "/_stcore/" in message.location["url"] or "does not seem to exist" in message.text
    return message.type == "error" and not streamlits


def _leaves(url: str) -> bool:
    """Whether a request goes to another machine."""
    return urlsplit(url).hostname not in ("localhost", None)


@pytest.fixture
def console() -> list[str]:
    """Errors on the console of `page`, and requests to other machines; a test may take off what it expects."""
    return []


@pytest.fixture
def page(browser: Browser, console: list[str]) -> Iterator[Page]:
    """A fresh tab; errors that are left on its console fail the test."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, accept_downloads=True, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE_S * 1000)
    context.add_init_script(tour.SEEN)
    tab = context.new_page()
    tab.on("console", lambda message: console.append(message.text) if _is_ours(message) else None)
    tab.on("pageerror", lambda error: console.append(str(error)))
    tab.on("request", lambda request: console.append(request.url) if _leaves(request.url) else None)
    yield tab
    context.close()
    assert not console
