"""Each of a dozen small faults in the engine and in the pages turns a test red."""

from pathlib import Path

import pytest

from compression.jobs.cluster import ROOT
from tests import seeded_faults
from tests.seeded_faults import FAULTS, Fault

TITLES = [fault.title for fault in FAULTS]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeded_faults.copied(tmp_path_factory.mktemp("faults") / "project")


@pytest.mark.parametrize("fault", FAULTS, ids=TITLES)
def test_every_fault_names_a_line_of_today(fault: Fault) -> None:
    assert seeded_faults.place(fault, ROOT).is_file()


def test_a_line_that_is_gone_is_said_to_be() -> None:
    gone = Fault("A fault", "compression/records", "no such line", "", "tests")
    with pytest.raises(LookupError, match=r"'no such line' stands 0 times in compression/records, not once"):
        seeded_faults.place(gone, ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=TITLES)
def test_a_fault_turns_a_test_red(fault: Fault, copy: Path) -> None:
    assert seeded_faults.found_by(fault, copy)
