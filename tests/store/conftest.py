"""What tests of the store share."""

from collections.abc import Iterator

import pytest

from tests.postgres import server


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of the test's own."""
    with server() as address:
        yield address
