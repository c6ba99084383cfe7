"""Roles and quotas where they are enforced: jobs that are submitted, files that are stored, words on runs."""

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compression import jobs
from compression.data.archives import uploads
from compression.errors import InvalidFile, NotAllowed
from compression.host.machine import this_machine
from compression.jobs import permits
from compression.jobs.job import Job
from compression.jobs.lab import Lab
from compression.jobs.messages import Refusal, Request, Training
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Interval, Measurement, Predictions, order
from compression.store import Store, Subject
from compression.store.usage import MemberUse
from compression.team import Act, Member, Quota, Role, Usage, identify_by

REQUEST = Request("lenet5", "digits", "digits", '{"steps": []}')


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    monkeypatch.delenv("COMPRESSION_DATABASE", raising=False)
    return Store.shared()


@pytest.fixture
def act_as(store: Store) -> Iterator[Any]:
    yield lambda member: identify_by(lambda: member)
    identify_by(None)


@pytest.fixture
def lab(act_as: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab whose cluster nobody reaches: what is sent to it fails the test."""
    monkeypatch.setattr(Lab, "_connected", lambda self: SimpleNamespace(is_connected=lambda: True))
    sent: list[Any] = []
    monkeypatch.setattr(Lab, "_submit_task", lambda self, *about, **how: sent.append(about))
    monkeypatch.setattr(Lab, "_disconnect", lambda self: None)
    made = Lab()
    yield made
    made.close()
    assert sent == []


VIEWER, USER = Member("vic", Role.VIEWER), Member("una", Role.USER, Quota(minutes=1, uploads=1, gigabytes=0.001))
ADMIN = Member("ada", Role.ADMIN)


def ended(job: Job) -> Any:
    end, news = time.monotonic() + 60, job.news
    while news.state == "working" and time.monotonic() < end:
        news = job.wait(after=news.number, timeout=1)
    return news


def test_a_viewer_starts_nothing_and_stores_nothing(lab: Lab, act_as: Any, store: Store) -> None:
    act_as(VIEWER)
    news = ended(lab.submit(REQUEST, owner="tab"))
    assert (news.state, "viewer" in news.sentence) == ("refused", True)
    assert lab.submit_idle(REQUEST) is None
    for question in (jobs.add_network, jobs.import_network, jobs.explain_latency, jobs.smallest_recipe, len):
        for answer in (lab.ask(question, b"x"), lab.watch(question, b"x")):
            with pytest.raises(NotAllowed, match="viewer"):
                answer.result(0)
    store.jobs.add("j", kind="train", title="t", request={}, app={"member": "vic"})
    calls: list[Any] = [
        lambda: lab.long.start(Training("lenet5", "digits")), lambda: lab.long.resume("j"),
        lambda: lab.long.cancel("j"), lambda: lab.long.forget("j"), lambda: lab.long.finish("j"),
        lambda: store.annotate("r", "n"), lambda: store.favourite("r"), lambda: store.delete("r"),
        lambda: store.probes.add(None), lambda: store.probes.forget("k"), lambda: store.erase("r"),  # type: ignore[arg-type]
        jobs.clear_pictures,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotAllowed):
            call()
    for refused in (jobs.keep_uploaded([("a.png", b"1")]), jobs.unpack_pictures(io.BytesIO(b"x"), "a.zip"),
                    jobs.limit_pictures(1)):  # fmt: skip
        assert isinstance(refused, Refusal) and "admin" in refused.sentence
    assert not uploads().exists() and store.usage.all() == {}


def test_who_is_not_signed_in_reads_nothing_either(lab: Lab, act_as: Any) -> None:
    act_as(None)
    with pytest.raises(NotAllowed, match="Sign in"):
        lab.ask(jobs.network_structure, REQUEST).result(0)
    assert ended(lab.submit(REQUEST, owner="tab")).state == "refused"


def test_a_user_has_work_done_until_the_minutes_are_used(lab: Lab, act_as: Any, store: Store) -> None:
    act_as(USER)
    assert permits.check_work(REQUEST) == USER
    meter = permits.Meter()
    meter._begun = time.monotonic() - 61
    assert "1 minutes of computing a day" in meter.count()
    assert 61 <= store.usage.of("una").seconds < 120
    assert "1 minutes of computing" in ended(lab.submit(REQUEST, owner="tab")).sentence
    with pytest.raises(NotAllowed, match="1 minutes"):
        lab.long.start(Training("lenet5", "digits"))
    assert store.usage.forget("una") and permits.can_work()


def test_uploads_are_counted_before_they_are_kept(act_as: Any, store: Store) -> None:
    act_as(USER)
    with pytest.raises(NotAllowed, match="GB on disk"):
        permits.check_upload(1_000_001)
    assert store.usage.of("una") == Usage()
    assert isinstance(jobs.keep_uploaded([("a.txt", b"12345")]), Refusal)  # no picture: it takes no place
    assert store.usage.of("una") == Usage(uploads=1)
    refused = jobs.keep_uploaded([("a.png", b"12345")])
    assert isinstance(refused, Refusal) and "1 uploads a day" in refused.sentence


def test_uploads_that_come_at_once_stay_within_the_quota(store: Store) -> None:
    member, taken = Member("una", Role.USER, Quota(uploads=5)), []

    def take() -> None:
        try:
            store.usage.take(member, Usage(uploads=1))
            taken.append(1)
        except NotAllowed:
            pass

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == store.usage.of("una").uploads == 5


def test_only_admins_name_folders_of_the_server_and_touch_jobs_of_others(act_as: Any, store: Store) -> None:
    record: Any = SimpleNamespace(app={"member": "una"})
    for member, allowed in ((USER, True), (Member("eve", Role.USER), False), (ADMIN, True)):
        act_as(member)
        if allowed:
            permits.check_owner(lambda: record)
        else:
            with pytest.raises(NotAllowed, match="belongs to somebody else"):
                permits.check_owner(lambda: record)
    for folder in ("/etc", f"{uploads()}/../../..", f"{uploads()}-not"):
        act_as(Member("eve", Role.USER))
        asked = Request("lenet5", "digits", f"folder:{folder}", "{}")
        with pytest.raises(NotAllowed, match="folders and files of the server"):
            permits.check_work(asked)
        with pytest.raises(NotAllowed, match="folders and files of the server"):
            permits.check_question(jobs.inputs_of, "lenet5", "own", f"folder:{folder}")
        act_as(ADMIN)
        assert permits.check_work(asked) == ADMIN
    act_as(Member("eve", Role.USER))
    assert permits.check_work(Request("lenet5", "digits", f"folder:{uploads()}/mine", "{}")).name == "eve"


def test_a_run_is_deleted_by_who_had_it_made_and_its_bytes_count_once(act_as: Any, store: Store) -> None:
    here, recipe = this_machine(), Recipe(seed=1)
    subject = Subject("resnet20", "digits", "digits", "a" * 64, "b" * 64)
    found = Accuracy(0.9, Interval(0.8, 1.0), 500, 0.9, 0.0)
    measured = Measurement(
        recipe.hash,
        "c" * 64,
        found,
        700,
        900,
        None,
        1,
        1,
        500,
        1.0,
        here,
        Predictions(order(0), np.zeros(0, np.uint16), np.ones(0, np.float16)),
    )
    run = store.add(subject, recipe, measured, engine="e1")
    for who in ("una", "eve", "una", ""):
        store.usage.made(run, who, 700)
    now = Usage(size_bytes=700)
    assert store.usage.all() == {"una": MemberUse(now, now, runs=1)}
    for member in (Member("eve", Role.USER), VIEWER):
        act_as(member)
        for change in (store.delete, store.restore, store.erase):
            with pytest.raises(NotAllowed):
                change(run)
    act_as(Member("eve", Role.USER))
    store.favourite(run)  # the team's, as notes are
    act_as(USER)
    store.delete(run)
    assert [each.id for each in store.runs(deleted=True)] == [run]
    store.restore(run)
    act_as(ADMIN)
    store.delete(run)
    store.erase(run)
    assert store.usage.of("una") == Usage() and store.runs(deleted=True) == []


def test_a_report_that_is_drawn_again_counts_once(act_as: Any, store: Store) -> None:
    act_as(USER)
    for content in (b"{}", b"{}"):
        with pytest.raises(InvalidFile):
            jobs.take_report(content)
    assert store.usage.of("una") == Usage(uploads=1)
    with pytest.raises(NotAllowed, match="1 uploads a day"):
        jobs.take_report(b"[]")
    act_as(VIEWER)
    with pytest.raises(NotAllowed, match="viewer"):
        jobs.take_report(b"{}")


def test_networks_on_the_server_and_networks_of_all_are_for_admins(act_as: Any, store: Store) -> None:
    act_as(USER)
    with pytest.raises(NotAllowed, match="folders and files of the server"):
        permits.check_question(jobs.add_network, "mine", "/etc/passwd.onnx")
    assert store.usage.of("una") == Usage()
    with pytest.raises(NotAllowed, match="Only admins"):
        jobs.dismiss_network("mine")
    permits.check_question(jobs.add_network, "mine", "timm:resnet18", "w.safetensors", b"12")
    assert store.usage.of("una") == Usage(uploads=1, size_bytes=2)


def test_a_job_that_waited_is_looked_at_when_it_begins(act_as: Any, store: Store) -> None:
    act_as(USER)
    meter = permits.Meter()
    store.usage.count("una", Usage(seconds=61))  # meanwhile, at another tab
    assert meter.count(every=15) == ""
    meter.begin()
    assert "1 minutes of computing a day" in meter.count(every=15)


def test_what_is_measured_while_nobody_waits_is_not_counted(act_as: Any, store: Store) -> None:
    act_as(USER)
    for idle in (True, False):
        job = Job(REQUEST, idle=idle)
        job.hear({"kind": "progress", "share": 0.5, "sentence": "Compressing"})
        job.meter.count()
        assert (store.usage.of("una").seconds == 0) == idle


def test_without_a_team_nothing_is_counted(store: Store, tmp_path: Path) -> None:
    permits.check_work(Request("lenet5", "digits", "folder:/anywhere", "{}"))
    meter = permits.Meter()
    meter.begin()
    assert (meter.count(), permits.check_upload(10**12).name) == ("", "")
    assert store.usage.all() == {}


def test_every_question_that_viewers_may_ask_is_one() -> None:
    assert set(jobs.__all__) >= permits.READING | permits.UPLOADS
    assert not permits.READING & permits.UPLOADS
    assert Act.LOOK < Act.WORK
