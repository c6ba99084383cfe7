"""Lesson 9: a network of one's own, from its ONNX file to a device, and where it pays to compute in integers."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from compression.analysis.devices import DEVICES
from compression.data.catalog import DATASETS
from compression.language import N_
from compression.lessons import forward, measured, networks
from compression.lessons.curves import Bars
from compression.lessons.distillation import digits
from compression.models.catalog import OWN
from compression.models.model_cards import Card, card, cards
from compression.network.decisions import classes
from compression.solvers.placing import OUTSIDE, Flow, cheapest

RESNET_DIGITS = ("resnet20", "digits")
IMAGENET = (0.485, 0.229)  # mean and deviation of the first channel
TRAINED = N_("As trained")
UNIT = N_("0 to 1, not normalized")
BYTES = N_("0 to 255")
INVERTED = N_("Black and white swapped")
OTHERS = N_("Normalized with ImageNet's mean")
READINGS = (TRAINED, UNIT, BYTES, INVERTED, OTHERS)
BORDERS = (0, 1, 2, 4, 8, 16)
TRIED = {
    "everywhere": N_("Wherever there is a kernel"),
    "none": N_("Weights only"),
    "few borders": N_("Cheapest, border × 4"),
    "more borders": N_("Cheapest, border × 2"),
    "all": N_("All, gates taken apart"),
}
"""What `pipeline.placing` calls the placements that it tries."""


@dataclass(frozen=True)
class Operator:
    """One operator that can compute in integers: milliseconds of its kernel of either type, and which is chosen."""

    name: str
    kind: str
    integer_ms: float
    float_ms: float
    integer: bool = False


@dataclass(frozen=True)
class Placed:
    """A placement: its operators in order of execution, and what it costs by kernels timed one by one."""

    operators: tuple[Operator, ...]
    borders: int
    conversions_ms: float

    @property
    def integers(self) -> int:
        """How many operators compute in integers."""
        return sum(operator.integer for operator in self.operators)

    @property
    def kernels_ms(self) -> float:
        """Milliseconds of all kernels."""
        return sum(o.integer_ms if o.integer else o.float_ms for o in self.operators)


def networks_of_the_user() -> list[Card]:
    """Networks that were added on this machine; where there is none, ResNet-20 of the zoo stands in."""
    return [known for known in cards() if known.dataset == OWN] or [card(*networks.RESNET)]


@lru_cache(maxsize=8)
def answered(reading: str) -> float:
    """Accuracy of ResNet-20 on the 359 test images of Digits if their pixels are made into inputs like this."""
    test, spec = digits("test"), DATASETS["digits"]
    unit = test.inputs * spec.std[0] + spec.mean[0]
    inputs = {
        TRAINED: test.inputs,
        UNIT: unit,
        BYTES: 255 * unit,
        INVERTED: (1 - unit - spec.mean[0]) / spec.std[0],
        OTHERS: (unit - IMAGENET[0]) / IMAGENET[1],
    }[reading]
    x = inputs.reshape(-1, 1, 8, 8).astype(np.float32)
    scores = forward.run("resnet20", networks.weights(*RESNET_DIGITS), x).scores
    return float((classes(scores) == test.labels).mean())


def is_measured() -> bool:
    """Whether a placement was measured for the lesson."""
    return measured.extra("placement") is not None


@lru_cache(maxsize=16)
def placed(dearness: float) -> Placed:
    """The cheapest placement where each border counts `dearness` times the milliseconds of its conversions."""
    costs, flows = _operators(), _flows()
    dearer = [replace(flow, into=flow.into * dearness, out_of=flow.out_of * dearness) for flow in flows]
    return priced(cheapest({o.name: (o.integer_ms, o.float_ms) for o in costs}, dearer))


def priced(inside: set[str]) -> Placed:
    """What the placement costs that has the operators `inside` compute in integers."""
    crossings = [ms for flow in _flows() for ms in _crossing(flow, inside)]
    operators = tuple(replace(operator, integer=operator.name in inside) for operator in _operators())
    return Placed(operators, len(crossings), sum(crossings))


def tried() -> Bars:
    """Measured latency over fp32's of whole files, by placement."""
    ratios = dict(sorted(_placement()["ratios"].items(), key=lambda item: item[1]))
    return Bars(N_("Latency, fp32 = 1"), tuple(TRIED[name] for name in ratios), np.array(list(ratios.values())))


def measured_where() -> str:
    """'Intel(R) …, 2026-12-02'."""
    found = _placement()
    return f"{found['cpu']}, {found['at'][:10]}"


def flash_bytes(parameters: int, bits: int, device: str) -> int:
    """Estimated flash of a network of so many parameters under the device's runtime, program included."""
    return parameters * bits // 8 + DEVICES[device].runtime.own_flash_bytes


def microcontrollers() -> dict[str, str]:
    """Names of the catalogue's microcontrollers, with their titles."""
    return {name: device.title for name, device in DEVICES.items() if device.kind == "microcontroller"}


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    row, resnet = measured.row("axes", "8 bits").measurement, card(*networks.RESNET)
    return {
        "as_trained": answered(TRAINED),
        "not_normalized": answered(UNIT),
        "others": answered(OTHERS),
        **_placement_facts(),
        "small_share": 1 / row.size_ratio if row else None,
        "small_latency": row.latency.ratio if row and row.latency else None,
        "parameters": resnet.parameters,
        "flash": DEVICES["nano33"].flash_bytes,
        "flash_32": flash_bytes(resnet.parameters, 32, "nano33"),
        "flash_8": flash_bytes(resnet.parameters, 8, "nano33"),
    }


def _placement_facts() -> dict[str, Any]:
    if not is_measured():
        names = ("operators", "chosen", "everywhere", "all", "best", "free_borders", "dear_borders")
        return dict.fromkeys(names)
    found = _placement()
    return {
        "operators": len(found["operators"]), "chosen": len(found["listed"]), "all": found["ratios"]["all"],
        "everywhere": found["ratios"]["everywhere"], "best": found["ratios"][found["chosen"]],
        "free_borders": placed(0).borders, "dear_borders": placed(4).borders,
    }  # fmt: skip


def _crossing(flow: Flow, inside: set[str]) -> list[float]:
    """The conversion that a value needs, as milliseconds in a list; empty where all compute in one type."""
    readers = [reader in inside for reader in flow.readers]
    if flow.giver in inside:
        return [] if all(readers) else [flow.out_of]
    return [flow.into] if any(readers) else []


def _placement() -> dict[str, Any]:
    return measured.extra("placement")


@lru_cache(maxsize=1)
def _operators() -> tuple[Operator, ...]:
    """From lines 'name kind integer_ms float_ms'."""
    lines = [line.split() for line in _placement()["operators"]]
    return tuple(Operator(name, kind, float(integer), float(floats)) for name, kind, integer, floats in lines)


@lru_cache(maxsize=1)
def _flows() -> tuple[Flow, ...]:
    """From lines 'giver reader,reader into out_of'; there may be no reader, and None is what cannot be in integers."""
    lines = [line.split(" ") for line in _placement()["flows"]]
    return tuple(
        Flow(_end(giver), tuple(_end(name) for name in readers.split(",") if name), float(into), float(out))
        for giver, readers, into, out in lines
    )


def _end(name: str) -> str | None:
    return OUTSIDE if name == str(OUTSIDE) else name
