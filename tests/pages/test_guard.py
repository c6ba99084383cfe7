"""What a user sees of a failure: a sentence, on the page or from a callback."""

import pytest
from streamlit.runtime.scriptrunner_utils.exceptions import ScriptControlException
from streamlit.testing.v1 import AppTest

from compression.errors import StoreUnavailable
from pages.ui.page import guard


def failing(error: Exception) -> AppTest:
    """A page that fails when it is drawn, with a part of its own and a button that fail too."""

    def page() -> None:
        import streamlit as st

        from pages.ui.page.guard import guarded, heard, repeated

        def fail() -> None:
            raise st.session_state["error"]

        st.button("Try", on_click=heard(fail))
        repeated(fail, None)
        guarded(fail)()

    test = AppTest.from_function(page)
    test.session_state["error"] = error
    return test.run()


def test_what_a_user_can_mend_is_told_in_its_own_words() -> None:
    page = failing(StoreUnavailable("The database is locked."))
    assert [error.value for error in page.error] == ["The database is locked."] * 2
    page.button[0].click().run()
    assert [toast.value for toast in page.toast] == ["The database is locked."]
    assert not page.exception


def test_what_is_our_fault_has_a_number_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    page = failing(ZeroDivisionError("a detail"))
    assert all(error.value.startswith("Something went wrong") for error in page.error)
    assert "a detail" in caplog.text
    number = page.error[0].value.split()[-1].rstrip(".")
    assert number in caplog.text
    assert not page.exception


def test_what_ends_a_run_of_the_page_goes_on_ending_it() -> None:
    def rerun() -> None:
        raise ScriptControlException

    with pytest.raises(ScriptControlException):
        guard.guarded(rerun)()
