"""What the command line is given: recipes, networks and images by name or as files, checked before torch is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression.cli.console import Progress, read_bytes
from compression.errors import InvalidFile, InvalidModel, InvalidRecipe, InvalidSetting, UnknownName
from compression.host.machine_lock import yield_turn
from compression.language import _
from compression.recipe import Recipe
from compression.recipe.presets import PRESETS

if TYPE_CHECKING:
    from torch import nn

    from compression.data import Dataset


def check_known(kind: str, name: str, known: Any) -> None:
    """Raises UnknownName where `name` is not among `known`."""
    if name not in known:
        raise UnknownName(kind, name, known)


def sampled(dataset: str, test_images: int | None, seed: int | None) -> str:
    """The name of a dataset of which so many test images are drawn by a recipe's seed. Raises InvalidSetting."""
    from compression.data.test_samples import TestSample, named

    return dataset if test_images is None else named(dataset, TestSample(test_images, seed or 0))


def check_dataset(name: str, *, folders: bool = False) -> None:
    """Raises UnknownName for a dataset without a name of ours; folder:PATH is one where there may be `folders`."""
    from compression.data import DATASETS
    from compression.data.test_samples import parted

    name = parted(name)[0]
    if not (folders and name.startswith("folder:")):
        check_known("dataset", name, [*DATASETS, "folder:PATH"] if folders else DATASETS)


def pause_for_others() -> bool:
    """Pauses during a latency measurement and, in a training, during a job that a user waits for; returns False."""
    yield_turn()
    return False


def read_recipe(file: Path | None, settings: list[str], seed: int | None, *, preset: str | None = None) -> Recipe:
    """The recipe in `file` or that of the preset, else none, with each KEY=VALUE of `settings` and with `seed`."""
    if file and preset:
        raise InvalidSetting(f"--recipe and --preset cannot be combined: leave out {file} or {preset}.")
    if preset:
        check_known("preset", preset, PRESETS)
    recipe = _recipe_in(file) if file else PRESETS[preset].recipe if preset else Recipe()
    changes: dict[str, Any] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise InvalidSetting(f"--set takes KEY=VALUE, for example prune.sparsity=0.5, not {setting!r}.")
        changes[path.strip()] = value.strip()
    return recipe.with_settings(changes if seed is None else changes | {"seed": seed})


def _recipe_in(file: Path) -> Recipe:
    readers = {".yaml": Recipe.from_yaml, ".yml": Recipe.from_yaml, ".json": Recipe.from_json}
    if file.suffix.lower() not in readers:
        raise InvalidFile(f"A recipe file ends in {', '.join(readers)}, not {file.suffix!r} as in {str(file)!r}.")
    try:
        return readers[file.suffix.lower()](read_bytes(file).decode())
    except UnicodeDecodeError:
        raise InvalidRecipe(f"{str(file)!r} is not a recipe: it is not text in UTF-8.") from None


def load_data(dataset: str, mean: str | None = None, std: str | None = None) -> "Dataset":
    """The dataset, with its normalisation replaced where `mean` or `std` ('0.49,0.48,0.45') are given."""
    from compression import data

    return _normalized(data.load(dataset), mean, std)


def load_inputs(
    model: str, dataset: str, *, weights: Path | None = None, mean: str | None = None, std: str | None = None,
    class_map: Path | None = None, progress: Progress | None = None,
) -> tuple["nn.Module", "Dataset"]:  # fmt: skip
    """A network from any source (see `check_model`), and the dataset's images made as it takes them.

    `class_map` is a CSV that says which class is which output; see `class_names.read_corrections`.
    """
    from compression import data as datasets
    from compression import models
    from compression.data.class_names import read_corrections
    from compression.models.images import images_for

    check_model(model, weights)
    said = read_corrections(class_map) if class_map else {}
    if is_exported(model) or model in models.ARCHITECTURES:
        data = datasets.corrected(load_data(dataset, mean, std), said)
        return load_model(model, data, weights), data
    if is_own(model):
        network, known = models.network(model, models.OWN), models.card(model, models.OWN)
        return network, _normalized(images_for(known, dataset, said), mean, std)
    opened = models.open_source(model, weights=weights, progress=progress)
    return opened.network, _normalized(images_for(opened, dataset, said), mean, std)


def load_images(model: str, dataset: str, mean: str | None, std: str | None) -> "Dataset":
    """The dataset's images made as the network takes them that is called `model` in the list."""
    from compression import models
    from compression.models.images import images_for

    check_known(_("network of your own"), model, [card.model for card in models.brought()])
    return _normalized(images_for(models.card(model, models.OWN), dataset), mean, std)


def _normalized(images: "Dataset", mean: str | None, std: str | None) -> "Dataset":
    from compression import data

    return data.normalized(images, mean, std, titles=("--mean", "--std"))


def load_model(model: str, data: "Dataset", weights: Path | None = None) -> "nn.Module":
    """A zoo network with its stored weights or those of `weights`, or the network in FILE.pt2."""
    from compression import confined, models
    from compression.models import loading
    from compression.network import pt2

    check_model(model, weights)
    if is_exported(model):
        confined.attempt("pt2", Path(model), input_shape=list(data.input_shape))
        return pt2.load_pt2(model)
    if not weights:
        return models.load(model, data.name)
    return loading.read_fitting(model, weights, data)


def check_model(model: str, weights: Path | None) -> None:
    """Refuses what cannot be loaded, without loading torch."""
    from compression.models import ARCHITECTURES
    from compression.models.foreign_files import format_of
    from compression.models.sources import parse

    source = parse(model)
    if source.kind == "name" and not is_own(model):
        check_known("model", model, [*ARCHITECTURES, *_own(), "torchvision:NAME", "timm:NAME", "FILE.onnx", "FILE.pt2"])
    if weights and (source.kind == "file" or is_own(model)):
        raise InvalidModel(f"--weights needs a network given by name; {model!r} has its own weights.")
    if source.kind == "file":
        format_of(source.path)
    if weights and not weights.is_file():
        raise InvalidFile(f"There is no file {str(weights)!r}.")


def _own() -> list[str]:
    from compression.models import brought

    return [card.model for card in brought()]


def is_own(model: str) -> bool:
    """Whether a model is one of the user's list."""
    return model in _own()


def is_exported(model: str) -> bool:
    """Whether a model is a file that torch.export saved."""
    return model.lower().endswith(".pt2")
