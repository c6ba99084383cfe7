"""Bring: networks and images of one's own, from their files into the lists of networks and images."""

from functools import partial

import streamlit as st

from compression.language import _
from pages.ui.bring import images_form, network_form
from pages.ui.page.guard import repeated
from pages.ui.state import Visit, elsewhere, opened, put, shown_or_none

FORMS = {network_form.NETWORK: network_form.draw, network_form.IMAGES: images_form.draw}


def page() -> None:
    """The forms, drawn as a part of the page.

    Streamlit 1.67 drops the server's answer to an uploader, and with it the file, where the page as a whole is drawn
    anew before that answer is sent; of a part that is drawn anew, it does not. Explore, which is drawn anew whenever
    something is measured, has no uploader for that reason.
    """
    visit = opened()
    elsewhere()
    st.space("small")
    st.subheader(_("Bring your own network and dataset"), anchor=False)
    repeated(partial(form, visit), None)


def form(visit: Visit) -> None:
    """What is added, and its form."""
    if shown_or_none(network_form.WHAT) is None:
        put(network_form.WHAT, network_form.NETWORK)
    kind = st.segmented_control(
        _("What"), FORMS, key=network_form.WHAT, required=True, label_visibility="collapsed", format_func=_
    )
    FORMS[kind or network_form.NETWORK](visit)


page()
