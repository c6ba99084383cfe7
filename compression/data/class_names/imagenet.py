"""ImageNet's 1,000 classes in the order of networks' outputs, as timm ships them: synset and WordNet's names of each.

Read from timm's data files without importing timm, which would load torch.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

COUNT = 1000
BACKGROUND = "background"
"""The first of 1,001 outputs: networks from TensorFlow have it before ImageNet's classes."""


@cache
def synsets() -> tuple[str, ...]:
    """'n01440764', …: the class of each output. () where timm is not installed."""
    return tuple(_lines("imagenet_synsets.txt"))


@cache
def names() -> dict[str, str]:
    """Each class's names by its synset: 'tench, Tinca tinca'."""
    found = dict(line.split("\t", 1) for line in _lines("imagenet_synset_to_lemma.txt") if "\t" in line)
    return {synset: found[synset].strip('"') for synset in synsets()}


def output_names(count: int) -> tuple[str, ...]:
    """'n01440764 tench, Tinca tinca', … for a network with so many outputs and no names of its own.

    1,000 are taken for ImageNet's in their usual order, 1,001 for the same after 'background'; () for any other number.
    """
    if count not in (COUNT, COUNT + 1) or not synsets():
        return ()
    known = names()
    return (BACKGROUND,) * (count - COUNT) + tuple(f"{synset} {known[synset]}" for synset in synsets())


def _lines(name: str) -> list[str]:
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin).parent / "data" / "_info" / name
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
