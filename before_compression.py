"""Import this before the first import from `compression` in every program that starts here.

From Python 3.14 on the standard library has a package `compression` as well (PEP 784: `compression.zstd` and others).
Whoever imported `zipfile` or `shutil` before us (Streamlit, Dask, pytest do) has loaded that one, and
`import compression.recipe` would then search there and fail.

Importing this file puts the project first on `sys.path`. If another package `compression` is loaded already, it is
reloaded: that runs our `compression/__init__.py` inside the module object that is there, so submodules that were
loaded before (`compression.zstd`) and everybody who holds the module keep working. Nothing is dropped, so there is no
moment at which another thread finds it missing.

It also asks OpenMP, before PyTorch loads it, to let waiting threads sleep: by default they spin, and where PyTorch and
ONNX Runtime or other programs take turns on the same cores, that makes everything several times slower. GNU's OpenMP is
to spin a moment first (some ten microseconds), as small operators follow each other: waking a sleeper for each made the
fast setting take twice as long.

Dask's processes import it in their preload, which must be text, not this file: Dask runs a copy of a preload file.
"""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def put_ours_first() -> None:
    """Put the project first on `sys.path` and make a loaded package `compression` ours."""
    sys.path.insert(0, str(ROOT))
    loaded = sys.modules.get("compression")
    if loaded is not None and getattr(loaded, "__file__", None) != str(ROOT / "compression" / "__init__.py"):
        importlib.reload(loaded)


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # where both are known, this one counts
put_ours_first()
