"""Repositories of networks that timm builds: their configuration read as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compression.errors import InvalidFile, InvalidModel, Unsupported, shown
from compression.models import downloads
from compression.models.downloads import Progress, Stop
from compression.models.libraries import Remote, library
from compression.records.documents import read_json
from compression.records.preprocess import Preprocess

CONFIGURATION = "config.json"
MOST_CLASSES = 100_000
MOST_NAMES = 30_000
"""Class names that are taken from a configuration."""


@dataclass(frozen=True)
class Repository:
    """What a repository's configuration tells."""

    architecture: str
    arguments: Mapping[str, Any]
    classes: int
    preprocess: Preprocess | None
    class_names: tuple[str, ...]
    licence: str
    remote: Remote


def read_repository(name: str, *, progress: Progress | None = None, stop: Stop | None = None) -> Repository:
    """What there is in OWNER/NAME[@REVISION]. Raises `WeightsUnavailable`, `InvalidFile` for a configuration that is
    none of timm's, and `Unsupported` for a network that is no classifier or asks for settings of its own."""
    path = downloads.download(remote(name, CONFIGURATION), progress=progress, stop=stop)
    try:
        found = read_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        path.unlink(missing_ok=True)
        raise InvalidFile(f"The configuration of {name} is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidFile(f"The configuration of {name} is {shown(found)}, not timm's.")
    return _repository(name, found)


def remote(repository: str, file: str) -> Remote:
    """A file of a repository."""
    from huggingface_hub import hf_hub_url

    owner, _, revision = repository.partition("@")
    return Remote(hf_hub_url(owner, file, revision=revision or None), f"{repository.replace('/', '--')}--{file}")


def _repository(name: str, found: dict[str, Any]) -> Repository:
    from compression.models.libraries import timm_models

    known = found.get("pretrained_cfg") if isinstance(found.get("pretrained_cfg"), dict) else found
    assert isinstance(known, dict)
    architecture = found.get("architecture", known.get("architecture"))
    if not isinstance(architecture, str) or architecture not in library("timm").architectures():
        raise Unsupported(
            f"{name} holds {shown(architecture)}, which timm {timm_models.timm.__version__} does not build; a "
            "repository with timm's configuration is needed, or an .onnx file."
        )
    classes = found.get("num_classes", known.get("num_classes"))
    if not isinstance(classes, int) or not 2 <= classes <= MOST_CLASSES:
        raise Unsupported(f"{name} is not a classifier: it has {shown(classes)} classes.")
    arguments = _arguments(name, found.get("model_args"))
    plain = {key: value for key, value in known.items() if key in _READ} | {"num_classes": classes}
    return Repository(
        architecture, arguments, classes, _preprocess(name, plain), _names(found, known, classes),
        str(known.get("license") or "")[:200], remote(name, timm_models.WEIGHTS_FILE),
    )  # fmt: skip


_READ = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")


def _arguments(name: str, given: Any) -> dict[str, Any]:
    from compression.models.libraries.timm_models import ARGUMENTS

    given = given or {}
    if not isinstance(given, dict):
        raise InvalidFile(f"The configuration of {name} gives model_args {shown(given)}, not a table.")
    others = [key for key in given if key not in (*ARGUMENTS, "num_classes", "in_chans")]
    if others or given.get("in_chans", 3) not in (1, 3):
        raise Unsupported(
            f"{name} asks for its network with {shown(others[0] if others else 'in_chans')}; of the settings of a "
            f"network, {', '.join(ARGUMENTS)} are read. Export it to ONNX."
        )
    for key in ARGUMENTS:
        if key in given and not _is_plain(given[key]):
            raise InvalidFile(f"The configuration of {name} gives {key} {shown(given[key])}.")
    return {key: given[key] for key in ARGUMENTS if key in given}


def _is_plain(value: Any) -> bool:
    sides = value if isinstance(value, list) else [value]
    numbers = len(sides) <= 2 and all(type(side) is int and 8 <= side <= 1024 for side in sides)
    return numbers or (isinstance(value, str) and value in ("avg", "max", "avgmax", "catavgmax", "token", "map", ""))


def _preprocess(name: str, known: dict[str, Any]) -> Preprocess | None:
    from compression.models.libraries import timm_models

    try:
        return timm_models.preprocess_of(known)
    except (TypeError, ValueError, KeyError, AssertionError, ZeroDivisionError, OverflowError) as error:
        raise InvalidModel(f"The configuration of {name} specifies no preprocessing: {error}.") from None


def _names(found: dict[str, Any], known: dict[str, Any], classes: int) -> tuple[str, ...]:
    """The classes' names in a configuration; () where there are none, or not as many as classes."""
    names = found.get("label_names", known.get("label_names", known.get("labels")))
    told = found.get("label_descriptions", known.get("label_descriptions"))
    if not isinstance(names, list) or len(names) != classes or classes > MOST_NAMES:
        return ()
    if not all(isinstance(name, str) for name in names):
        return ()
    return tuple(str(told.get(n, n))[:200] for n in names) if isinstance(told, dict) else tuple(n[:200] for n in names)
