"""Sweeps that come with the program, so that a first visit sees points: measured by us, on the machine that they name.

    sweep = load("resnet20", "fashion-mnist")

One JSON file for each network and dataset lies beside this module; `python -m benchmarks reference` writes it.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from compression.language import N_
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Machine, Measurement

HERE = Path(__file__).resolve().parent
SCHEMA = 1
JPEG_COPY = N_("Measured on a JPEG copy of the dataset (lossy), not on the original images.")
"""What `Sweep.images` says where that is so."""


@dataclass(frozen=True)
class Sweep:
    """Recipes with their measurements, the plain fp32 file's accuracy, bytes and counts, and when (UTC) on what.

    `quiet` says whether the machine did nothing else meanwhile, so that its milliseconds can be believed; `images`
    is a sentence where the images are not the dataset's own, shown wherever the numbers are.
    """

    model: str
    dataset: str
    machine: Machine
    made: str
    quiet: bool
    accuracy: Accuracy
    size_bytes: int
    macs: int
    parameters: int
    points: tuple[tuple[Recipe, Measurement], ...]
    images: str = ""

    def to_json(self) -> str:
        """One line for each point. Every measurement was taken on the one machine, which stands there once."""
        points = [json.dumps({"recipe": recipe.to_dict(), **_plain(measured)}) for recipe, measured in self.points]
        head = {name: value for name, value in asdict(self).items() if name != "points"}
        return json.dumps({"schema": SCHEMA, **head})[:-1] + ', "points": [\n' + ",\n".join(points) + "\n]}\n"

    @classmethod
    def from_json(cls, text: str) -> "Sweep":
        """The inverse of `to_json`."""
        values = json.loads(text)
        assert values.pop("schema") == SCHEMA
        machine = values["machine"]
        points = tuple(
            (Recipe.from_dict(point.pop("recipe")), Measurement.from_plain({**point, "machine": machine}))
            for point in values["points"]
        )
        accuracy = Accuracy.from_plain(values["accuracy"])
        return cls(**{**values, "machine": Machine(**machine), "accuracy": accuracy, "points": points})


def _plain(measured: Measurement) -> dict[str, object]:
    return {name: value for name, value in measured.to_plain().items() if name != "machine"}


def path_of(model: str, dataset: str) -> Path:
    """Where the sweep of a network and dataset lies."""
    return HERE / f"{model}-{dataset}.json"


@cache
def load(model: str, dataset: str) -> Sweep | None:
    """The sweep of a network and dataset; None where none comes with the program."""
    path = path_of(model, dataset)
    return Sweep.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
