"""File uploaders in the app's language: Streamlit's own words on them are English alone."""

import json
import re
from collections.abc import Sequence
from typing import Any

import streamlit as st

from compression.language import ENGLISH, _, current

BUTTON = '[data-testid="stFileUploaderDropzone"] button p'
INSTRUCTIONS = '[data-testid="stFileUploaderDropzoneInstructions"] span'


def uploader(label: str, types: Sequence[str], *, key: str, most_mb: int | None = None, **more: Any) -> Any:
    """`st.file_uploader`, of files of at most `most_mb` MB: by default as many as Streamlit takes."""
    limit = most_mb or int(st.get_option("server.maxUploadSize"))
    if current() != ENGLISH:
        st.html(words(key, types, limit))
    return st.file_uploader(label, type=list(types), key=key, max_upload_size=limit, **more)


def words(key: str, types: Sequence[str], most_mb: int) -> str:
    """A style that puts the words of this language in the place of Streamlit's."""
    place = ".st-key-" + re.sub(r"[^a-zA-Z0-9_-]", "-", key)  # as Streamlit spells a key
    kinds = ", ".join(each.removeprefix(".").upper() for each in types)
    told = (
        (BUTTON, _("Upload")),
        (INSTRUCTIONS, _("up to {most_mb} MB per file · {kinds}", most_mb=most_mb, kinds=kinds)),
    )
    rules = (
        f"{place} {part} {{ font-size: 0; }} "
        f"{place} {part}::after {{ content: {json.dumps(text, ensure_ascii=False)}; font-size: 0.875rem; }}"
        for part, text in told
    )
    return f"<style>{' '.join(rules)}</style>"
