"""Compression Lab's engine: shrink a classifier and measure the ONNX file that comes out.

The public list is `__all__`; everything in it is imported when it is first used.

From Python 3.14 on the standard library has a package `compression` as well (PEP 784). Ours adds the standard one to
its own search path, so `compression.zstd` resolves as ever. That is also why nothing may be imported eagerly here:
`import zipfile` runs this file half-way through, and whatever imports `zipfile` in turn would find it half loaded and
would quietly do without zstd. See `before_compression.py` for the programs in which the standard one came first.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compression.data import load as load_dataset
    from compression.jobs.search import search
    from compression.models import load_model
    from compression.pipeline.compress import compress
    from compression.pipeline.measuring import measure_file
    from compression.recipe import Recipe
    from compression.records.measurement import Measurement

__all__ = ["Measurement", "Recipe", "compress", "load_dataset", "load_model", "measure_file", "search"]

__path__ = extend_path(__path__, __name__)

_HOMES = {
    "Measurement": ("compression.records.measurement", "Measurement"),
    "Recipe": ("compression.recipe", "Recipe"),
    "compress": ("compression.pipeline.compress", "compress"),
    "load_dataset": ("compression.data", "load"),
    "load_model": ("compression.models", "load_model"),
    "measure_file": ("compression.pipeline.measuring", "measure_file"),
    "search": ("compression.jobs.search", "search"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home (PEP 562). Raises AttributeError for every other name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
