"""What a search is asked for: limits, what is minimised, how long it may take, and which techniques it may use."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from compression.errors import InvalidSetting, UnknownName, shown
from compression.records.documents import read_json
from compression.records.search import Found
from compression.steps.settings import Settings

TECHNIQUES = ("channels", "factorize", "prune", "share", "quantize")
"""Steps that a search may use."""

DEVICE = re.compile(r"[A-Za-z0-9._-]{0,64}")
"""Names of devices that workers offer."""


def check_device(name: Any, what: str) -> str:
    """`name`, where a device can be called so; `what` gave it. Raises `InvalidSetting`."""
    if not isinstance(name, str) or not DEVICE.fullmatch(name):
        raise InvalidSetting(
            f"{what} must be at most 64 letters, digits, dots, dashes or underscores, not {shown(name)}."
        )
    return name


UNITS = {"": 1, "B": 1, "KB": 1_000, "MB": 1_000_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}

Minimised = Literal["front", "size", "latency", "drop"]


class SearchSettings(Settings):
    """Limits (None where there is none), the wish, the budget and the techniques. Shares lie in [0, 1]."""

    kind: ClassVar[str] = "search"

    drop: Annotated[
        float | None,
        Field(ge=0, le=1, title="Accuracy drop", description="Maximum accuracy drop from the fp32 file."),
    ] = None
    agreement: Annotated[
        float | None,
        Field(ge=0, le=1, title="Agreement", description="Minimum share of images classified like the fp32 file."),
    ] = None
    worst_class: Annotated[
        float | None,
        Field(ge=0, le=1, title="Worst-class accuracy", description="Minimum accuracy of every class."),
    ] = None
    size_bytes: Annotated[
        int | None, Field(ge=1, le=10**12, title="File size", description="Maximum file size in bytes.")
    ] = None
    latency: Annotated[
        float | None,
        Field(ge=0.01, le=10, title="Latency", description="Maximum latency for one image, relative to the fp32 file."),
    ] = None
    macs: Annotated[
        int | None, Field(ge=1, le=10**15, title="MACs", description="Maximum number of MACs per image.")
    ] = None
    memory_bytes: Annotated[
        int | None,
        Field(ge=1, le=10**12, title="Peak memory", description="Maximum peak memory of the activations, in bytes."),
    ] = None
    minimise: Annotated[
        Minimised,
        Field(title="Objective", description="Objective within the limits. front: the whole Pareto front."),
    ] = "front"
    minutes: Annotated[
        float,
        Field(ge=0.05, le=10_000, title="Minutes", description="Time budget, including the final tests."),
    ] = 10.0
    trials: Annotated[
        int, Field(ge=0, le=100_000, title="Trials", description="Maximum number of trials. 0: limited by time only.")
    ] = 0
    techniques: Annotated[
        tuple[str, ...], Field(title="Techniques", description="Techniques that the search may use."),
    ] = TECHNIQUES  # fmt: skip
    device: Annotated[
        str,
        Field(
            title="Device",
            description="Only workers started with this --device run trials; latencies are theirs. Empty: any worker.",
        ),
    ] = ""  # fmt: skip
    workers: Annotated[
        int, Field(ge=1, le=1000, title="Workers", description="Processes that run trials in parallel.")
    ] = 1
    sampler: Annotated[
        Literal["auto", "tpe", "nsga2", "random"],
        Field(
            title="Sampler",
            description="How recipes are proposed. auto: neighbours of the Pareto front mixed with TPE.",
        ),
    ] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, title="Seed", description="Seed of the sampler.")] = 0

    @field_validator("techniques", mode="before")
    @classmethod
    def _known(cls, names: Any) -> tuple[str, ...]:
        if not isinstance(names, list | tuple) or not names:
            raise InvalidSetting(f"search.techniques must be a list of names, not {shown(names)}.")
        for name in names:
            if name not in TECHNIQUES:
                raise UnknownName("technique of a search", name, TECHNIQUES)
        return tuple(name for name in TECHNIQUES if name in names)

    @field_validator("device", mode="before")
    @classmethod
    def _callable(cls, name: Any) -> str:
        return check_device(name, "search.device")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {name: value for name in LIMITS if (value := getattr(self, name)) is not None}

    def violations(self, found: Found) -> dict[str, float]:
        """How far each limit is broken, relative to it; 0 or less where it is kept."""
        return {name: LIMITS[name].broken(found, limit) for name, limit in self.limits.items()}

    def keeps(self, found: Found) -> bool:
        """Whether every limit is kept; what was not measured keeps none."""
        return all(broken <= 0 for broken in self.violations(found).values())

    def to_json(self) -> str:
        """Canonical JSON; without a device it is as it was before there were any, so that old searches resume."""
        told = {name: value for name, value in self.model_dump().items() if name != "device" or value}
        return json.dumps(told, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`. Raises `InvalidSetting` or `UnknownName`."""
        try:
            values = read_json(text)
        except ValueError as error:
            raise InvalidSetting(f"These are not search settings in JSON: {error}.") from None
        if not isinstance(values, dict):
            raise InvalidSetting(f"The settings of a search must be a table, not {shown(values)}.")
        return cls(**values)


class Limit:
    """One limit: which figure of a file it is about, and whether that may be at most or must be at least so much."""

    def __init__(self, figure: str, *, at_least: bool = False):
        self.figure, self.at_least = figure, at_least

    def broken(self, found: Found, limit: float) -> float:
        """By how much, relative to the limit; 0 or less where it is kept."""
        value = getattr(found, self.figure)
        if value is None:
            return 1.0
        beyond = (limit - value) if self.at_least else (value - limit)
        return beyond / max(abs(limit), 1e-3) if abs(beyond) > 1e-12 else 0.0


LIMITS: Mapping[str, Limit] = {
    "drop": Limit("drop"), "agreement": Limit("agreement", at_least=True),
    "worst_class": Limit("worst_class", at_least=True), "size_bytes": Limit("size_bytes"),
    "latency": Limit("latency_ratio"), "macs": Limit("macs"), "memory_bytes": Limit("memory_bytes"),
}  # fmt: skip
"""Every limit by the name of its setting."""


def amount(text: str, option: str) -> int:
    """The number that '100KB', '1.5M' or '30000' stands for; KB are 1,000 bytes. Raises `InvalidSetting`."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]{0,2})\s*", text)
    unit = found.group(2).upper() if found else "?"
    if not found or unit not in UNITS:
        raise InvalidSetting(f"{option} takes a number like 100KB, 1.5MB or 30000, not {shown(text)}.")
    return round(float(found.group(1)) * UNITS[unit])
