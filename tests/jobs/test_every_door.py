"""Every place where a job starts, a file is taken in or something stored changes asks who wants that: all are here."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from compression import jobs
from compression.jobs import permits
from compression.jobs.lab import Lab
from compression.jobs.long_jobs import LongJobs
from compression.store import Store
from compression.store.probes import ProbeBook

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]

ASKING = {
    Lab: {"submit", "submit_idle", "ask", "watch", "small"},
    LongJobs: {"start", "resume", "finish", "cancel", "forget"},
}
"""What has something done. All else that these classes offer only looks, or ends with the program."""

LOOKING = {
    Lab: {"store", "trouble", "devices", "close", "wait_until_idle"},
    LongJobs: {"get", "working", "find", "left", "close"},
}

CALLED = {"check_images", "clear_pictures", "dismiss_network", "keep_uploaded", "limit_pictures", "open_receiver",
          "take_report", "unpack_pictures"}  # fmt: skip
"""Functions of `jobs` that pages call themselves and that take in, change or remove something."""

PERMITS = {
    "check_work",
    "check_question",
    "check_upload",
    "check_owner",
    "check_images",
    "check_maker",
    "check_receiver",
    "can_work",
    "require",
}


def names_in(source: str) -> set[str]:
    """The names of all functions that a piece of source calls."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def asks(what: Any, depth: int = 2) -> bool:
    """Whether a function, or one beside it that it calls, asks for a permit."""
    called = names_in(textwrap.dedent(inspect.getsource(what)))
    if called & PERMITS:
        return True
    beside = vars(inspect.getmodule(what))
    found = [beside[name] for name in called if isinstance(beside.get(name), FunctionType)]
    return depth > 0 and any(asks(each, depth - 1) for each in found)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("kind", ASKING)
def test_whatever_has_something_done_asks_for_a_permit(kind: type) -> None:
    public = {name for name in vars(kind) if not name.startswith("_")}
    assert public - {"long"} == ASKING[kind] | LOOKING[kind]
    for name in ASKING[kind] - {"small"}:
        assert asks(getattr(kind, name)), name
    assert "ask" in names_in(textwrap.dedent(inspect.getsource(Lab.small)))


def test_pages_reach_workers_only_through_what_asks() -> None:
    """No page takes hold of a cluster, a worker or an entry of the queue."""
    hidden = {"_submit_task", "_connected", "_send", "_resume", "_recorder", "connect", "send"}
    for path in PAGES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & hidden
        assert not found, path
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(name.startswith("compression.jobs.") for name in modules), path


def test_functions_that_pages_call_themselves_ask_for_a_permit() -> None:
    called = {
        call.func.attr
        for path in PAGES for call in calls(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "jobs"
    }  # fmt: skip
    reading = {"picture_usage", "softmax"}
    assert called & set(jobs.__all__) == CALLED | reading
    for name in CALLED:
        assert asks(getattr(jobs, name)), name


def test_every_file_that_pages_take_in_goes_through_a_door_that_counts_it() -> None:
    """Where there is a widget for files, or one that tells what a browser found out, is written down here."""
    widgets = {"file_uploader", "uploader", "camera_input", "audio_input", "chat_input"}
    doors: dict[str, set[str]] = {
        "pages/ui/page/uploader.py": set(),  # a widget for those that follow
        "pages/ui/bring/network_form.py": {"add_network", "import_network"},
        "pages/ui/bring/images_form.py": {"keep_uploaded", "unpack_pictures"},
        "pages/ui/ship/probe.py": {"take_report"},
    }
    found = {}
    for path in PAGES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if widgets & (names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}):
            found[path.relative_to(ROOT).as_posix()] = tree
    assert set(found) == set(doors)
    for name, tree in found.items():
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert doors[name] <= used, name
    assert {"add_network", "import_network"} == permits.UPLOADS
    assert "take_report" in (ROOT / "pages/ship/browser.py").read_text()


def test_pages_change_nothing_in_the_store_or_the_users_folder_without_asking() -> None:
    guarded = {"annotate", "delete", "favourite", "restore", "_note"}
    reading = {"baseline", "file", "latencies", "layers", "ledger", "place", "machine", "predictions", "probes",
               "run", "runs",
               "machines", "of_run", "times"}  # fmt: skip
    touched: set[str] = set()
    for path in PAGES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (
                "store()",
                "store().probes",
                "lab().store",
            ):
                touched.add(node.attr)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "models":
                assert node.attr in {"OWN", "brought", "title"}, (path, node.attr)
    assert touched <= guarded | reading | {"jobs"}
    assert asks(Store._note) and asks(Store.erase) and asks(ProbeBook.add) and asks(ProbeBook.forget)
    for name in ("favourite", "annotate", "delete", "restore"):
        assert "_note" in names_in(textwrap.dedent(inspect.getsource(getattr(Store, name))))
