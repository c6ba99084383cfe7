"""What Streamlit does between runs: no click is lost, nothing that was drawn is, nothing is gone through twice."""

import asyncio
import gc
import importlib.util
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import streamlit
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime import Runtime
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import RerunException, ScriptRunner, ScriptRunnerEvent
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.local_script_runner import LocalScriptRunner

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
    monkeypatch.setattr(AppSession, "_handle_scriptrunner_event_on_event_loop", own)
    monkeypatch.setattr(streamlit, "__version__", "1.68.0")
    caplog.set_level("WARNING")  # a cluster that is open silences the handlers, also pytest's
    streamlit_patches.hear_all.__wrapped__()
    assert SafeSessionState.on_script_will_rerun is AppSession._handle_scriptrunner_event_on_event_loop is own
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


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppSession]:
    """A session in which an element waits for the event loop as its run ends, and the next request comes before that.

    That request has a runner of its own, whose thread is not started here.
    """
    monkeypatch.setattr(ScriptRunner, "start", lambda _: None)
    made = AppSession.__new__(AppSession)
    made.__dict__ |= {
        "id": "a session", "_state": AppSessionState.APP_IS_RUNNING, "_browser_queue": ForwardMsgQueue(),
        "_message_enqueued_callback": None, "_settled": None, "_settle_pending": False,
        "_script_event_loop": Mock(**{"is_closed.return_value": False}),
    }  # fmt: skip
    for name in ("script_data", "session_state", "uploaded_file_mgr", "script_cache", "user_info", "fragment_storage",
                 "pages_manager", "on_script_error", "local_sources_watcher"):  # fmt: skip
        setattr(made, f"_{name}", Mock())
    yield made
    made._state = AppSessionState.SHUTDOWN_REQUESTED  # nothing is left to be closed


def told_late(session: AppSession, event: ScriptRunnerEvent, **about: Any) -> ScriptRunner | None:
    """The runner for the next request, when the loop has got to what the one before told."""

    async def go() -> None:
        session._event_loop = asyncio.get_running_loop()
        session._create_scriptrunner(RerunData())
        ended = session._scriptrunner
        session._on_scriptrunner_event(ended, event, **about)
        session._create_scriptrunner(RerunData())
        assert session._scriptrunner is not ended
        await asyncio.sleep(0)

    asyncio.run(go())
    return session._scriptrunner


def test_what_a_run_has_drawn_is_sent_although_the_next_has_begun(session: AppSession) -> None:
    streamlit_patches.hear_all()
    told_late(session, ScriptRunnerEvent.ENQUEUE_FORWARD_MSG, forward_msg=ForwardMsg(delta=Delta(fragment_id="drawn")))
    assert [message.delta.fragment_id for message in session._browser_queue.flush()] == ["drawn"]


def test_that_a_run_has_shut_down_does_not_end_the_next(session: AppSession) -> None:
    streamlit_patches.hear_all()
    assert told_late(session, ScriptRunnerEvent.SHUTDOWN) is not None


def test_streamlit_as_it_comes_still_drops_what_was_drawn(session: AppSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, the second half of `hear_all` has had its day."""
    as_it_comes = streamlit_patches._heed_current
    monkeypatch.setattr(AppSession, "_handle_scriptrunner_event_on_event_loop", as_it_comes)
    told_late(session, ScriptRunnerEvent.ENQUEUE_FORWARD_MSG, forward_msg=ForwardMsg(delta=Delta(fragment_id="drawn")))
    assert session._browser_queue.is_empty()


PART_THEN_PAGE = """import streamlit as st
from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

context = get_script_run_ctx()

@st.fragment
def part():
    st.text("part")

with st.container():
    part()
st.text("the rest")
if "begun" not in st.session_state:
    st.session_state.begun = True
    [known] = context.shared.new_fragment_ids.snapshot()
    context.script_requests.request_rerun(RerunData(fragment_id=known))"""


def places_of_the_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Where a page's last text is drawn: by the first run, and by one that is asked for as a part has been drawn."""
    monkeypatch.setattr(Runtime, "_instance", Mock())  # as AppTest does
    (folder / "app.py").write_text(PART_THEN_PAGE)
    drawn: list[ForwardMsg] = []
    runner = LocalScriptRunner(
        str(folder / "app.py"), SafeSessionState(SessionState(), lambda: None), PagesManager(str(folder / "app.py"))
    )

    def told(_: ScriptRunner, event: ScriptRunnerEvent, forward_msg: ForwardMsg | None = None, **about: Any) -> None:
        if forward_msg:
            drawn.append(forward_msg)
        if event == ScriptRunnerEvent.FRAGMENT_STOPPED_WITH_SUCCESS:
            runner.request_rerun(RerunData())  # as a click in this moment, or in the garbage collection that follows

    runner.on_event.connect(told, weak=False)
    runner.run(timeout=30)
    return [list(each.metadata.delta_path) for each in drawn if each.delta.new_element.text.body == "the rest"]


def test_a_page_asked_for_as_a_part_has_been_drawn_is_drawn_in_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamlit_patches.hear_all()
    assert places_of_the_rest(tmp_path, monkeypatch) == [[0, 1], [0, 1]]


def test_streamlit_as_it_comes_still_draws_the_page_into_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this fails, `_run_from_the_top` has had its day."""
    monkeypatch.setattr(ScriptRunner, "_run_script", streamlit_patches._run_current)
    first, again = places_of_the_rest(tmp_path, monkeypatch)
    assert first == [0, 1] != again


LOOKS = """import streamlit as st
from pages.ui.state.streamlit_patches import looked_for_pages
st.text(looked_for_pages())
st.navigation([st.Page(lambda: None, title="First"), st.Page(lambda: None, title="Second", url_path="second")]).run()
st.text(looked_for_pages())"""


@pytest.mark.parametrize("has_folder", [True, False])
def test_that_streamlit_looked_for_pages_of_its_own_is_known_before_the_navigation(
    tmp_path: Path, has_folder: bool
) -> None:
    """It does beside a folder `pages`, of those that nobody's run has called `st.navigation` in."""
    (tmp_path / "app.py").write_text(LOOKS)
    if has_folder:
        (tmp_path / "pages").mkdir()
    page = AppTest.from_file(str(tmp_path / "app.py")).run()
    assert not page.exception
    assert [text.value for text in page.text] == [str(has_folder), "False"]


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
