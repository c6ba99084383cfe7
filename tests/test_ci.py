"""What is run before a change lands: make test, and browser tests that failed once more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compression.jobs.cluster import ROOT

MAKEFILE = """test:
\t@{python} -m pytest -ra -q -W ignore -p xdist.plugin $(ARGS)
"""
PASSING, FAILING = "def test_it():\n    pass\n", "def test_it():\n    assert False, 'always'\n"
ONCE = """from pathlib import Path

def test_it():
    again, seen = Path("seen"), Path("seen").exists()
    again.touch()
    assert seen, "the first time"
"""


def run(folder: Path, other: str, browser: str) -> tuple[int, str]:
    """Exit code and output of .ci/run in a project with two tests."""
    files = {"Makefile": MAKEFILE.format(python=sys.executable), "pytest.ini": "[pytest]\ntestpaths = tests\n"}
    files |= {"tests/test_other.py": other, "tests/browser/test_page.py": browser}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    alone["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # but for xdist, which takes .ci/run's -n
    done = subprocess.run([folder / ".ci/run"], capture_output=True, text=True, env=alone, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_what_passes_runs_once(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, PASSING)
    assert code == 0
    assert said.splitlines()[-1].startswith("2 passed in ")


def test_a_browser_test_that_passes_the_second_time_is_flaky(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, ONCE)
    assert code == 0
    assert said.splitlines()[-1] == "FLAKY tests/browser/test_page.py::test_it"
    assert [line.split(" in ")[0] for line in said.splitlines() if " passed" in line] == [
        "1 failed, 1 passed", "1 passed", "1 failed, 1 passed",
    ]  # fmt: skip
    assert said.count("AssertionError: the first time") >= 2  # when it failed, and with what is flaky


@pytest.mark.parametrize(
    ("other", "browser", "runs"), [(PASSING, FAILING, 2), (FAILING, ONCE, 1), (FAILING, PASSING, 1)]
)
def test_what_fails_twice_or_outside_the_browser_fails(tmp_path: Path, other: str, browser: str, runs: int) -> None:
    code, said = run(tmp_path, other, browser)
    assert code != 0
    assert "FLAKY" not in said
    assert said.count("1 failed") + said.count("2 failed") == runs


def test_tests_that_cannot_be_run_fail(tmp_path: Path) -> None:
    code, said = run(tmp_path, "import nothing_of_this_name\n", PASSING)
    assert code != 0
    assert "once more" not in said
