"""What is compressed: a network with stored weights, and the images that it is calibrated and measured on."""

from dataclasses import dataclass, field
from pathlib import Path

from compression import reference
from compression.data import DATASETS, title_of
from compression.data.test_samples import ALL, OFFERED, TestSample, base_of, parted
from compression.errors import InvalidSetting, UnknownName
from compression.language import _
from compression.models import ARCHITECTURES, OWN, Card, card, cards, preprocess_of
from compression.models import title as network_title
from compression.models.model_cards import card_path, read, ships, weights_path
from compression.records.preprocess import Preprocess
from compression.reference import Sweep

FOLDER = "folder:"
Pair = tuple[str, str]
"""A network, and the dataset that its stored weights were trained on."""

FAVOURITES = [("resnet20", "fashion-mnist"), ("lenet5", "fashion-mnist"), ("lenet5", "digits")]


@dataclass(frozen=True)
class Subject:
    """`weights` names the dataset that the network was trained on; it differs from `dataset` for a folder of images,
    and where `dataset` names a sample of the test images too.

    `edition` is the hash of the weights as they lie there now, '' while there are none: trained or brought anew, it is
    another subject, of which nothing is known yet.
    """

    model: str
    weights: str
    dataset: str
    edition: str = field(init=False)

    def __post_init__(self) -> None:
        known = card_path(self.model, self.weights)
        object.__setattr__(self, "edition", read(known).sha256 if known else "")

    @property
    def title(self) -> str:
        """'ResNet-20 on Fashion-MNIST'."""
        return _(
            "{network_title} on {dataset_title}",
            network_title=network_title(self.model),
            dataset_title=dataset_title(self.dataset),
        )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return card(self.model, self.weights).input_shape

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become inputs."""
        return preprocess_of(card(self.model, self.weights))

    @property
    def is_trained(self) -> bool:
        """Whether there are weights."""
        return self.edition != ""

    @property
    def is_at_home(self) -> bool:
        """Whether the images are those that the network was trained on, or a sample of them."""
        return self.weights == base_of(self.dataset)

    def to_query(self) -> dict[str, str]:
        """The part of a link that names it."""
        trained = {} if self.is_at_home else {"weights": self.weights}
        return {"model": self.model, "dataset": self.dataset} | trained

    def options(self) -> list[tuple[str, str]]:
        """The options of the command line that name it."""
        options = [("--model", self.model), ("--dataset", self.dataset)]
        if not self.is_at_home:
            known, path = card(self.model, self.weights), card_path(self.model, self.weights)
            if self.weights == OWN:
                options[0] = ("--model", _as_given(known))
            else:
                options += [("--weights", str(path and weights_path(path)))]
            options += [("--mean", _numbers(known.mean)), ("--std", _numbers(known.std))]
        return options


def reference_sweep(subject: Subject) -> Sweep | None:
    """What comes with the app: measured on the weights that do too."""
    ours = subject.weights == subject.dataset and ships(subject.model, subject.weights)
    return reference.load(subject.model, subject.dataset) if ours else None


def reference_images(subject: Subject) -> str:
    """A sentence where what comes with the app was not measured on the dataset's own images; else ''."""
    sweep = reference_sweep(subject)
    return _(sweep.images) if sweep and sweep.images else ""


def default() -> Subject:
    """The first of our favourites that has stored weights."""
    pairs = [(c.model, c.dataset) for c in cards()]
    model, dataset = next(pair for pair in (*FAVOURITES, *pairs) if pair in pairs)
    return Subject(model, dataset, dataset)


def from_query(query: dict[str, str]) -> Subject:
    """The inverse of `to_query`; raises `UserError` where there is no such pair."""
    dataset = query["dataset"]
    base, _ = parted(dataset)  # raises InvalidSetting
    if base not in DATASETS and not base.startswith(FOLDER):
        raise UnknownName("dataset", dataset, [*DATASETS, "folder:PATH"])
    found = Subject(query["model"], query.get("weights", base), dataset)
    card(found.model, found.weights)
    return found


def fitting(dataset: str) -> list[Pair]:
    """The trained networks that can be tried on a dataset; on a folder of images, all of them."""
    return [(c.model, c.dataset) for c in cards() if dataset.startswith(FOLDER) or _fits(c, base_of(dataset))]


def _fits(card: Card, dataset: str) -> bool:
    """Whether a network was trained on a dataset with a name or, where somebody brought it, has its shapes."""
    images = DATASETS[dataset]
    shapes = ((*card.input_shape[1:], card.classes), (*images.input_shape[1:], images.classes))  # channels follow
    brought = card.dataset == OWN and shapes[0] == shapes[1]
    return brought or card.dataset == dataset


def trainable(dataset: str) -> list[Pair]:
    """The networks of the zoo that have no weights for a dataset yet, but can be trained on it."""
    base = base_of(dataset)
    if base not in DATASETS:
        return []
    return [(model, base) for model in ARCHITECTURES if card_path(model, base) is None]


def dataset_title(dataset: str) -> str:
    """'Fashion-MNIST'; a folder's own name, or what was uploaded; and how many of its images are tested."""
    try:
        base, sample = parted(dataset)
    except InvalidSetting:  # of a run that a file brought
        return dataset
    title = DATASETS[base].title if base in DATASETS else title_of(Path(base.removeprefix(FOLDER)))
    return _("{title}, {tested}", title=title, tested=sample_title(sample)) if sample.images else title


def sample_title(sample: TestSample) -> str:
    """'1,000 test images'."""
    drawn = _(", seed {seed}", seed=sample.seed) if sample.seed else ""
    return (
        _("{images:,} test images{drawn}", images=sample.images, drawn=drawn) if sample.images else _("All test images")
    )


def samples(dataset: str) -> list[TestSample]:
    """What can be chosen for a dataset: all test images, some, or what its name says already."""
    return list(dict.fromkeys([ALL, *map(TestSample, OFFERED), parted(dataset)[1]]))


def _as_given(known: Card) -> str:
    """How the command line is told a network of the user's: their own file by its name, all else as it is listed."""
    given = known.origin or known.source
    if " with " in given or not given.lower().endswith((".onnx", ".pt2")):
        return known.model
    return f"./{given}" if given.startswith("-") else given


def _numbers(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
