"""A tour of the page in four steps: shown on a browser's first visit, then only when asked for.

The browser remembers that it was shown (`localStorage`); the server hears nothing of it.
"""

from pathlib import Path

import streamlit as st

from compression.language import N_, _, p_

HERE = Path(__file__).resolve().parent
STEPS = (
    ("[data-testid=stSidebar]", N_("Choose"), N_("Pick a network and switch techniques on.")),
    (".st-key-figures", N_("Measure"), N_("These figures are measured on the file that you can download.")),
    (".st-key-charts", N_("Compare"), N_("Each point is one measured file. A budget shades what it allows.")),
    (".st-key-panel", N_("Download"), N_("See where bytes and time go; download the file or copy the recipe.")),
)
"""What each step points at, its title, and its sentence."""
WORDS = {"open": N_("Tour"), "back": N_("Back"), "skip": N_("Skip"), "done": N_("Done"),
         "at": N_("{number} of {steps}")}  # fmt: skip
SEEN = "localStorage.setItem('compression-lab-tour', '1')"
"""What a browser runs that is to be left alone: tests and pictures."""
CSS = """
.tour-open { font: inherit; font-size: 0.875rem; color: inherit; background: transparent;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 0.5rem);
  min-height: 2.5rem; padding: 0.25rem 0.75rem; cursor: pointer; }
.tour-open:hover, .tour-open:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
.tour-card { position: fixed; z-index: 1000001; width: min(20rem, calc(100vw - 2rem)); box-sizing: border-box;
  padding: 0.9rem 1rem; border-radius: 0.6rem; border: 1px solid; box-shadow: 0 6px 24px rgb(0 0 0 / 0.25); }
.tour-card h4 { margin: 0 0 0.3rem; padding: 0; font-size: 1rem; }
.tour-card p { margin: 0 0 0.8rem; font-size: 0.9rem; }
.tour-card div { display: flex; gap: 0.5rem; align-items: center; }
.tour-card span { margin-right: auto; font-size: 0.8rem; opacity: 0.75; }
.tour-card button { font: inherit; font-size: 0.875rem; color: inherit; background: none; border: 1px solid;
  border-radius: 0.4rem; padding: 0.2rem 0.7rem; cursor: pointer; }
.tour-card button.tour-next { color: #FFFFFF; background: #0072B2; border-color: #0072B2; }
.tour-card button:focus-visible { outline: 2px solid #D55E00; outline-offset: 2px; }
.tour-ring { position: fixed; z-index: 1000000; pointer-events: none; border-radius: 0.5rem;
  border: 2px solid #D55E00; }
"""
_mount = st.components.v2.component(
    "compression_tour", html='<button type="button" class="tour-open"></button>', css=CSS,
    js=(HERE / "tour.js").read_text(encoding="utf-8"), isolate_styles=False,
)  # fmt: skip


def button() -> None:
    """Opens the tour; it opens by itself where this browser has not shown it yet."""
    steps = [{"at": at, "title": _(title), "text": _(text)} for at, title, text in STEPS]
    words = {name: _(word) for name, word in WORDS.items()} | {"next": p_("tour", "Next")}
    _mount(key="tour", data={"steps": steps, "words": words}, width="content")
