"""The Deploy page: verdicts and sums as text, and the page itself with a real worker on Digits."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from compression.analysis.devices import DEVICES, KB, TFLM, Deployment, Load, OnBoard, device, fit, on_board
from compression.analysis.tflm_kernels import CORE, KERNELS, program_bytes
from compression.measure.tflite_runs import COUNTS_ARENAS
from compression.probing import probe as probe_py
from compression.probing.receiver import LOOPBACK
from compression.records import probe
from compression.records.analysis import Growth
from compression.records.measurement import Interval, Latency
from pages.ui import state
from pages.ui.ship import device_rows, receive
from tests.pages.running_app import opened

LINK = {"model": "lenet300", "dataset": "digits", "steps": "quantize", "quality": "fast"}
SMALL = Load((), 50_000, 100_000, 8_000)
LATENCY = Latency(0.2, 0.3, 0.4, 0.5, Interval(0.49, 0.51), 100, 10, 1, 1, 0.0, 0.1)


def found(load: Load, ms: float = 0.1) -> Deployment:
    return Deployment({name: fit(load, each) for name, each in DEVICES.items()}, 8_000, "QLinearConv", 24, True, ms)


def test_a_verdict_names_what_is_too_small():
    chip = replace(device("nano33"), flash_bytes=100 * KB, ram_bytes=1 * KB)
    assert device_rows.verdict(fit(SMALL, device("nano33"))) == "fits"
    assert device_rows.verdict(fit(SMALL, chip)) == "flash and RAM too small"
    assert device_rows.verdict(fit(SMALL, replace(chip, flash_bytes=1 << 20))) == "RAM too small"


def test_rows_stand_in_the_catalogues_order_and_add_up():
    rows = device_rows.rows(found(SMALL), found(SMALL))
    assert [row["Device"] for row in rows] == [each.title for each in DEVICES.values()]
    need = fit(SMALL, device("nano33")).need
    assert rows[0]["Flash"] == (need.weights + need.runtime_flash) / device("nano33").flash_bytes


def test_the_estimate_stands_beside_the_measurement():
    assert "measured 0.20 ms (estimate ÷ measured = 0.50)" in device_rows.on_this_machine(found(SMALL), LATENCY)
    assert "not measured" in device_rows.on_this_machine(found(SMALL), None)


def test_memory_says_what_a_process_grew_by():
    assert "grew" not in device_rows.memory(found(SMALL), None)
    text = device_rows.memory(found(SMALL), Growth(100, 2_000_000, 1_000_000))
    assert "grew by 2.00 MB" in text and "account for 1.00 MB" in text and "8-bit kernels" in text


def test_what_was_measured_takes_the_place_of_the_estimate_on_boards_alone():
    chip = replace(device("nano33"), ram_bytes=30 * KB, runtime=replace(TFLM))  # as it comes from another process
    before = Deployment({"chip": fit(SMALL, chip), "pi4": fit(SMALL, device("pi4"))}, 8_000, "QLinearConv", 24, True, 1)
    after = on_board(before, OnBoard(file_bytes=50_000, program_bytes=100_000, arena_bytes=20_000))
    assert before.fits["chip"].fits and not after.fits["chip"].fits
    assert after.fits["pi4"] == before.fits["pi4"]
    assert (after.fits["chip"].need.flash, after.fits["chip"].need.ram) == (150_000, 20_000 + 16 * KB)
    assert device_rows.verdict(after.fits["chip"]) == "RAM too small"
    assert after.fits["chip"].estimated_ms is None and before.fits["chip"].estimated_ms is not None
    assert [row["Memory"] for row in device_rows.rows(after, before)] == ["measured", "estimated"]
    assert "20.0 KB of arena (measured)" in " ".join(device_rows.details(after.fits["chip"]))


def test_the_program_is_the_interpreter_and_the_kernels_that_the_file_needs():
    assert program_bytes(["CONV_2D", "RESHAPE"]) == CORE + KERNELS["CONV_2D"] + KERNELS["RESHAPE"]
    assert program_bytes(["CUSTOM"]) == CORE + max(KERNELS.values())


@pytest.fixture(scope="module")
def page() -> AppTest:
    return opened(LINK, page="ship/deploy")


def test_the_page_shows_devices_downloads_and_reasons(page):
    assert not page.error
    tables = [table.value for table in page.dataframe]
    assert list(tables[0]["Device"]) == [each.title for each in DEVICES.values()]
    assert set(tables[0]["This file"]) == {"fits"}
    told = " ".join(text.value for text in page.markdown)
    assert "estimate ÷ measured" in told and "Peak activation memory" in told
    assert any("onnxruntime.InferenceSession" in code.value for code in page.code)


def test_an_integer_recipe_is_offered_for_microcontrollers_and_measured(page):
    devices, board = (table.value for table in page.dataframe[:2])
    known = dict(zip(devices["Device"], devices["Memory"], strict=True))
    assert known["Arduino Nano 33 BLE"] == ("measured" if COUNTS_ARENAS else "estimated")
    assert known["Raspberry Pi 4"] == "estimated"
    assert board["Source"][0] == "file measured, program counted"
    assert board[".tflite file"][3].startswith(("99.", "100"))
    assert [b for b in page.get("download_button") if ".tflite" in str(b.proto)]
    page.button("board.write").click().run()
    assert not page.error and not page.exception
    assert [b for b in page.get("download_button") if "board.zip" in str(b.proto)]


def test_a_recipe_of_floats_is_told_why_there_is_no_such_file():
    page = opened({**LINK, "quantize.activation_bits": "32"}, page="ship/deploy")
    assert any("keeps activations as floats" in caption.value for caption in page.caption)
    assert not [b for b in page.get("download_button") if ".tflite" in str(b.proto)]


def test_another_language_shows_other_lines(page):
    page.selectbox("deploy.language").set_value("C++").run()
    assert any("Ort::Session" in code.value and "1, 1, 8, 8" in code.value for code in page.code)


def test_a_file_that_takes_pictures_is_offered_with_lines_that_open_one(page):
    assert page.selectbox("deploy.language").options[0] == "Python, a photo"
    page.selectbox("deploy.language").set_value("Python, a photo").run()
    (lines,) = (code.value for code in page.code if "Image.open" in code.value)
    assert ".pixels.onnx" in lines and "resize((8, 8), Image.Resampling.BILINEAR)" in lines
    assert "print(classes[scores.argmax()])" in lines
    (key,) = (b.key for b in page.button if str(b.key).startswith("files.pixels."))
    page.button(key).click().run()
    assert not page.error and not page.exception
    assert [b for b in page.get("download_button") if ".pixels.onnx" in str(b.proto)]


def report_of(page, name):
    """As `probe.py` writes it, but for its numbers."""
    run = state.store().run(page.multiselect("probe.runs").value[0])
    pace = {
        "threads": 1, "pairs": 20, "warm_up": 2, "p50_ms": 7.0, "p90_ms": 7.0, "p95_ms": 7.0, "p99_ms": 8.0,
        "baseline_p50_ms": 14.0, "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6, "drift": 0.0,
    }  # fmt: skip
    report = {
        "format": probe.FORMAT, "version": 1, "data_fingerprint": run.subject.data_fingerprint, "n_test": run.n_test,
        "images": 200, "files": [{"sha256": run.file_hash, "latency": [pace]}],
        "machine": {"id": "0" * 12, "name": name, "cpu": "x", "cores": 4, "system": "y", "onnxruntime": "1.20"},
    }  # fmt: skip
    return json.dumps(report).encode()


def test_another_machine_gets_a_zip_and_its_report_comes_back(page):
    """Then Explore shows that machine's milliseconds."""
    button = next(b for b in page.button if b.label == "Prepare probe.zip")
    button.click().run()
    assert not page.error and not page.exception
    assert any("probe.zip" in str(b.proto) for b in page.get("download_button"))
    content = report_of(page, "*Pi* <b>4")
    page.file_uploader(key="probe.report").upload("report.json", content, "application/json").run()
    assert [each.value for each in page.success] == [r"\*Pi\* \<b>4: results for 1 run added."]
    known = next(each for each in state.store().probes.machines() if each.machine.name == "*Pi* <b>4")
    explore = opened({**LINK, "machine": known.key})
    assert explore.selectbox(key="machine").value == known.key
    assert explore.query_params["machine"] == known.key
    state.store().probes.forget(known.key)


@pytest.mark.usefixtures("page")
def test_a_report_is_received_by_a_one_time_link(tmp_path, monkeypatch):
    """No port is open before the button; what `probe.py --send` brings lands on the run, and the port is closed."""
    monkeypatch.setattr(receive, "addresses", lambda: [LOOPBACK])
    page = opened(LINK, page="ship/deploy")
    (tmp_path / "report.json").write_bytes(report_of(page, "Board by link"))
    assert not [code for code in page.code if "--send" in code.value]
    page.button(key="receive.open").click().run()
    [command] = [code.value for code in page.code if "--send" in code.value]
    assert any("for one report, for 10 more minutes at most" in each.value for each in page.info)
    page.button(key="receive.stop").click().run()
    assert not [code for code in page.code if "--send" in code.value]
    page.button(key="receive.open").click().run()
    [again] = [code.value for code in page.code if "--send" in code.value]
    assert again != command
    for said, status in ((command, 1), (again, 0)):
        sent = [sys.executable, probe_py.__file__, *shlex.split(said)[2:], "--report", str(tmp_path / "report.json")]
        assert subprocess.run(sent, timeout=120).returncode == status
    page.run()
    assert not page.exception and not page.error
    assert [each.value for each in page.success] == ["Board by link: results for 1 run added."]
    known = next(each for each in state.store().probes.machines() if each.machine.name == "Board by link")
    next(b for b in page.button if b.label == "Show these latencies on the charts").click().run()
    assert page.query_params["machine"] == known.key
    state.store().probes.forget(known.key)


def test_an_app_with_a_team_offers_no_port(page, monkeypatch):
    monkeypatch.setattr(receive, "has_team", lambda: True)
    page.run()
    assert page.file_uploader(key="probe.report") and not page.exception
    assert not [each for each in page.button if each.key == "receive.open"]


@pytest.mark.parametrize("without", [(), (("*one*", "no form."), ("two", "no [form](x)."))])
def test_runs_without_a_tflite_file_are_named(without):
    def draw(without):
        from pages.ui.ship import probe

        probe.left_out(without)

    shown = AppTest.from_function(draw, kwargs={"without": without}).run()
    told = [r"Without a .tflite file: \*one\* (no form); two (no \[form\](x))."] if without else []
    assert [each.value for each in shown.caption] == told


@pytest.mark.usefixtures("page")
def test_a_run_that_is_gone_is_none_to_measure_elsewhere():
    again = opened(LINK, page="ship/deploy", session={"probe.runs": ["gone"]})
    assert not again.error
    assert again.multiselect("probe.runs").value == []
    assert any("Choose at least one run" in caption.value for caption in again.caption)
