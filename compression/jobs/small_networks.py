"""Small networks as they are: the fp32 files of the zoo's networks, trained plainly or by a teacher, each measured.

What is trained by a teacher lies in the user's folder `from-TEACHER`; its runs have `from-TEACHER` for their weights.
"""

from typing import NamedTuple

from compression.data import DATASETS
from compression.jobs import outcomes, worker
from compression.jobs.messages import Outcome, Refusal, Request
from compression.models import ARCHITECTURES
from compression.models.model_cards import card_path, check_names, read, user_weights
from compression.recipe import Recipe
from compression.store.records import Subject

PREFIX = "from-"
"""How the weights' name of a student begins in the store."""


class SmallNetwork(NamedTuple):
    """A network with weights: `teacher` is '' where it learned from the labels alone; `sha256` is of the weights."""

    model: str
    teacher: str
    sha256: str


def trained_networks(dataset: str) -> list[SmallNetwork]:
    """The networks of the zoo that have weights for a dataset: plain ones first, then students by teacher."""
    if dataset not in DATASETS:
        return []
    plain = [("", card_path(model, dataset)) for model in ARCHITECTURES]
    folders = sorted(path for path in user_weights().glob(f"{PREFIX}*") if path.is_dir())
    taught = [
        (folder.name.removeprefix(PREFIX), folder / f"{model}-{dataset}.json")
        for folder in folders
        for model in ARCHITECTURES
    ]
    cards = [(teacher, read(path)) for teacher, path in plain + taught if path and path.is_file()]
    return [SmallNetwork(card.model, teacher, card.sha256) for teacher, card in cards]


def small_network_of(subject: Subject) -> SmallNetwork:
    """The network that a run of the store is of."""
    taught = subject.weights.startswith(PREFIX)
    return SmallNetwork(subject.model, subject.weights.removeprefix(PREFIX) if taught else "", subject.weights_hash)


def measured(model: str, dataset: str, teacher: str) -> Outcome | Refusal:
    """The task that writes and measures the fp32 file of a small network."""
    request = Request(model, dataset, dataset, Recipe().to_json())
    return (
        worker.measure_baseline(request) if not teacher else worker.refusal_on_error(lambda: _taught(request, teacher))
    )


def _taught(request: Request, teacher: str) -> Outcome:
    from compression import data
    from compression.models.loading import build, read_weights
    from compression.pipeline import compress

    for name in (teacher, request.model):
        check_names(name, request.dataset)
    folder = user_weights() / f"{PREFIX}{teacher}"
    path = folder / f"{request.model}-{request.dataset}.safetensors"
    card, images = read(path.with_suffix(".json")), data.load(request.dataset)
    network = read_weights(build(request.model, input_shape=card.input_shape, classes=card.classes), path)
    prepared = compress.prepare(network, images)
    subject = Subject(request.model, folder.name, request.dataset, card.sha256, images.fingerprint)
    return outcomes.baseline_outcome(request, prepared, subject)
