"""What a page does while the worker is busy with another task."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui.page import waiting


def script() -> None:
    import streamlit as st

    from pages.ui.page import waiting

    st.markdown(waiting.awaited(st.session_state["answer"], "Asking") or "The rest of the page")


def test_a_page_that_waited_too_long_draws_itself_anew_when_the_answer_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It said so once and stayed as it was: whoever opened Layers while another network was prepared saw no layer."""
    looks, answer, come = list[float](), Future[str](), False

    def repeated(draw: Callable[[], object], seconds: float) -> None:
        looks.append(seconds)
        if come:
            answer.set_result("The answer")
        draw()

    monkeypatch.setattr(waiting, "PATIENCE_S", 0)
    monkeypatch.setattr(waiting, "repeated", repeated)
    page = AppTest.from_function(script)
    page.session_state["answer"] = answer
    page.run()
    assert [each.value for each in page.markdown] == ["The rest of the page"]
    assert "busy with another task" in page.caption[0].value
    assert looks == [waiting.EVERY_S]
    come = True
    page.run()
    assert not page.exception
    assert [each.value for each in page.markdown] == ["The answer"]
    assert not page.caption
