"""The part of a page that runs two files in the visitor's own browser."""

import base64
import hashlib
from pathlib import Path

import streamlit as st
from streamlit.components.v1 import declare_component

from compression.language import N_, _
from compression.probing import browser_runtime
from compression.probing.browser import BrowserImages

HTML = """<div class="probe">
<div class="probe-drop"><canvas class="probe-image" width="28" height="28"></canvas>
<p class="probe-label">&nbsp;</p>
<label><span data-word>Your own picture (or drop one here)</span>
<input class="probe-file" type="file" accept="image/*"></label></div>
<div class="probe-side"><h4 class="probe-title"></h4><p class="probe-class">–</p>
<p><span class="probe-share">–</span> <span data-word>confidence</span>, <span class="probe-ms">–</span></p></div>
<div class="probe-side"><h4 class="probe-title"></h4><p class="probe-class">–</p>
<p><span class="probe-share">–</span> <span data-word>confidence</span>, <span class="probe-ms">–</span></p></div>
</div>
<div class="probe-actions"><button type="button" class="probe-back" data-word>Previous image</button>
<button type="button" class="probe-next" data-word>Next image</button>
<button type="button" class="probe-camera" data-word>Camera</button>
<button type="button" class="probe-measure" data-word>Measure in this browser</button></div>
<p class="probe-note" role="status"></p>"""
CSS = """
.probe { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.probe-drop { flex: 1 1 14rem; border: 1px dashed var(--st-border-color); border-radius: 0.5rem; padding: 0.75rem; }
.probe-image { width: 12rem; height: 12rem; object-fit: contain; image-rendering: pixelated; display: block; }
.probe-label { margin: 0.4rem 0; min-height: 1.5rem; }
.probe-file { display: block; max-width: 100%; margin-top: 0.25rem; color: inherit; }
.probe-side { flex: 1 1 12rem; border: 1px solid var(--st-border-color); border-radius: 0.5rem; padding: 0.75rem; }
.probe-title { margin: 0; font-size: 1rem; }
.probe-class { font-size: 1.9rem; font-weight: 600; margin: 0.6rem 0 0.3rem; overflow-wrap: anywhere; }
.probe-apart { color: #D55E00; }
.probe-actions { display: flex; flex-wrap: wrap; gap: 0.5rem; margin-top: 1rem; }
.probe-actions button { font: inherit; color: inherit; background: transparent; cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 0.5rem); padding: 0.3rem 0.75rem; }
.probe-actions button:hover:enabled, .probe-actions button:focus-visible { border-color: var(--st-primary-color);
  color: var(--st-primary-color); }
.probe-actions button:disabled { opacity: 0.5; cursor: default; }
.probe-note { opacity: 0.8; min-height: 1.5rem; }
"""
WORDS = (
    N_("Your own picture (or drop one here)"), N_("confidence"), N_("Previous image"), N_("Next image"), N_("Camera"),
    N_("Measure in this browser"), N_("no class"), N_("no label"), N_("Test image {number} of {images}: {truth}"),
    N_("This browser cannot read the file as an image."),
    N_("Your picture (centre crop); it does not leave this browser"),
    N_("The camera needs https or localhost. Drop a picture instead."), N_("The camera could not be opened: {name}."),
    N_("Stop the camera"), N_("Camera image; it does not leave this browser"),
    N_("Classifying image {number} of {images} …"), N_("Timing the {title} file …"),
    N_("fp32 {before} ms, compressed {after} ms per image on one thread; equal predictions on {same} of {images} "
       "images. Load times: {loaded} ms."),
    N_("Loading ONNX Runtime and both files …"), N_("This browser cannot run the files: {error}"), N_("Ready."),
)  # fmt: skip
"""What `browser.js` says; the report that it makes is English, as every report."""

SCRIPT = Path(__file__).with_name("browser.js").read_text(encoding="utf-8")
_mount = st.components.v2.component("compression_browser", html=HTML, css=CSS, js=SCRIPT, isolate_styles=False)


def draw(images: BrowserImages, onnx: bytes, file_hash: str, *, key: str) -> str | None:
    """Both files side by side; the report of a measurement, as it comes from the browser: a stranger's text."""
    served = declare_component("onnxruntime_web", path=browser_runtime.folder())
    version = browser_runtime.VERSION
    script, wasm = (f"component/{served.name}/{name}?version={version}" for name in browser_runtime.FILES)
    told = _mount(
        key=key,
        data={
            "library": script, "wasm": wasm, "version": version,
            "hashes": [hashlib.sha256(images.fp32).hexdigest(), file_hash],
            "words": {word: _(word) for word in WORDS},
            "titles": ["fp32", _("compressed")], "files": [_text(images.fp32), _text(onnx)],
            "pixels": _text(images.pixels), "table": _text(images.table), "saturation": _text(images.saturation),
            "shape": images.shape, "classes": images.classes, "labels": images.labels, "images": images.images,
            "n_test": images.n_test, "fingerprint": images.fingerprint,
        },
        on_report_change=_heard,
    )  # fmt: skip
    return told.report if isinstance(told.report, str) else None


def _heard() -> None:
    """The report is in the result."""


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
