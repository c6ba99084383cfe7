"""Small pictures in a row, each with its caption as alternative text too. They travel inside the page."""

from base64 import b64encode
from collections.abc import Iterable
from html import escape

import streamlit as st

ROW = '<div style="display:flex;flex-wrap:wrap;gap:0.75rem">{}</div>'
PICTURE = (
    '<figure style="margin:0;width:{width}px"><img src="data:image/png;base64,{content}" alt="{caption}" '
    'style="width:100%;image-rendering:pixelated;border-radius:0.4rem">'
    '<figcaption style="font-size:0.8rem;opacity:0.75;line-height:1.25">{caption}</figcaption></figure>'
)


def row(pictures: Iterable[tuple[bytes, str]], *, width: int = 112) -> None:
    """PNG files with their captions, `width` pixels wide."""
    shown = [
        PICTURE.format(width=width, content=b64encode(png).decode(), caption=escape(caption))
        for png, caption in pictures
    ]
    st.html(ROW.format("".join(shown)))
