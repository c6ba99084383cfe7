"""A button that copies a text. Where the browser does not let a page write to the clipboard, the text is selected."""

from pathlib import Path

import streamlit as st

from compression.language import _

HERE = Path(__file__).resolve().parent
HTML = '<button type="button" class="copy"></button><textarea class="copied" readonly rows="4"></textarea>'
CSS = """
.copy { font: inherit; color: inherit; background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius, 0.5rem); padding: 0.3rem 0.75rem; cursor: pointer; }
.copy:hover, .copy:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
.copied { width: 100%; box-sizing: border-box; margin-top: 0.6rem; padding: 0.5rem; resize: vertical;
  font: 0.8rem var(--st-code-font, monospace); color: inherit; background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: 0.5rem; }
"""
_mount = st.components.v2.component(
    "compression_copy", html=HTML, css=CSS, js=(HERE / "copy.js").read_text(encoding="utf-8"), isolate_styles=False
)


def button(label: str, text: str, *, key: str) -> None:
    """Copies `text`, which stands below it too."""
    _mount(key=key, data={"label": label, "text": text, "copied": _("Copied"), "press": _("Press Ctrl+C to copy")})
