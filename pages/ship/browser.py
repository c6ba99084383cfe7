"""Browser: the very file in the visitor's own browser, beside the fp32 one, with that browser's milliseconds."""

from dataclasses import replace

import streamlit as st

from compression import jobs
from compression.errors import UserError
from compression.language import N_, _
from compression.probing import browser_runtime
from pages.ui.explore import panels
from pages.ui.model import wording
from pages.ui.page.waiting import awaited
from pages.ui.ship import browser_view, probe
from pages.ui.state import Visit, kept, put, shown_or_none

MISSING = N_(
    "ONNX Runtime for browsers ({package}) is not installed yet. Run the command below once: it downloads the package "
    "with npm, verifies it and stores 14 MB. Then reload this page."
)
ABOUT = N_(
    "Both files run in this browser (WebAssembly, one thread); the compressed one is the file that you can download, "
    "whose weights are decoded once, when it is loaded. "
    "Your pictures and camera images do not leave the browser. It crops and resizes them itself, so the pixels can "
    "differ slightly from those in Python."
)


def page() -> None:
    """The file of the recipe that was explored last."""
    visit, point = panels.explored(_("Browser"))
    if point is None:
        return
    if not browser_runtime.is_there():
        st.info(_(MISSING).format(package=f"{browser_runtime.PACKAGE} {browser_runtime.VERSION}"))
        st.code("python -m compression probe browser", language="bash")
        return
    images = awaited(visit.answer("browser", jobs.browser_images, visit.plain_request), _("Packing test images"))
    file = kept(point.file)
    if images is None or file is None:
        return
    st.caption(_(ABOUT))
    told = browser_view.draw(images, file, point.measurement.file_hash, key="browser")
    if told is not None:
        put("browser.told", told)
    landed(visit)


def landed(visit: Visit) -> None:
    """What this browser has reported last, and the way to the charts."""
    told = shown_or_none("browser.told")
    if told is None:
        return
    try:
        found = jobs.take_report(str(told).encode("utf-8", "replace"))
    except UserError as error:
        st.error(wording.said(str(error)))
        return
    probe.told(visit, replace(found, again=False, unknown=0))


page()
