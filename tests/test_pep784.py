"""Our package `compression` beside the standard library's (PEP 784, Python 3.14): both work, in every kind of process.

Older Pythons get a copy of their standard library, made of links, to which 3.14's package `compression` and the imports
of it in zipfile, shutil, bz2, gzip and lzma are added. PYTHONHOME then makes it the standard library of a subprocess
and of everything that the subprocess starts. From 3.14 on the same tests run on the real one.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Set
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = str(ROOT / "compression" / "__init__.py")

IMPORT_ZSTD = "try:\n    from compression import zstd\nexcept ImportError:\n    zstd = None\n"
IMPORT_STREAMS = "from compression._common import _streams as _compression"

PACKAGE = {
    "compression/__init__.py": "",
    "compression/_common/__init__.py": "",
    "compression/_common/_streams.py": "from _compression import BaseStream, DecompressReader\n",
    "compression/bz2.py": "from bz2 import *\n",
    "compression/gzip.py": "from gzip import *\n",
    "compression/lzma.py": "from lzma import *\n",
    "compression/zlib.py": "from zlib import *\n",
    "compression/zstd/__init__.py": "import enum\nfrom compression.zstd._zstdfile import ZstdFile\n",
    "compression/zstd/_zstdfile.py": (
        "import io\nfrom compression._common import _streams\nclass ZstdFile(_streams.BaseStream):\n    pass\n"
    ),
}

# Runs at the end of every process and says what became of the standard library in it.
SITECUSTOMIZE = """
import atexit

def report():
    import json, os, zipfile, shutil, tarfile, compression, compression.zstd
    supported = {
        "zipfile.zstd": zipfile.zstd is compression.zstd,
        "zipfile.bz2": zipfile.bz2 is not None,
        "zipfile.lzma": zipfile.lzma is not None,
        "shutil": bool(getattr(shutil, "_ZSTD_SUPPORTED", getattr(shutil, "zstd", None))),
    }
    with open(os.environ["PEP784_REPORT"], "a") as file:
        file.write(json.dumps({"compression": compression.__file__, "supported": supported}) + "\\n")

atexit.register(report)
"""


def _linked_library(home: Path) -> None:
    """Builds under `home` this Python's standard library as 3.14 would have it; what is not changed is linked."""
    real = Path(os.__file__).parent
    library = home / real.parent.name / real.name
    zipfile_source = Path(zipfile.__file__).relative_to(real)
    sources = {name: (real / name).read_text() for name in ("bz2.py", "gzip.py", "lzma.py", "shutil.py")}
    changed = {name: text.replace("import _compression", IMPORT_STREAMS) for name, text in sources.items()}
    changed["shutil.py"] = sources["shutil.py"].replace("import os\n", IMPORT_ZSTD + "import os\n", 1)
    zipfile_text = (real / zipfile_source).read_text()
    changed[str(zipfile_source)] = zipfile_text.replace("import binascii\n", IMPORT_ZSTD + "import binascii\n", 1)
    if zipfile_source.name == "__init__.py":  # a package from 3.12 on
        shutil.copytree(real / "zipfile", library / "zipfile")
    for name, text in {**changed, **PACKAGE}.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(text)
    _link_missing(real, library)
    _link_missing(real / "__pycache__", library / "__pycache__", skip={Path(name).stem for name in changed})


def _link_missing(source: Path, target: Path, skip: Set[str] = frozenset()) -> None:
    target.mkdir(exist_ok=True)
    for entry in source.iterdir():
        if not (target / entry.name).exists() and entry.name != "__pycache__" and entry.name.split(".")[0] not in skip:
            (target / entry.name).symlink_to(entry)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables of a process whose standard library has a package `compression`, and which reports."""
    folder = tmp_path_factory.mktemp("pep784")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    variables = {**os.environ, "PYTHONPATH": str(folder / "site"), "PEP784_REPORT": str(folder / "report")}
    if sys.version_info < (3, 14):
        _linked_library(folder / "home")
        variables["PYTHONHOME"] = str(folder / "home")
    return variables


def run(environment: dict[str, str], *arguments: str, cwd: Path) -> list[dict]:
    """Runs Python with `arguments`; returns the reports of the processes that this started."""
    report = Path(environment["PEP784_REPORT"])
    report.unlink(missing_ok=True)
    process = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in report.read_text().splitlines()]


def assert_both_work(reports: list[dict]) -> None:
    assert reports
    for report in reports:
        assert report["compression"] == OURS
        assert all(report["supported"].values()), report


def script(text: str) -> str:
    return textwrap.dedent(text).replace("ROOT", repr(str(ROOT)))


def test_standard_library_has_its_own_package(environment, tmp_path):
    (report,) = run(environment, "-c", "pass", cwd=tmp_path)
    assert report["compression"] != OURS
    assert all(report["supported"].values())


@pytest.mark.slow
def test_plain_package_of_that_name_costs_zstd_support(environment, tmp_path):
    """The control: these tests would notice."""
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression" / "__init__.py").touch()
    code = "import os, zipfile; print(zipfile.zstd, zipfile.bz2, file=open('seen', 'w')); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "seen").read_text() == "None None\n"


@pytest.mark.slow
def test_library_when_ours_comes_first(environment):
    code = "import compression, sys; assert 'zipfile' not in sys.modules; compression.compress; compression.Recipe"
    assert_both_work(run(environment, "-c", code, cwd=ROOT))


@pytest.mark.slow
def test_standard_library_alone_in_our_folder(environment):
    """As in `python -m pip` or `python -m venv`, run from the project: only we provide `compression` there."""
    assert_both_work(run(environment, "-c", "import zipfile", cwd=ROOT))


@pytest.mark.slow
def test_library_when_the_standard_one_came_first(environment, tmp_path):
    code = script("""
        import sys, zipfile, compression.zstd
        theirs, zstd = compression, compression.zstd
        sys.path.append(ROOT)
        import before_compression
        from compression.errors import UserError
        import compression
        assert compression is theirs
        assert compression.zstd is zstd is zipfile.zstd is sys.modules["compression.zstd"]
        assert compression.Recipe.__module__ == "compression.recipe"
    """)
    assert_both_work(run(environment, "-c", code, cwd=tmp_path))


def test_command_line(environment):
    assert_both_work(run(environment, "-m", "compression", "--help", cwd=ROOT))


@pytest.mark.slow
def test_command_line_with_torch_loaded(environment):
    assert_both_work(run(environment, "-m", "compression", "zoo", "list", cwd=ROOT))


def test_app(environment, tmp_path):
    """Streamlit loads the standard package long before it runs app.py."""
    code = script("""
        import zipfile, compression
        from streamlit.testing.v1 import AppTest
        assert not compression.__file__.startswith(ROOT)
        app = AppTest.from_file(ROOT + "/app.py", default_timeout=60)
        app.query_params["model"], app.query_params["dataset"] = "lenet300", "digits"
        app.run()
        assert not app.exception, app.exception
    """)
    assert_both_work(run(environment, "-c", code, cwd=tmp_path))


@pytest.mark.slow
def test_worker(environment, tmp_path):
    """The app's own Dask worker, started elsewhere than in the project's folder."""
    code = script("""
        import sys
        sys.path.append(ROOT)
        import before_compression
        from compression.jobs import cluster

        def look():
            import zipfile, compression, compression.zstd
            return compression.__file__, zipfile.zstd is compression.zstd, zipfile.bz2 is not None

        if __name__ == "__main__":
            connection = cluster.connect()
            ours, *supported = connection.client.submit(look).result(timeout=60)
            connection.close()
            assert ours.startswith(ROOT), ours
            assert all(supported)
    """)
    (tmp_path / "start_worker.py").write_text(code)
    run(environment, "start_worker.py", cwd=tmp_path)


def test_importing_ours_loads_nothing_heavy(environment):
    code = "import sys, compression; print(*sys.modules, file=open(sys.argv[1], 'w'))"
    listing = Path(environment["PEP784_REPORT"]).with_name("modules")
    run(environment, "-c", code, str(listing), cwd=ROOT)
    loaded = {name.split(".")[0] for name in listing.read_text().split()}
    assert loaded.isdisjoint({"zipfile", "shutil", "torch", "numpy", "streamlit", "pydantic", "onnx"})
