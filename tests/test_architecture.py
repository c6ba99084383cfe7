"""What ARCHITECTURE.md promises about the sources, read from the sources."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import compression
from compression import jobs

ROOT = Path(__file__).resolve().parents[1]
ENGINE = sorted((ROOT / "compression").rglob("*.py"))
PAGES = sorted((ROOT / "pages").rglob("*.py"))

# From the bottom up. A package imports only what stands in a line above its own, or left of it.
LAYERS = """
errors language
records host confined team
steps recipe
data network store
solvers training export reference
calibration measure models
techniques
pipeline analysis probing boards
searching
jobs lessons
cli zoo __main__
"""
HEIGHT = {name: height for height, name in enumerate(LAYERS.split())}
PAGE_LAYERS = ("model", "state", "charts", "page", "bring", "explore", "search", "compare", "ship", "lessons")
"""The same for `pages/ui`; its last six import none of each other."""

STANDARD_COMPRESSION = {"_common", "bz2", "gzip", "lzma", "zlib", "zstd"}
PICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CATCH_ALL = {
    "tracing.py",  # torch.export raises dozens of types; each means that the network cannot be traced
    "daemon_thread.py",  # passes on every error to whoever reads the answer
}
SPEAKS = {"cli"}
NO_CONCEPT = {"utils", "util", "helpers", "helper", "common", "misc"}
INTERFACE = {"streamlit", "pages", "app", "plotly"}
ENGINE_LIBRARIES = {"torch", "onnx", "onnxruntime", "torchvision"}


def imports(path: Path) -> Iterator[str]:
    """Full names of everything that a source file imports, wherever in the file."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def called(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}


def unit(path: Path) -> str:
    """The part of `compression` that a file belongs to: 'recipe', 'export', …"""
    return path.relative_to(ROOT / "compression").parts[0].removesuffix(".py")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def packages(path: Path) -> set[str]:
    """The first part of every name that a file imports."""
    return {name.split(".")[0] for name in imports(path)}


def test_imports_run_downward() -> None:
    upward = [
        f"{named(path)} imports {name}"
        for path in ENGINE if unit(path) != "__init__"
        for name in imports(path) if name.startswith("compression.") and name.split(".")[1] != unit(path)
        if HEIGHT[name.split(".")[1]] > HEIGHT[unit(path)]
    ]  # fmt: skip
    assert upward == []


def test_pages_import_downward() -> None:
    height = {name: min(i, 4) for i, name in enumerate(PAGE_LAYERS)}
    upward = [
        f"{named(path)} imports {name}"
        for path in PAGES if path.is_relative_to(ROOT / "pages" / "ui")
        for name in imports(path) if name.startswith("pages.ui.") and name.split(".")[2] != (own := path.parts[-2])
        if height[name.split(".")[2]] >= height[own]
    ]  # fmt: skip
    assert upward == []


def test_the_engine_knows_no_interface_and_pages_do_not_compute() -> None:
    assert [named(path) for path in ENGINE if packages(path) & INTERFACE] == []
    assert [named(path) for path in PAGES if packages(path) & ENGINE_LIBRARIES] == []
    state = ROOT / "pages" / "ui" / "state"
    assert [named(p) for p in PAGES if p.parent != state and "session_state" in p.read_text()] == []


def test_fragments_draw_in_containers_of_their_own() -> None:
    assert [named(path) for path in PAGES if "st.fragment" in called(path)] == ["pages/ui/page/fragment.py"]


def test_pages_reach_workers_through_the_public_names_of_jobs() -> None:
    """No page imports a module of `compression.jobs`: only names that the package hands on, no modules."""
    allowed = {"compression.jobs", *(f"compression.jobs.{name}" for name in jobs.__all__)}
    beneath = [
        f"{named(path)} imports {name}"
        for path in PAGES for name in imports(path) if name.startswith("compression.jobs") and name not in allowed
    ]  # fmt: skip
    assert beneath == []
    modules = {path.stem for path in (ROOT / "compression" / "jobs").glob("*.py")}
    assert set(jobs.__all__).isdisjoint(modules)
    assert all(getattr(jobs, name) for name in jobs.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        jobs.nonsense  # noqa: B018


def test_sql_stands_in_the_store_and_workers_do_not_write_to_it() -> None:
    """What runs in workers hands its results to the program that asked; of the store it knows the records alone."""
    sql = [
        named(path)
        for path in (*ENGINE, *PAGES)
        if path.parts[-2] not in ("store", "versions", "migrations") and packages(path) & {"sqlalchemy", "alembic"}
    ]
    assert sql == []
    users = {
        named(path)
        for path in ENGINE if unit(path) != "store"
        for name in imports(path) if name.startswith("compression.store.") and ".records" not in name
    }  # fmt: skip
    writers = {
        "jobs/job.py", "jobs/lab.py", "jobs/permits.py", "jobs/reports.py", "jobs/result_recorder.py", "jobs/search.py",
        "cli/__init__.py", "cli/probe.py", "cli/store.py", "cli/usage.py",
    }  # fmt: skip
    assert users - {f"compression/{name}" for name in writers} == set()


def test_the_modules_of_the_state_import_each_other_in_no_circle() -> None:
    """Imports inside functions and for type checkers count too."""
    package = "pages.ui.state."
    needs = {
        path.stem: {name.removeprefix(package).split(".")[0] for name in imports(path) if name.startswith(package)}
        for path in PAGES if path.parent == ROOT / "pages" / "ui" / "state"
    }  # fmt: skip
    order = tuple(TopologicalSorter(needs).static_order())  # raises CycleError
    assert order.index("server") < order.index("neighbours") < order.index("visit")


def test_pages_have_no_text_that_streamlit_would_show() -> None:
    """Streamlit draws whatever stands alone in a line of a page's script, but for the first text of the file."""
    scripts = [path for path in (*PAGES, ROOT / "app.py") if "ui" not in path.parts]
    alone = [
        f"{named(path)}:{node.lineno}"
        for path in scripts for node in ast.parse(path.read_text()).body[1:]
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call)
    ]  # fmt: skip
    assert len(scripts) > 10 and alone == []


def test_no_technique_imports_another() -> None:
    folder = ROOT / "compression" / "techniques"
    techniques = {path.name for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"}
    crossing = [
        f"{named(path)} imports {name}"
        for path in sorted(folder.glob("*/*.py"))
        for name in imports(path) if name.startswith("compression.techniques.")
        if name.split(".")[2] in techniques - {path.parent.name}
    ]  # fmt: skip
    assert crossing == []


def test_nothing_is_pickled_printed_or_swallowed() -> None:
    """`torch.load` only with weights_only=True; of a pickling module nothing but its exceptions, but where tasks are
    sent to workers.
    """
    for path in ENGINE + PAGES:
        used = {name for name in called(path) | set(imports(path)) if set(name.split(".")[:-1]) & PICKLERS}
        sends = named(path) == "compression/jobs/sending.py"
        assert any(not name.endswith("Error") for name in used) == sends, named(path)
        assert "torch.save" not in called(path), named(path)
        loads = [n for n in nodes(path) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"]
        assert all("weights_only=True" in ast.unparse(node) for node in loads), named(path)
    for path in ENGINE:
        handlers = [node for node in nodes(path) if isinstance(node, ast.ExceptHandler)]
        caught = {ast.unparse(handler.type) if handler.type else "everything" for handler in handlers}
        assert unit(path) in SPEAKS or "print" not in called(path), named(path)
        swallows = not caught.isdisjoint({"everything", "Exception", "BaseException"})
        assert unit(path) in SPEAKS or path.name in CATCH_ALL or not swallows, named(path)


def test_names_and_places() -> None:
    """No page directly in `pages`: Streamlit runs `pages/*.py` without app.py. Packages, each named after a concept."""
    loose = {"errors", "__init__", "__main__"}
    assert not list((ROOT / "pages").glob("*.py"))
    assert not list((ROOT / "pages" / "ui").glob("*.py"))
    assert {path.stem for path in (ROOT / "compression").glob("*.py")} == loose
    assert not [named(path) for path in ENGINE + PAGES if path.stem in NO_CONCEPT]
    assert {unit(path) for path in ENGINE}.isdisjoint(STANDARD_COMPRESSION)


def test_the_public_list() -> None:
    assert compression.__all__ == [
        "Measurement",
        "Recipe",
        "compress",
        "load_dataset",
        "load_model",
        "measure_file",
        "search",
    ]
    assert all(callable(getattr(compression, name)) for name in compression.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        compression.nonsense  # noqa: B018


def test_the_engine_starts_without_what_only_some_need() -> None:
    """These take longer to import than all else together; so does everything that imports the engine, if it does."""
    costly = {"timm", "torchvision", "torch._dynamo", "sympy", "transformers"}
    program = f"import sys, before_compression, compression.pipeline.compress; print({costly} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "set()"
