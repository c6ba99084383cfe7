"""A dataset as a network takes it: its pictures made by the network's preprocessing, normalised as it was trained."""

from collections.abc import Mapping
from dataclasses import replace

from compression import data
from compression.data import Dataset
from compression.data.preparing import Progress, Stop
from compression.models.model_cards import Card
from compression.models.opening import Opened


def images_for(
    network: Card | Opened, dataset: str, corrections: Mapping[str, str] | None = None, *,
    progress: Progress | None = None, stop: Stop | None = None,
) -> Dataset:  # fmt: skip
    """The images of `dataset` for a network with a card, or one that was opened.

    `corrections` say which class is which output, see `data.class_names.match`. Raises what `data.load` and
    `data.for_outputs` raise, and `InvalidSetting` for another number of channels than the preprocessing makes.
    """
    made, shape = network.preprocess, network.input_shape
    loaded = data.load(dataset, made, size=shape[1:] if shape else None, progress=progress, stop=stop)
    if shape:
        loaded = loaded.with_channels(shape[0])
    mean, std = (made.mean, made.std) if made else _statistics(network, loaded)
    loaded = data.corrected(replace(loaded, mean=mean, std=std, given=True, preprocess=made), corrections or {})
    return data.for_outputs(loaded, network.classes, network.class_names) if network.classes else loaded


def _statistics(network: Card | Opened, loaded: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Those on a card; of a file that tells none, the images' own."""
    return (network.mean, network.std) if isinstance(network, Card) else (loaded.mean, loaded.std)
