"""What Streamlit does between runs: no click is lost, nothing is gone through twice."""

import gc
import importlib.util
import inspect
import tomllib
from typing import Any

import pytest
import streamlit
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.scriptrunner import RerunException
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.safe_session_state import SafeSessionState

from compression.jobs.cluster import ROOT
from pages.ui.state import streamlit_patches
from tests.pages.running_app import opened


def test_a_click_is_heard_although_a_newer_request_waits() -> None:
    streamlit_patches.hear_all()
    state, click = SessionState(), WidgetStates()
    click.widgets.add(id="$$ID-button", trigger_value=True)
    SafeSessionState(state, newer).on_script_will_rerun(click)
    applied = state._new_widget_state.get_serialized("$$ID-button")
    assert applied is not None and applied.trigger_value


def test_what_a_click_does_is_done_to_its_end_although_a_newer_request_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    streamlit_patches.hear_all()
    session = SafeSessionState(SessionState(), newer)

    def callback(*_: Any) -> None:
        session["first"] = session["second"] = True

    monkeypatch.setattr(SessionState, "on_script_will_rerun", callback)
    session.on_script_will_rerun(WidgetStates())
    with pytest.raises(RerunException):
        session["third"] = True
    assert session._state.filtered_state == {"first": True, "second": True}


def test_another_version_of_streamlit_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = lambda *_: None  # noqa: E731 - stands for the method of another version
    monkeypatch.setattr(SafeSessionState, "on_script_will_rerun", own)
    monkeypatch.setattr(streamlit, "__version__", "1.68.0")
    caplog.set_level("WARNING")  # a cluster that is open silences the handlers, also pytest's
    streamlit_patches.hear_all.__wrapped__()
    assert SafeSessionState.on_script_will_rerun is own
    assert "Streamlit 1.68.0 is not 1.67.x, whose loss of clicks is mended here" in caplog.text


def test_streamlit_as_it_comes_still_loses_the_click() -> None:
    """Where this fails, `hear_all` has had its day."""
    spec = importlib.util.spec_from_file_location("as_it_comes", inspect.getfile(SafeSessionState))
    assert spec is not None and spec.loader is not None
    as_it_comes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(as_it_comes)
    state, click = SessionState(), WidgetStates()
    click.widgets.add(id="$$ID-button", trigger_value=True)
    with pytest.raises(RerunException):
        as_it_comes.SafeSessionState(state, newer).on_script_will_rerun(click)
    assert state._new_widget_state.get_serialized("$$ID-button") is None


@pytest.mark.parametrize(("drawn_anew", "sent"), [(["a part"], 1), (None, 0)])
def test_the_answer_to_an_uploader_outlives_the_drawing_of_a_part(drawn_anew: list[str] | None, sent: int) -> None:
    """What pages/lab/bring.py stands on, and why Explore has no uploader."""
    answer, queue = ForwardMsg(), ForwardMsgQueue()
    answer.file_urls_response.response_id = "chosen"
    queue.enqueue(answer)
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=drawn_anew)
    assert len(queue.flush()) == sent


def newer() -> None:
    """What Streamlit does where it looks for a newer request and there is one."""
    raise RerunException(RerunData())


def test_no_run_is_stopped_before_it_has_begun() -> None:
    assert tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["runner"]["fastReruns"] is False


def test_no_files_are_watched_where_nobody_asks_for_it() -> None:
    assert tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["server"]["fileWatcherType"] == "none"


def test_imports_are_passed_over_once_a_page_has_run() -> None:
    gc.unfreeze()
    streamlit_patches.spare_imports.cache_clear()
    opened(page="learn/teacher")
    assert gc.get_freeze_count() > 10_000


def sent_places(messages: list[ForwardMsg]) -> list[str]:
    """What a browser objects to that gets these messages: elements whose place does not exist."""
    children: dict[tuple[int, ...], int] = {(root,): 0 for root in range(4)}
    wrong = []
    for message in messages:
        path = tuple(message.metadata.delta_path)
        if not message.HasField("delta") and not message.HasField("ref_hash"):
            continue
        if path[:-1] not in children or path[-1] > children[path[:-1]]:
            wrong.append(f"{path} among {children.get(path[:-1])}")
            continue
        children[path[:-1]] = max(children[path[:-1]], path[-1] + 1)
        children.setdefault(path, 0)
    return wrong


@pytest.mark.parametrize("lesson", ["distillation", "pruning"])
def test_a_fragment_that_runs_before_a_page_is_sent_leaves_its_neighbours_their_places(
    lesson: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is drawn for it and not sent yet is dropped then, wherever the sending stands."""
    drawn: list[ForwardMsg] = []
    enqueue = ForwardMsgQueue.enqueue

    def noted(queue: ForwardMsgQueue, message: ForwardMsg) -> None:
        drawn.append(message)
        enqueue(queue, message)

    monkeypatch.setattr(ForwardMsgQueue, "enqueue", noted)
    opened(page=f"learn/{lesson}")
    deltas = [message for message in drawn if message.HasField("delta")]
    fragments = {message.delta.fragment_id for message in deltas} - {""}
    assert fragments and sent_places(deltas) == []
    for identifier in fragments:
        for sent in range(len(deltas)):
            waiting = ForwardMsgQueue()
            waiting._queue = deltas[sent:]
            waiting.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=[identifier])
            assert sent_places([*deltas[:sent], *waiting._queue]) == [], (identifier, sent)
