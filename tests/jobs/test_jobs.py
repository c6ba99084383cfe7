"""Jobs on a real cluster, with the smallest network on Digits."""

import copy
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import dask
import psutil
import pytest
from distributed import Client
from distributed.deploy.subprocess import SubprocessCluster
from distributed.security import Security
from PIL import Image

from compression.data import load
from compression.errors import UnknownName
from compression.host import machine_lock
from compression.jobs import additions, cluster, questions, worker
from compression.jobs import lab as jobs
from compression.jobs.cluster import COMM, LOCALHOST, ROOT
from compression.jobs.lab import DELETED, LOST, Job, Lab, News, Request
from compression.jobs.lru_cache import LruCache
from compression.jobs.messages import Refusal
from compression.jobs.processes import Identity, identity, runs
from compression.jobs.result_recorder import ResultRecorder
from compression.recipe import Recipe
from compression.store import Store

PATIENCE_S = 180.0  # a cold engine on a busy machine

APP = """
import sys, time
import before_compression
import psutil
from compression.jobs.lab import Lab
lab = Lab()
lab._cluster_executor.submit(lab._connected).result().client.wait_for_workers(1)
print(" ".join(str(child.pid) for child in psutil.Process().children(recursive=True)), flush=True)
time.sleep(600)
"""


def request(sparsity: float, model: str = "lenet300", dataset: str = "digits") -> Request:
    return Request(model, dataset, dataset, Recipe().with_setting("prune.sparsity", sparsity).to_json())


def done(job: Job) -> News:
    """The last news of a job."""
    news, end = job.news, time.monotonic() + PATIENCE_S
    while news.state == "working" and time.monotonic() < end:
        news = job.wait(after=news.number, timeout=end - time.monotonic())
    return news


def until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def worker_pid(lab: Lab) -> int:
    done(lab.submit(request(0.01), owner="worker_pid"))
    assert lab._connection is not None
    assert until(lambda: len(lab._connection.client.run(os.getpid)) == 1)  # type: ignore[union-attr]
    return next(iter(lab._connection.client.run(os.getpid).values()))


@pytest.mark.slow
def test_what_nobody_waits_for_makes_way_for_whoever_asks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "IDLE_AFTER_S", 0.0)
    idle = lab.submit_idle(request(0.21))
    assert idle
    assert lab.submit_idle(request(0.2)) is None  # one at a time
    assert done(lab.submit(request(0.22), owner="user")).state == "done"
    assert idle.news.state == "overtaken"
    monkeypatch.setattr(jobs, "IDLE_AFTER_S", 1000.0)
    assert lab.submit_idle(request(0.21)) is None  # somebody has asked just now
    monkeypatch.setattr(jobs, "IDLE_AFTER_S", 0.0)
    idle = lab.submit_idle(request(0.21))
    assert idle
    news = done(idle)
    assert news.state == "done"
    assert until(lambda: kept(lab, news))
    assert lab.submit(request(0.21), owner="user").wait(after=0, timeout=PATIENCE_S).run == news.run


@pytest.mark.parametrize("step", [(ResultRecorder, "answer"), (Lab, "_submit_task")])
def test_a_failure_before_a_job_is_sent_ends_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    def fails(*about: object, **how: object) -> None:
        raise KeyError("steps")

    monkeypatch.setattr(*step, fails)
    news = done(lab.submit(request(0.25), owner="user"))
    assert (news.state, news.sentence[:20]) == ("refused", "Something went wrong")


def test_what_was_deleted_comes_back_only_to_who_asks_for_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "IDLE_AFTER_S", 0.0)
    first = done(lab.submit(request(0.24), owner="user"))
    assert until(lambda: kept(lab, first))
    run = first.run or ""
    lab.store.delete(run)
    idle = lab.submit_idle(request(0.24))
    assert idle
    assert (done(idle).state, idle.news.sentence) == ("refused", DELETED)
    monkeypatch.setattr(ResultRecorder, "deleted", lambda recorder, request: False)  # or deleted while it is measured
    idle = lab.submit_idle(request(0.24))
    assert idle
    assert done(idle).state == "done"
    assert until(lambda: len(lab.store.latencies(run)) == 2)
    assert lab.store.run(run).deleted is not None
    done(lab.submit(request(0.24), owner="user"))
    assert until(lambda: lab.store.run(run).deleted is None)


def test_a_job_tells_how_it_stands_and_ends_with_a_measured_file(lab: Lab, own_home: Path) -> None:
    job = lab.submit(request(0.3), owner="first")
    heard = [job.news]
    while heard[-1].state == "working":
        heard.append(job.wait(after=heard[-1].number, timeout=PATIENCE_S))
    last = heard[-1]
    assert last.state == "done", last.sentence
    assert [news.number for news in heard] == sorted({news.number for news in heard})
    assert last.full
    assert last.measurement is not None
    assert last.measurement.accuracy.n == last.measurement.n_test == 359
    assert last.baseline is not None
    assert last.baseline.accuracy.value == last.measurement.accuracy.baseline
    assert last.file == own_home / "files" / f"{last.measurement.file_hash}.onnx"
    assert hashlib.sha256(last.file.read_bytes()).hexdigest() == last.measurement.file_hash
    assert len(last.file.read_bytes()) == last.measurement.size_bytes


def test_a_finished_file_is_explained_and_written_in_other_formats(lab: Lab) -> None:
    asked = request(0.5)
    news = done(lab.submit(asked, owner="insight"))
    assert news.file is not None
    assert news.ledger is not None
    assert news.ledger.size_bytes == news.file.stat().st_size
    told = lab.ask(questions.explain_latency, asked, news.file.read_bytes(), news.layers).result(PATIENCE_S)
    assert "masked sparsity" in {finding.kind for finding in told.findings}
    assert {operator.operator for operator in told.profile.operators} & {"Gemm", "FusedGemm"}
    assert told.wire.zstd < news.ledger.size_bytes
    assert set(lab.ask(questions.write_format, asked, "safetensors").result(PATIENCE_S)) == {".safetensors", ".json"}
    with pytest.raises(UnknownName, match="'tflite'"):
        lab.ask(questions.write_format, asked, "tflite").result(PATIENCE_S)


@pytest.mark.slow
def test_after_its_first_job_a_worker_fills_its_caches_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    done(lab.submit(request(0.32, "lenet5"), owner="practice"))
    assert not lab._warming  # where COMPRESSION_IDLE=0, as in all tests, nothing is computed that nobody asked for
    monkeypatch.setenv("COMPRESSION_IDLE", "1")
    sent: list[str] = []
    submit = lab._submit_task

    def counted(task: Callable[..., Any], *about: Any, **how: Any) -> Any:
        if task is worker.warm_caches and about[0].model == "lenet5" and about[1] not in sent[-1:]:  # not sent again
            sent.append(about[1])
        return submit(task, *about, **how)

    monkeypatch.setattr(lab, "_submit_task", counted)
    for sparsity in (0.33, 0.34):
        done(lab.submit(request(sparsity, "lenet5"), owner="practice"))
        assert until(lambda: len(sent) >= len(worker.WARM_UP_SETTINGS))
        lab.wait_until_idle()
        assert sent == list(worker.WARM_UP_SETTINGS)


def test_the_first_point_comes_before_the_last(lab: Lab) -> None:
    job = lab.submit(request(0.31), owner="first")
    news, measured = job.news, []
    while news.state == "working":
        news = job.wait(after=news.number, timeout=PATIENCE_S)
        measured += [news] if news.measurement and news.state == "working" else []
    assert measured
    assert measured[0].file is None


def test_a_repeated_request_is_answered_from_the_store(lab: Lab) -> None:
    first = done(lab.submit(request(0.32), owner="a"))
    assert first.measurement is not None
    assert first.run is not None
    assert until(lambda: kept(lab, first))
    news = done(lab.submit(request(0.32), owner="b"))
    assert news.number == 1  # no progress, no measuring: the answer is the first news
    assert news.measurement is not None
    assert news.measurement.provenance.startswith("from the store, measured 20")
    assert replace(news.measurement, provenance="measured").to_plain() == first.measurement.to_plain()
    assert (news.run, news.file, news.layers, news.ledger) == (first.run, first.file, first.layers, first.ledger)
    assert news.baseline == first.baseline


def test_an_answer_from_the_store_does_not_wait_for_the_plain_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = done(lab.submit(request(0.36), owner="a"))
    assert until(lambda: kept(lab, first))
    monkeypatch.setattr(Store, "baseline", lambda *_: None)
    news = done(lab.submit(request(0.36), owner="b", train=False))
    assert news.measurement is not None and first.baseline is not None and news.baseline is not None
    assert news.measurement.provenance.startswith("from the store")
    assert news.baseline == replace(first.baseline, macs=None, parameters=None)


def kept(lab: Lab, news: News) -> bool:
    """Whether the store has what a later request is answered with."""
    runs = [run for run in lab.store.runs() if run.id == news.run]
    return bool(runs) and lab.store.baseline(runs[0].subject) is not None


def test_trainings_make_way_for_a_question(lab: Lab) -> None:
    assert (
        lab.ask(machine_lock.is_free, machine_lock.QUICK, machine_lock.fcntl.LOCK_EX).result(60) is False
    )  # as the question holds it itself


def test_a_long_question_tells_how_far_it_is_line_by_line_and_is_stopped(lab: Lab) -> None:
    def count(name: str, *, progress: Callable[[str, float], None], stop: Callable[[], bool]) -> None:
        progress(f"Looking for {name}", 0.0)
        for i in range(100_000):
            progress(f"Counting {i:,} of 100,000 {name}", i / 100_000)
            if stop():
                return
            time.sleep(0.01)

    watched = lab.watch(count, "sheep")
    assert until(lambda: watched.share > 0)
    assert watched.lines[0] == "Looking for sheep" and len(watched.lines) == 2
    assert re.fullmatch(r"Counting [\d,]+ of 100,000 sheep", watched.lines[1]) and not watched.done()
    watched.stop()
    assert watched.result(PATIENCE_S) == Refusal("")
    assert until(lambda: not any(lab._connection.client.processing().values()))  # type: ignore[union-attr]
    kept = lab.watch(additions.inputs_of, "no_network", "mine", "folder:/nowhere")
    found = kept.result(PATIENCE_S)
    assert isinstance(found, Refusal) and "no_network" in found.sentence


def test_who_waits_in_line_for_a_turn_keeps_nobody_waiting(lab: Lab) -> None:
    """Of two tasks that no user waits for, the second waits for the first; a user's job waits for neither."""

    def long(begun: str, *, progress: Callable[[str, float], None], stop: Callable[[], bool]) -> None:
        from pathlib import Path

        Path(begun).touch()
        while not stop():
            time.sleep(0.01)

    begun = Path(lab.ask(mkdtemp).result(PATIENCE_S)) / "begun"
    first = lab.watch(long, str(begun), beside=True)
    assert until(begun.exists, 60)
    second = lab._submit_task(worker.run_question, os.getpid, priority=jobs.IDLE)
    assert done(lab.submit(request(0.27), owner="user")).state == "done"
    assert not first.done() and not second.done()
    first.stop()
    assert isinstance(second.result(60), int)


@pytest.mark.parametrize(("downloads", "beside"), [(True, False), (False, False), (False, True)])
def test_a_long_question_lets_others_pass_and_is_stopped(lab: Lab, downloads: bool, beside: bool) -> None:
    """During a download, in which nothing asks whether it is wanted, and between two pictures."""

    def long(begun: str, *, progress: Callable[[str, float], None], stop: Callable[[], bool]) -> None:
        from pathlib import Path

        from compression.host.interruption import only_waiting

        with only_waiting() if downloads else nullcontext():
            Path(begun).touch()
            while not stop() if not downloads else Path(begun).exists():
                time.sleep(0.01)

    begun = Path(lab.ask(mkdtemp).result(PATIENCE_S)) / "begun"
    watched = lab.watch(long, str(begun), beside=beside)
    assert until(begun.exists, 60)
    assert isinstance(lab.ask(os.getpid).result(60), int)
    assert done(lab.submit(request(0.26), owner="user")).state == "done"
    assert not watched.done()
    watched.stop()
    assert watched.result(10) == Refusal("")
    begun.unlink()
    assert until(lambda: not any(lab._connection.client.processing().values()), 10)  # type: ignore[union-attr]


def test_what_is_wanted_anew_is_measured_again(lab: Lab) -> None:
    first = done(lab.submit(request(0.33), owner="a"))
    assert until(lambda: kept(lab, first))
    again = done(lab.submit(request(0.33), owner="a", anew=True))
    assert again.measurement is not None
    assert again.number > 1
    assert (again.measurement.provenance, again.run) == ("measured", first.run)
    run = again.run
    assert run is not None
    assert until(lambda: len(lab.store.latencies(run)) == 2)
    assert len(lab.store.predictions(run) or ()) == 359


def test_a_folder_whose_images_changed_is_measured_anew(lab: Lab, tmp_path: Path) -> None:
    def measured() -> tuple[float, str]:
        asked = replace(request(0.1), dataset=f"folder:{tmp_path}")
        news = done(lab.submit(asked, owner="folder"))
        assert news.measurement is not None and news.run is not None, news.sentence
        assert until(lambda: kept(lab, news))
        return news.measurement.accuracy.value, lab.store.run(news.run).subject.data_fingerprint

    digits = load("digits")
    for part, split, count in (("train", digits.train, 200), ("test", digits.test, 100)):
        for number in range(count):
            folder = tmp_path / part / digits.classes[int(split.labels[number])]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[number, 0].numpy()).save(folder / f"{number}.png")
    before = measured()
    assert before[0] > 0.9
    assert measured() == before
    again = done(lab.submit(replace(request(0.1), dataset=f"folder:{tmp_path}"), owner="folder"))
    assert again.measurement is not None and again.run is not None
    assert again.measurement.provenance.startswith("from the store")
    assert len(lab.store.latencies(again.run)) == 1
    one, other = (tmp_path / "test" / name for name in digits.classes[:2])
    one.rename(tmp_path / "test" / "aside")
    other.rename(one)
    (tmp_path / "test" / "aside").rename(other)
    after = measured()
    assert after[0] < before[0] - 0.1
    assert after[1] != before[1]


@pytest.fixture
def scheduler(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another Lab of this process is a guest on the same cluster, whose keys Dask's configuration names."""
    worker_pid(lab)
    monkeypatch.setenv("COMPRESSION_SCHEDULER", lab._connection.client.scheduler.address)  # type: ignore[union-attr]
    before = copy.deepcopy(dask.config.get("distributed.comm"))
    dask.config.refresh()  # reads the environment, as a program that starts now does
    yield
    dask.config.config["distributed"]["comm"].update(before)


@pytest.fixture
def open_cluster(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster that encrypts nothing."""
    worker_pid(lab)  # has been started, with what the environment says then
    for name in [name for name in os.environ if name.startswith(COMM)]:
        monkeypatch.delenv(name)
    with SubprocessCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as started:  # type: ignore[arg-type]
        yield started.scheduler_address


@pytest.mark.usefixtures("scheduler")
def test_the_answer_of_another_program_counts_too(lab: Lab) -> None:
    first = done(lab.submit(request(0.34), owner="a"))
    assert until(lambda: kept(lab, first))
    other = Lab()  # it has never seen the images: it goes by the card of the weights
    try:
        news = done(other.submit(request(0.34), owner="b"))
        assert (news.number, news.run) == (1, first.run)
        assert first.file is not None
        first.file.unlink()  # what cannot be downloaded is no answer
        news = done(other.submit(request(0.34), owner="b"))
        assert news.measurement is not None
        assert news.measurement.provenance == "measured"
        assert first.file.exists()
    finally:
        other.close()


@pytest.mark.usefixtures("scheduler")
def test_without_a_store_there_are_results_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_DATABASE", "sqlite:////proc/nowhere/store.sqlite")
    lost = Lab()
    try:
        assert done(lost.submit(request(0.35), owner="a")).state == "done"
        assert until(lambda: "/proc/nowhere/store.sqlite cannot be used" in lost.trouble)
    finally:
        lost.close()


@pytest.mark.usefixtures("scheduler")
def test_a_lab_closes_while_the_thread_of_a_job_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    begins, start = threading.Event(), threading.Thread.start

    def slowly(thread: threading.Thread) -> None:
        if thread.name == "job":
            begins.set()
            time.sleep(0.2)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", slowly)
    closing, ended = Lab(), threading.Event()
    beginner = threading.Thread(target=closing._in_thread, args=(ended.set,))
    beginner.start()
    assert begins.wait(PATIENCE_S)
    closing.close()
    beginner.join()
    assert ended.wait(PATIENCE_S)


def test_a_newer_request_overtakes_the_older_one_of_the_same_owner(lab: Lab) -> None:
    jobs = [lab.submit(request(sparsity), owner="hasty") for sparsity in (0.41, 0.42, 0.43)]
    other = lab.submit(request(0.44), owner="patient")
    assert [done(job).state for job in jobs] == ["overtaken", "overtaken", "done"]
    assert done(other).state == "done"


def test_a_running_job_stops_soon(lab: Lab) -> None:
    done(lab.submit(request(0.5), owner="stopped"))
    job = lab.submit(request(0.51), owner="stopped")
    job.wait(after=0, timeout=PATIENCE_S)
    job.stop()
    assert job.news.state == "overtaken"
    client = lab._connection.client  # type: ignore[union-attr]
    assert until(lambda: not any(client.processing().values()))


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (Request("lenet9", "digits", "digits", Recipe().to_json()), "Unknown model 'lenet9'; known are lenet300"),
        (Request("lenet300", "digits", "digits", '{"steps": [{"step": "melt"}]}'), "Unknown step 'melt'; known are"),
        (Request("lenet300", "digits", "folder:/nowhere", Recipe().to_json()), "/nowhere"),
    ],
)
def test_a_users_mistake_comes_back_as_its_sentence(lab: Lab, wanted: Request, sentence: str) -> None:
    news = done(lab.submit(wanted, owner="mistaken"))
    assert news.state == "refused"
    assert sentence in news.sentence
    assert "\n" not in news.sentence


def test_an_unexpected_failure_is_an_apology_with_a_number(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    news = done(lab.submit(Request("lenet300", "digits", 3, "{}"), owner="odd"))  # type: ignore[arg-type]
    assert news.state == "refused"
    number = news.sentence.rstrip(".").split()[-1]
    assert number in caplog.text
    assert "Traceback" not in news.sentence


def test_every_listener_is_on_this_machine_only(lab: Lab) -> None:
    worker_pid(lab)
    members = [psutil.Process(process.pid) for process in cluster._processes(lab._connection.own)]  # type: ignore[union-attr]
    members += [child for member in members for child in member.children(recursive=True)]
    listening = [c.laddr.ip for m in (*members, psutil.Process()) for c in m.net_connections() if c.status == "LISTEN"]
    assert len(listening) >= 3  # scheduler, nanny, worker
    assert set(listening) == {LOCALHOST}


def test_the_crash_of_a_worker_is_a_sentence_and_the_next_job_succeeds(lab: Lab) -> None:
    pid = worker_pid(lab)
    job = lab.submit(request(0.6, "lenet5"), owner="unlucky")
    job.wait(after=0, timeout=PATIENCE_S)
    os.kill(pid, signal.SIGKILL)
    news = done(job)
    assert (news.state, news.sentence) == ("lost", LOST)
    assert done(lab.submit(request(0.6), owner="unlucky")).state == "done"


def test_a_cluster_that_died_is_replaced(lab: Lab) -> None:
    worker_pid(lab)
    connection = lab._connection
    assert connection is not None
    for process in cluster._processes(connection.own):
        os.kill(process.pid, signal.SIGKILL)
    assert until(lambda: not connection.is_connected())
    assert done(lab.submit(request(0.61), owner="survivor")).state == "done"


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"])
def test_a_worker_computes_and_keeps_memory_as_this_process_does(lab: Lab, name: str) -> None:
    assert lab.ask(os.getenv, name).result(PATIENCE_S) == os.getenv(name)


@pytest.mark.usefixtures("scheduler")
def test_a_guest_leaves_the_cluster_as_it_was(lab: Lab) -> None:
    guest = Lab()
    try:
        assert done(guest.submit(request(0.73), owner="guest")).state == "done"
    finally:
        guest.close()
    assert done(lab.submit(request(0.74), owner="host")).state == "done"


def test_another_user_of_this_machine_cannot_reach_our_scheduler(lab: Lab) -> None:
    """Whoever can, runs code as this user. A stranger knows the port, and has no key or one of his own."""
    worker_pid(lab)
    address = lab._connection.client.scheduler.address  # type: ignore[union-attr]
    assert address.startswith("tls://")
    for place, security in (
        (address.replace("tls://", "tcp://"), None), (address, Security.temporary()),
    ):  # fmt: skip
        with pytest.raises((OSError, TimeoutError)):
            Client(place, security=security, timeout=2, set_as_default=False)


def test_only_this_user_can_read_the_clusters_keys(lab: Lab) -> None:
    worker_pid(lab)
    folder = cluster._keys()
    assert folder.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in folder.iterdir()) == ["CERT", "KEY"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_a_cluster_registers_its_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[object] = []
    monkeypatch.setattr(cluster.atexit, "register", registered.append)
    monkeypatch.setattr(cluster.atexit, "unregister", registered.remove)
    client: Any = SimpleNamespace(close=lambda timeout: None)
    monkeypatch.setattr(cluster, "_start", lambda: cluster.ClusterConnection(client))
    for _ in range(3):
        cluster.connect().close()
    assert registered == []


def test_a_scheduler_by_address_needs_a_word_of_trust(
    lab: Lab, open_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSION_SCHEDULER", open_cluster)
    guest = Lab()
    try:
        news = done(guest.submit(request(0.7), owner="guest"))
        assert news.state == "refused"
        assert "COMPRESSION_TRUSTED_NETWORK=1" in news.sentence
        monkeypatch.setenv("COMPRESSION_TRUSTED_NETWORK", "1")
        assert done(guest.submit(request(0.7), owner="guest")).state == "done"
    finally:
        guest.close()


def test_nothing_is_left_ten_seconds_after_the_app_was_killed(own_home: Path) -> None:
    command = [sys.executable, "-c", APP]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        line = app.stdout.readline()
        members = [identity(int(pid)) for pid in line.split()]
        app.kill()
    assert len(members) >= 3
    assert until(lambda: not any(runs(member) for member in members))


@pytest.mark.slow
def test_a_question_that_takes_long_holds_up_no_end(own_home: Path) -> None:
    asking = APP.replace("time.sleep(600)", "lab.ask(time.sleep, 600)")
    done = subprocess.run([sys.executable, "-c", asking], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert until(lambda: not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split()))


def test_a_stale_cluster_is_ended_by_id_and_start_time(own_home: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as left, subprocess.Popen(["sleep", "60"]) as stranger:
        gone = Identity(left.pid, 1.0)
        reused = Identity(stranger.pid, identity(stranger.pid).started - 100)
        record = own_home / "workers" / "1.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({"app": gone, "members": [identity(left.pid), reused]}))
        cluster.end_stale()
        assert left.wait(timeout=10) == -signal.SIGKILL
        assert stranger.poll() is None
        assert not record.exists()
        stranger.kill()


def test_who_the_processes_are_is_written_down_whole(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, content: str) -> None:
        path.write_bytes(content.encode()[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "getpid", lambda: 1)
    record = own_home / "workers" / "1.json"
    cluster._write_down([])
    before = record.read_text()
    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        cluster._write_down([])
    assert record.read_text() == before
    record.unlink()


def test_no_task_begins_while_another_thread_loads_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def slow(name: str) -> None:
        told.append("begun")
        time.sleep(0.2)
        told.append("loaded")

    monkeypatch.setattr(worker, "import_module", slow)
    worker.warm_up(None)
    assert until(lambda: "begun" in told, 5)
    worker.run_task(told.append, "task")
    assert told == ["begun", "loaded"] * 4 + ["task"]  # two modules each


def test_a_cache_keeps_what_was_used_last() -> None:
    made: list[int] = []
    cache: LruCache[int] = LruCache(2)
    for key in (1, 2, 1, 3, 1, 2):
        cache.get(key, lambda key=key: made.append(key) or key)  # type: ignore
    assert made == [1, 2, 3, 2]


def test_a_cache_values_are_made_once_whatever_the_threads() -> None:
    """Somebody else's worker may have several."""
    made: list[int] = []
    cache: LruCache[int] = LruCache(2)

    def slow(key: int) -> int:
        time.sleep(0.05)
        made.append(key)
        return key

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda key: cache.get(key, lambda: slow(key)), [1, 2] * 8))
    assert sorted(made) == [1, 2]
    assert found == [1, 2] * 8


@pytest.mark.slow
def test_a_cache_tries_again_after_a_failure() -> None:
    cache: LruCache[int] = LruCache(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 // 0)
    assert cache.get("key", lambda: 5) == 5
    assert cache.get("key", lambda: 6) == 5
