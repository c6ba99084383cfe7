"""Datasets by name or from a folder, their splits, and the augmentation of batches.

Importing this package is cheap: torch is loaded when images are, not when names are listed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compression.data.catalog import DATASETS, DatasetSpec
from compression.host.folders import user_folder

if TYPE_CHECKING:
    from compression.data.archives import added_folders, title_of
    from compression.data.augmentation import Augmentation
    from compression.data.dataset import Dataset, Split
    from compression.data.loading import edition, fetch, is_labelled, load
    from compression.data.normalization import normalized
    from compression.data.outputs import class_map, corrected, for_outputs, names_of

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "DatasetSpec",
    "Split",
    "added_folders",
    "class_map",
    "corrected",
    "edition",
    "fetch",
    "for_outputs",
    "is_labelled",
    "load",
    "names_of",
    "normalized",
    "title_of",
    "user_folder",
]  # fmt: skip

_HOMES = {
    "added_folders": "archives",
    "title_of": "archives",
    "Augmentation": "augmentation",
    "Dataset": "dataset",
    "Split": "dataset",
    "class_map": "outputs",
    "corrected": "outputs",
    "edition": "loading",
    "fetch": "loading",
    "for_outputs": "outputs",
    "is_labelled": "loading",
    "load": "loading",
    "names_of": "outputs",
    "normalized": "normalization",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
