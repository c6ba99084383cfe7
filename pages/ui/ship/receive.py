"""A report that another machine sends by a one-time link: the port is opened by hand, and closes by itself."""

import math
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from compression import jobs
from compression.language import N_, _
from compression.probing.receiver import Receiver, addresses
from compression.store.probes import Added
from pages.ui.model import wording
from pages.ui.page.guard import heard, repeated
from pages.ui.state import Visit, has_team

MINUTES = (10, 30, 60)
LOOK_S = 1.0

WHAT = N_(
    "This opens a port on the chosen address of this machine, which every device in its network can reach. It accepts "
    "one report that was signed with the link's key, and closes after that, after the chosen time or when you stop it. "
    "The report travels unencrypted; the key does not travel."
)


def draw(visit: Visit) -> Added | None:
    """The button, or the link while a port is open; what the last report brought. A team has no such port."""
    if has_team():
        return None
    receiver = visit.receiver
    if receiver is not None and receiver.state == "open":
        repeated(partial(_waiting, receiver), LOOK_S)
        return None
    _closed(visit)
    if receiver is not None and receiver.state == "expired":
        st.caption(_("No report was received in time; the port is closed."))
    return receiver.found if receiver is not None else None


def dismiss(visit: Visit) -> None:
    """What was received is old news once another report was uploaded."""
    if visit.receiver is not None and visit.receiver.state != "open":
        visit.receiver = None


def _closed(visit: Visit) -> None:
    there = addresses()
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        address = there[0]
        if len(there) > 1:
            address = st.selectbox(_("Network address"), there, key="receive.address", width=180)
        minutes = st.selectbox(
            _("Open for"), MINUTES, key="receive.minutes", width=120, format_func=lambda n: _("{n} minutes", n=n)
        )
        st.button(
            _("Receive from a device"), key="receive.open", help=_(WHAT), on_click=heard(_open),
            args=(visit, address, 60.0 * minutes),
        )  # fmt: skip
    st.caption(
        _(
            "Opens a port on {address} for {minutes} minutes, for devices in the same network.",
            address=address,
            minutes=minutes,
        )
    )


def _open(visit: Visit, address: str, seconds: float) -> None:
    visit.receiver = jobs.open_receiver(address, seconds)


def _waiting(receiver: Receiver[Added]) -> None:
    """The link, until the port is closed; then the whole page again."""
    if receiver.state != "open":
        st.rerun()
    st.info(
        _(
            "Port {port} is open on {address} for one report, for {minutes} more minutes at most. Run on the device:",
            port=receiver.port,
            address=receiver.address,
            minutes=math.ceil((receiver.ends - datetime.now(UTC)).total_seconds() / 60),
        )
    )
    st.code(f'python probe.py --send "{receiver.link}"', language="bash", wrap_lines=True)
    if receiver.refused:
        st.caption(_("A report was refused: {sentence}", sentence=wording.said(receiver.refused)))
    st.button(_("Stop receiving"), key="receive.stop", on_click=receiver.stop)
