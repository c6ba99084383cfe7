"""Waiting for the worker's answer to a question, and what is said where none comes."""

from concurrent.futures import Future
from typing import Any

import streamlit as st

from compression.errors import UserError, WorkerLost


def awaited(answer: "Future[Any]", doing: str) -> Any:
    """What was asked for, or None and a line that says why it is not there."""
    with st.spinner(f"{doing} …"):
        try:
            return answer.result(timeout=60)
        except TimeoutError:
            st.caption("The worker is busy with something else; look again in a moment.")
        except (UserError, WorkerLost) as error:
            st.error(str(error))
    return None
