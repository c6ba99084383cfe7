"""What ARCHITECTURE.md promises about the sources, read from the sources."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import compression

ROOT = Path(__file__).resolve().parent.parent
ENGINE = sorted((ROOT / "compression").rglob("*.py"))
PAGES = sorted((ROOT / "pages").rglob("*.py"))

# From the bottom up. A module or package of `compression` imports only what stands in a line above its own.
LAYERS = (
    ("errors",),
    ("engine", "processor", "processes", "home", "whole", "documents"),
    ("rounding", "link_defaults", "confined", "decisions", "runtime"),
    ("steps", "grids"),
    ("recipe", "results", "views"),
    ("presets", "energy", "foresight", "reference", "snippets"),
    ("data", "graph", "parametrizations"),
    ("patches",),
    ("solve", "ranges", "losses"),
    ("codebooks", "kept_moments"),
    ("gradual", "lifting", "padding"),
    ("agreement", "scatters", "regions", "recomposition"),
    ("functionalization",),
    ("pt2", "tracing"),
    ("export", "training"),
    ("verification",),
    ("teachers",),
    ("distillation",),
    ("zoo", "calibration"),
    ("maker",),
    ("structure", "sparsity", "fit", "equalize"),
    ("allotment",),
    ("methods", "reconstruct"),
    ("measure",),
    ("bookkeeping",),
    ("devices",),
    ("deployment",),
    ("pipeline", "store"),
    ("sensitivity", "inspection"),
    ("worker",),
    ("compare",),
    ("insight", "choosing", "students", "long_work"),
    ("cluster", "news"),
    ("keeper",),
    ("long_jobs",),
    ("jobs", "lessons"),
    ("console",),
    ("cli_store", "cli_machine", "cli_inputs"),
    ("cli_zoo",),
    ("cli",),
    ("__main__",),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}

STANDARD_COMPRESSION = {"_common", "bz2", "gzip", "lzma", "zlib", "zstd"}
PICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CATCH_ALL = {"tracing.py"}  # torch.export raises dozens of types; each means that the network cannot be traced
NO_CONCEPT = {"utils", "util", "helpers", "helper", "common", "misc"}


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


@pytest.mark.parametrize("path", [path for path in ENGINE if unit(path) != "__init__"], ids=named)
def test_imports_run_downward(path):
    assert unit(path) in HEIGHT, f"give {unit(path)} a place in LAYERS"
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("compression.")}
    upward = {part for part in parts - {unit(path)} if HEIGHT[part] >= HEIGHT[unit(path)]}
    assert not upward


@pytest.mark.parametrize("path", ENGINE, ids=named)
def test_engine_knows_no_user_interface(path):
    assert {name.split(".")[0] for name in imports(path)}.isdisjoint({"streamlit", "pages", "app", "plotly"})


@pytest.mark.parametrize("path", sorted((ROOT / "compression" / "methods").glob("*.py")), ids=named)
def test_no_technique_imports_another(path):
    others = {name for name in imports(path) if name.startswith("compression.methods.")}
    assert path.name == "__init__.py" or not others


@pytest.mark.parametrize("path", ENGINE + PAGES, ids=named)
def test_nothing_is_pickled(path):
    """`torch.load` only with weights_only=True; of a pickling module nothing but its exceptions."""
    used = {name for name in called(path) | set(imports(path)) if name.split(".")[0] in PICKLERS and "." in name}
    assert {name for name in used if not name.endswith("Error")} == set()
    assert "torch.save" not in called(path)
    loads = [node for node in nodes(path) if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"]
    assert all("weights_only=True" in ast.unparse(node) for node in loads)


@pytest.mark.parametrize(
    "path", [path for path in ENGINE if unit(path) not in {"cli", "cli_machine", "cli_store", "console"}], ids=named
)
def test_engine_neither_prints_nor_swallows(path):
    assert "print" not in called(path)
    handlers = [node for node in nodes(path) if isinstance(node, ast.ExceptHandler)]
    caught = {ast.unparse(handler.type) if handler.type else "everything" for handler in handlers}
    assert path.name in CATCH_ALL or caught.isdisjoint({"everything", "Exception", "BaseException"})


def test_no_session_tells_its_maker():
    """ONNX Runtime's telemetry is switched off where sessions are made."""
    makers = [path for path in ENGINE if any(call.endswith(".InferenceSession") for call in called(path))]
    assert makers
    for path in makers:
        through = (
            imports(path) if "ort.disable_telemetry_events" not in called(path) else ["compression.runtime.session"]
        )
        assert set(through) & {"compression.runtime.session", "compression.export.session.session"}, path
    assert "ort.disable_telemetry_events()" in (ROOT / "compression" / "runtime.py").read_text().splitlines()


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_pages_do_not_compute(path):
    assert {name.split(".")[0] for name in imports(path)}.isdisjoint({"torch", "onnx", "onnxruntime", "torchvision"})
    assert path.parent.name == "state" or "session_state" not in path.read_text()


def test_no_page_directly_in_pages():
    """Streamlit runs `pages/*.py` without app.py on a cold deep link."""
    assert not list((ROOT / "pages").glob("*.py"))


def test_every_file_is_named_after_a_concept():
    assert not [named(path) for path in ENGINE + PAGES if path.stem in NO_CONCEPT]


def test_standard_package_is_not_shadowed():
    assert {unit(path) for path in ENGINE}.isdisjoint(STANDARD_COMPRESSION)


def test_public_list():
    assert compression.__all__ == ["Measurement", "Recipe", "compress", "load_dataset", "load_model", "measure_file"]


@pytest.mark.parametrize("name", compression.__all__)
def test_public_names_resolve(name):
    assert callable(getattr(compression, name))


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        compression.nonsense  # noqa: B018
