"""The probe from end to end: packed, run as a program of its own, read as a stranger's, and told."""

import copy
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ai_edge_litert as litert
import numpy as np
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from compression.analysis.machines import apart
from compression.cli import app
from compression.errors import InvalidFile, InvalidSetting
from compression.host.cpu import saturates
from compression.host.machine import this_machine
from compression.measure import tflite_runs
from compression.pipeline.candidate import Prepared
from compression.probing import probe
from compression.probing.package import IMAGES, Packed, package, saturation
from compression.records.measurement import Predictions, order
from compression.records.probe import MOST_CHARACTERS, ProbeMachine, read_report
from compression.store import Store
from pages.ui.compare import machines
from pages.ui.model.machines import Timing
from pages.ui.model.points import Point, Trail
from pages.ui.model.view import View
from tests.probing.board import NAME, ran


def changed(report: bytes, *path: str | int, to: Any) -> bytes:
    values = copy.deepcopy(json.loads(report))
    at = values
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return json.dumps(values).encode()


def test_the_answers_there_are_those_that_were_measured_here(report: bytes, made: Any) -> None:
    told = read_report(report)
    measured = made[2]
    [ours] = [file for file in told.files if file.sha256 == measured.file_hash]
    assert len(told.files) == 3  # equal files go along once
    assert (told.images, told.machine.name, ours.error) == (IMAGES, NAME, "")
    assert measured.predictions.classes[:IMAGES].tolist() == ours.classes
    assert np.allclose(measured.predictions.confidences[:IMAGES], ours.confidences, atol=2e-3)
    assert [pace.threads for pace in ours.latency] == [1, 2]
    assert ours.peak_bytes is not None and ours.load_bytes is not None and ours.peak_bytes >= ours.load_bytes >= 0
    assert told.machine.saturates is False or not this_machine().vnni


def test_a_report_lands_on_its_run_once_and_leaves_what_was_measured_here(
    store: Store, run: str, report: bytes
) -> None:
    before, answers = store.run(run), store.predictions(run)
    added = store.probes.add(read_report(report))
    assert (added.runs, added.unknown, added.again) == (1, 1, False)  # the fp32 file is of no run in this store
    assert store.probes.add(read_report(report)).again
    [probed, there] = sorted(store.probes.of_run(run), key=lambda each: each.machine.litert)
    assert (probed.machine.title, len(probed.latencies)) == (NAME, 2)
    assert probed.answers is not None and answers is not None
    assert np.array_equal(probed.answers.images, order(before.n_test)[:IMAGES])
    assert store.run(run) == before
    assert np.array_equal(store.predictions(run).classes, answers.classes)  # type: ignore[union-attr]
    [machine, lite] = sorted(store.probes.machines(), key=lambda each: each.machine.litert)
    assert store.probes.times(machine.key)[before.file_hash].threads == 1
    assert (lite.machine.title, lite.machine.runtime_version) == (f"{NAME}, .tflite", f"LiteRT {litert.__version__}")
    assert store.probes.times(lite.key)[before.file_hash] != store.probes.times(machine.key)[before.file_hash]
    assert there.answers is not None and np.mean(there.answers.classes == probed.answers.classes) > 0.99
    [lite_told] = machines.sentences(before, answers, [there])
    assert lite_told.startswith(f"The .tflite file of this run on {NAME}, .tflite")
    store.probes.forget(lite.key)
    [told] = machines.sentences(before, answers, [probed])
    assert told.startswith("The same file, two machines") and "all 200 predictions are equal" in told
    assert [row["Threads"] for row in machines.rows(before, [probed])] == [1, 1, 2]
    store.probes.forget(machine.key)
    assert not store.probes.machines() and not store.probes.of_run(run)


def test_charts_show_the_milliseconds_of_the_machine_that_is_chosen(store: Store, run: str, report: bytes) -> None:
    added = store.probes.add(read_report(changed(report, "machine", "name", to="Board")))
    here = store.run(run)
    trail = Trail(visited={here.recipe.hash: Point(here.recipe, here.measurement, True)})
    times = store.probes.times(added.machine)
    [there] = Timing(added.machine, added.title, times).trail(trail).points
    assert there.measurement.latency == times[here.file_hash] != here.latency
    assert there.measurement.provenance.endswith("latency on Board")
    [untimed] = Timing("f" * 16, "x", {}).trail(trail).points
    assert untimed.measurement.latency is None
    assert View.from_query(View(machine=added.machine).to_query()).machine == added.machine
    with pytest.raises(InvalidSetting, match="16 hexadecimal digits"):
        View.from_query({"machine": "<script>"})


def test_a_tflite_file_in_the_package_is_answered_as_litert_does_here(
    report: bytes, prepared: Prepared, made: Any, tflite: bytes
) -> None:
    [found] = [file for file in read_report(report).files if file.of]
    assert (found.of, found.sha256, found.error) == (made[2].file_hash, hashlib.sha256(tflite).hexdigest(), "")
    here, _ = tflite_runs.predict(tflite, prepared.data, order(len(prepared.data.test))[:IMAGES], 10)
    assert here.classes.tolist() == found.classes and len(found.latency) == 2


def test_without_litert_there_the_report_says_so(
    store: Store, run: str, report: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "litert", None)
    with pytest.raises(ValueError, match="LiteRT is not installed here"):
        probe._session(Path("x.tflite"))
    values = json.loads(report)
    for file in values["files"]:
        if "of" in file:
            file |= {"error": "LiteRT is not installed here.", "classes": [], "confidences": [], "latency": []}
    added = store.probes.add(read_report(json.dumps(values).encode()))
    assert added.failed == ("LiteRT is not installed here.",)
    assert [each.machine.litert for each in store.probes.machines()] == [""]


@pytest.mark.parametrize(("path", "value", "said"), [
    (("files", 2, "of"), "A" * 64, "files.2.of"),
    (("version",), 2, "version is 2"),
    (("format",), "x", "with the format"),
    (("images",), 10**400, "images is a number of 1,329 bits"),
    (("machine", "cores"), True, "machine.cores is True"),
    (("machine", "id"), "../../etc", "machine.id"),
    (("machine", "name"), "x" * 81, "at most 80 characters"),
    (("files",), [], "at least 1 item"),
    (("files", 0, "sha256"), "A" * 64, "files.0.sha256"),
    (("files", 0, "classes"), [1], "must answer all 200 images"),
    (("files", 0, "classes"), [-1] * 200, "files.0.classes.0 is -1"),
    (("files", 0, "confidences"), [float("nan")] * 200, "files.0.confidences.0 is nan"),
    (("files", 0, "latency", 0, "p50_ms"), 0, "files.0.latency.0.p50_ms is 0"),
    (("files", 0, "latency", 0, "p50_ms"), 1e6, "percentiles"),
    (("files", 0, "latency", 0, "ratio"), 10**400, "files.0.latency.0.ratio"),
    (("files", 0, "latency", 0, "ratio_low"), 99.0, "ratio must lie in its interval"),
    (("files", 0, "latency"), [[[[]]]], "files.0.latency.0"),
    (("data_fingerprint",), "0" * 64, "with other test images"),
])  # fmt: skip
def test_a_report_that_is_none_is_refused_in_a_sentence(
    store: Store, run: str, report: bytes, path: tuple[str | int, ...], value: Any, said: str
) -> None:
    with pytest.raises(InvalidFile) as refused:
        store.probes.add(read_report(changed(report, *path, to=value)))
    assert said in str(refused.value)
    assert not store.probes.machines()


@pytest.mark.parametrize("content", [
    b"", b"[]", b"\xff", b"[" * 100_000, b"{" + b" " * MOST_CHARACTERS + b"}", b'{"a": 1e999}', b"null",
])  # fmt: skip
def test_what_is_no_report_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(InvalidFile, match="This file is not a probe report"):
        read_report(content)


def test_files_that_are_of_no_run_here_are_refused(store: Store, report: bytes) -> None:
    with pytest.raises(InvalidFile, match="no file of a stored run"):
        store.probes.add(read_report(report))


def test_no_report_speaks_for_this_machine(store: Store, run: str, report: bytes) -> None:
    """Its claims to be this very machine change nothing that was measured here."""
    here, before = this_machine(), store.run(run)
    named = {"cpu": here.cpu, "cores": here.cores, "system": here.system, "onnxruntime": here.onnxruntime}
    values = {**json.loads(report)["machine"], **named, "id": (here.id + "0" * 12)[:12], "name": "", "vnni": here.vnni}
    store.probes.add(read_report(changed(report, "machine", to=values)))
    assert store.run(run) == before
    assert [each.here for each in store.latencies(run)] == [False, False, False, False, True]


def test_machines_that_cut_sums_off_are_told_apart_from_those_that_round() -> None:
    images = np.arange(4)
    here = Predictions(images, np.array([1, 2, 3, 4], np.uint16), np.array([0.9, 0.5, 0.9, 0.9], np.float16))
    there = replace(here, classes=np.array([1, 7, 3, 4], np.uint16))
    ours = replace(this_machine(), vnni=True)
    theirs = ProbeMachine(**vars(ours) | {"id": "probe-1"}, kind="probe", saturates=not saturates())
    found = apart(here, there, ours, theirs, integer=True)
    assert found is not None
    assert (found.n, found.differing, found.confidence_differing) == (4, 1, 0.5)
    told = machines.sentence("Old PC", found)
    assert "two machines (Old PC and this one): 1 of 4 predictions differ" in told and "16 bits" in told
    floats = apart(here, there, ours, replace(theirs, onnxruntime="1.0"), integer=False)
    assert floats is not None and floats.why.startswith("ONNX Runtime is 1.0 there")


def test_the_tried_sums_are_exact_where_products_are_added_in_32_bits() -> None:
    session = ort.InferenceSession(saturation(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"codes": np.full((1, 64), 255, np.uint8)})
    assert found.tolist() == [[64 * 255 * 127] * 16] or not this_machine().vnni


def test_the_command_takes_a_report_and_lists_its_machine(
    store: Store, run: str, report: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(report)
    added = json.loads(CliRunner().invoke(app, ["probe", "add", str(file), "--json"]).stdout)
    assert added["runs"] == 1
    [lite, known] = json.loads(CliRunner().invoke(app, ["probe", "list", "--json"]).stdout)
    assert (known["key"], known["name"], known["litert"]) == (added["machine"], NAME, "")
    assert lite["litert"] == litert.__version__
    file.write_bytes(b"x" * (MOST_CHARACTERS + 1))
    refused = CliRunner().invoke(app, ["probe", "add", str(file)])
    assert refused.exit_code == 2 and "no report of a probe" in refused.stderr


def test_a_damaged_file_stops_the_probe(prepared: Prepared, tmp_path: Path) -> None:
    files = [Packed("fp32", "fp32", prepared.baseline.onnx, baseline=True)]
    zipfile.ZipFile(io.BytesIO(package(files, prepared.data, "0"))).extractall(tmp_path)
    damaged = tmp_path / "probe" / "files" / "00-fp32.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() != hashlib.sha256(prepared.baseline.onnx).hexdigest()
    done = ran(tmp_path)
    assert (done.returncode, "is damaged; unpack the zip again" in done.stderr) == (1, True)


@pytest.mark.parametrize("scores", [[np.nan, 1.0], [np.inf, 0.0]])
def test_scores_that_name_no_class_are_refused_there_too(scores: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_batches", lambda session, images: [images])
    session: Any = SimpleNamespace(run=lambda names, batch: [np.array([scores, [0.0, 1.0]])])
    with pytest.raises(ValueError, match="name no class"):
        probe._answers(session, np.zeros((2, 1)))
