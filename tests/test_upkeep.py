"""What Streamlit does between runs: no click is lost, nothing is gone through twice."""

import gc
import tomllib
from typing import Any

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime.scriptrunner import RerunException
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.testing.v1 import AppTest

from compression.cluster import ROOT
from pages.ui.state import upkeep


def test_a_click_is_heard_although_a_newer_request_waits() -> None:
    upkeep.hear_all()
    state, click = SessionState(), WidgetStates()
    click.widgets.add(id="$$ID-button", trigger_value=True)
    SafeSessionState(state, newer).on_script_will_rerun(click)
    applied = state._new_widget_state.get_serialized("$$ID-button")
    assert applied is not None and applied.trigger_value


def test_what_a_click_does_is_done_to_its_end_although_a_newer_request_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    upkeep.hear_all()
    session = SafeSessionState(SessionState(), newer)

    def callback(*_: Any) -> None:
        session["first"] = session["second"] = True

    monkeypatch.setattr(SessionState, "on_script_will_rerun", callback)
    session.on_script_will_rerun(WidgetStates())
    with pytest.raises(RerunException):
        session["third"] = True
    assert session._state.filtered_state == {"first": True, "second": True}


def newer() -> None:
    """What Streamlit does where it looks for a newer request and there is one."""
    raise RerunException(RerunData())


def test_no_run_is_stopped_before_it_has_begun() -> None:
    assert tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["runner"]["fastReruns"] is False


def test_imports_are_passed_over_once_a_page_has_run() -> None:
    gc.unfreeze()
    upkeep.spare_imports.cache_clear()
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    page.switch_page("pages/learn/teacher.py").run()
    assert not page.exception
    assert gc.get_freeze_count() > 10_000
