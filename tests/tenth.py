"""A seeded tenth of the slow tests: `pytest -m slow --tenth SEED`."""

import hashlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tenth", metavar="SEED", help="of the tests marked slow only a tenth, chosen by SEED")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out nine tenths of the slow tests; one at least stays."""
    seed = config.getoption("tenth")
    if seed is None:
        return
    slow = sorted(
        (item for item in items if item.get_closest_marker("slow")),
        key=lambda item: hashlib.sha256(f"{seed} {item.nodeid}".encode()).digest(),
    )
    left_out = {item.nodeid for item in slow[-(-len(slow) // 10) :]}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]
