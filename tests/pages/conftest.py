"""The engine that the pages ask."""

from collections.abc import Iterator

import pytest

from compression.jobs.lab import Lab
from pages.ui import state


@pytest.fixture(scope="package", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whichever engine a page of these tests starts takes turns with nobody else, and ends with them.

    Its workers know the folder of their locks from the variable that they are started with; the tests of other folders
    need that as it was, and nothing that still computes.
    """
    begun, start = list[Lab](), Lab.__init__

    def started(lab: Lab) -> None:
        begun.append(lab)
        start(lab)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))
        patch.setattr(Lab, "__init__", started)
        yield
        for lab in begun:
            if not lab._closing.is_set():
                lab.close()
        state.lab.clear()
