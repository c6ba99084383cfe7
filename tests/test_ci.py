"""What is run before a change lands: make test, browser tests that failed once more, make check, some slow tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compression.jobs.cluster import ROOT

MAKEFILE = """test:
\t@{python} -m pytest -W ignore -p xdist.plugin $(ARGS)
check:
\t@{check}
"""
OPTIONS = """[pytest]
testpaths = tests
markers = slow
addopts = -ra -q -m "not slow"
"""
PASSING, FAILING = "def test_it():\n    pass\n", "def test_it():\n    assert False, 'always'\n"
ONCE = """from pathlib import Path

def test_it():
    again, seen = Path("seen"), Path("seen").exists()
    again.touch()
    assert seen, "the first time"
"""


SLOW = """import pytest, time

@pytest.mark.slow
@pytest.mark.parametrize("case", range(25))
def test_slowly(case):
    {line}
"""


def run(folder: Path, other: str, browser: str, *, slow: str = "pass", check: str = "true", **env: str):
    """Exit code and output of .ci/run in a project with two tests, 25 slow ones that do `slow`, and a `check`."""
    files = {"Makefile": MAKEFILE.format(python=sys.executable, check=check), "pytest.ini": OPTIONS}
    files |= {"tests/test_other.py": other, "tests/browser/test_page.py": browser}
    files |= {"tests/test_slow.py": SLOW.format(line=slow), "tests/conftest.py": (ROOT / "tests/tenth.py").read_text()}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    alone |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **env}  # but for xdist, which takes .ci/run's -n
    done = subprocess.run(
        [folder / ".ci/run"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=alone, timeout=120
    )
    return done.returncode, done.stdout


def closing(said: str) -> list[str]:
    """The lines that pytest closed with, without the times."""
    return [line.split(" in ")[0] for line in said.splitlines() if re.match(r"\d+ (passed|failed|error)", line)]


def test_what_passes_runs_once_and_three_of_the_slow_tests_with_it(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, PASSING)
    assert code == 0
    assert closing(said) == ["2 passed, 25 deselected", "3 passed, 24 deselected", "2 passed, 25 deselected"]
    assert said.splitlines()[-1].startswith("2 passed, 25 deselected in ")


def test_what_calls_it_changes_nothing(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, PASSING, MAKELEVEL="1", MAKEFLAGS=" -- ARGS=nothing.py", ARGS="nothing.py")
    assert code == 0
    assert said.splitlines()[-1].startswith("2 passed, 25 deselected in ")


def test_what_fails_in_the_check_fails(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, PASSING, check="false")
    assert code != 0
    assert closing(said)[1] == "3 passed, 24 deselected"  # what else there is to say is said
    assert said.splitlines()[-1] == "FAILED: make check"


def test_a_slow_test_that_fails_fails(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, PASSING, slow="assert False")
    assert code != 0
    assert closing(said)[1] == "3 failed, 24 deselected"
    assert said.splitlines()[-1] == "FAILED: the tenth of the slow tests"


def test_slow_tests_that_take_too_long_fail(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, PASSING, slow="time.sleep(60)", SLOW_SECONDS="5")
    assert code != 0
    assert said.splitlines()[-1] == "FAILED: the tenth of the slow tests, not done after 5 s"


def test_another_seed_chooses_other_slow_tests_and_the_same_seed_the_same(tmp_path: Path) -> None:
    chosen = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        _, said = run(tmp_path / name, PASSING, PASSING, slow="assert False", SEED=seed)
        assert f'make test ARGS="-m slow --tenth {seed}"' in said
        chosen.append(set(re.findall(r"^FAILED (tests/test_slow.py::\S+)", said, re.MULTILINE)))
    assert chosen[0] == chosen[1] != chosen[2]
    assert [len(each) for each in chosen] == [3, 3, 3]


def test_a_browser_test_that_passes_the_second_time_is_flaky(tmp_path: Path) -> None:
    code, said = run(tmp_path, PASSING, ONCE)
    assert code == 0
    assert said.splitlines()[-1] == "FLAKY tests/browser/test_page.py::test_it"
    assert closing(said) == [
        "1 failed, 1 passed, 25 deselected", "1 passed", "3 passed, 24 deselected",
        "1 failed, 1 passed, 25 deselected",
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
