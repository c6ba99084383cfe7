"""The recipes that a search can propose: parameters with their choices, and the recipe that values of them stand for.

A parameter is there only where the ones before it ask for it: `active` says which are, so that samplers, neighbours and
seeds speak of the same tree. Which weights become zero is no parameter of single layers: `prune` solves that jointly
(criterion *error*). Bits are on average over the weights; `allocation` says which layer gets how many.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from compression.recipe import Recipe
from compression.searching.allocation import Harms, layer_bits
from compression.store.records import digest

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """A parameter that takes one of a few values; `ordered` ones have neighbours."""

    values: tuple[Any, ...]
    ordered: bool = False


@dataclass(frozen=True)
class Span:
    """A parameter between two numbers, in steps."""

    low: float
    high: float
    step: float

    @property
    def stops(self) -> int:
        """How many values it takes."""
        return round((self.high - self.low) / self.step) + 1

    def at(self, position: int) -> float:
        """The value at a position from 0, or the nearest that there is."""
        return round(self.low + min(max(position, 0), self.stops - 1) * self.step, 6)

    def position(self, value: float) -> int:
        """The position of a value, or of the nearest that there is."""
        return min(max(round((value - self.low) / self.step), 0), self.stops - 1)


Domain = Choice | Span

DOMAINS: dict[str, Domain] = {
    "shape": Choice(("none", "channels", "factorize")),
    "channels.amount": Span(0.05, 0.7, 0.05),
    "channels.part": Choice(("inner", "all")),
    "factorize.amount": Span(0.1, 0.6, 0.05),
    "zeros": Choice(("none", "free", "1x4", "kernel", "2:4")),
    "prune.sparsity": Span(0.2, 0.96, 0.02),
    "prune.criterion": Choice(("error", "second-order", "magnitude")),
    "values": Choice(("bits", "share", "float")),
    "quantize.scheme": Choice(("linear", "asymmetric", "logarithmic", "ternary", "binary")),
    "bits": Span(2.0, 8.0, 0.25),
    "quantize.granularity": Choice(("channel", "group", "tensor")),
    "quantize.equalize": Choice((False, True)),
    "share.entries": Choice((3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64), ordered=True),
    "share.channels_per_book": Choice((0, 16, 32), ordered=True),
    "quantize.activation_bits": Choice((8, 32)),
    "quantize.activation_range": Choice(("minmax", "percentile", "mse", "entropy")),
    "quality": Choice(("fast", "best")),
}  # fmt: skip
"""Every parameter by name, in the order in which they are chosen."""

FIXED_BITS = {"ternary": 2, "binary": 1}
"""Schemes that set the bits by themselves."""

NEEDS: dict[str, Callable[[Params], bool]] = {
    "channels.amount": lambda p: p["shape"] == "channels",
    "channels.part": lambda p: p["shape"] == "channels",
    "factorize.amount": lambda p: p["shape"] == "factorize",
    "prune.sparsity": lambda p: p["zeros"] not in ("none", "2:4"),
    "prune.criterion": lambda p: p["zeros"] != "none",
    "quantize.scheme": lambda p: p["values"] == "bits",
    "bits": lambda p: p["values"] == "bits" and p["quantize.scheme"] not in FIXED_BITS,
    "quantize.granularity": lambda p: p["values"] == "bits" and p["quantize.scheme"] != "asymmetric",
    "quantize.equalize": lambda p: p["values"] == "bits",
    "share.entries": lambda p: p["values"] == "share",
    "share.channels_per_book": lambda p: p["values"] == "share",
    "quantize.activation_bits": lambda p: p["values"] != "float",
    "quantize.activation_range": lambda p: p.get("quantize.activation_bits") == 8,
}
"""Which parameters are there only with others."""


@dataclass(frozen=True)
class Space:
    """The parameters that some techniques leave; what they exclude is no choice any more."""

    techniques: tuple[str, ...]

    def domain(self, name: str) -> Domain:
        """What a parameter takes here."""
        return self._domains[name]

    @cached_property
    def _domains(self) -> dict[str, Domain]:
        return {name: self._left_of(name) for name in DOMAINS}

    def _left_of(self, name: str) -> Domain:
        """What the techniques leave of a parameter's choices."""
        domain = DOMAINS[name]
        if not isinstance(domain, Choice):
            return domain
        excluded = {
            "shape": [kind for kind in ("channels", "factorize") if kind not in self.techniques],
            "zeros": [] if "prune" in self.techniques else list(DOMAINS["zeros"].values[1:]),  # type: ignore[union-attr]
            "values": self._without_values(),
            "quantize.activation_bits": [] if "quantize" in self.techniques else [8],
        }.get(name, [])
        return Choice(tuple(value for value in domain.values if value not in excluded), domain.ordered)

    def _without_values(self) -> list[str]:
        missing = [v for v, step in (("bits", "quantize"), ("share", "share")) if step not in self.techniques]
        return missing if len(missing) == 2 else [*missing, "float"]

    def complete(self, choose: Callable[[str, Domain], Any]) -> dict[str, Any]:
        """All parameters that are there, each chosen by `choose` from what it takes."""
        params: dict[str, Any] = {}
        for name in DOMAINS:
            if name not in NEEDS or NEEDS[name](params):
                params[name] = choose(name, self.domain(name))
        return params

    def completed(self, given: Params) -> dict[str, Any]:
        """The same with the first choice for what is missing, and without what is not there or not taken here."""

        def choose(name: str, domain: Domain) -> Any:
            value = given.get(name)
            if isinstance(domain, Span):
                return domain.at(domain.position(value)) if isinstance(value, int | float) else domain.high
            return value if value in domain.values else domain.values[0]

        return self.complete(choose)


def version() -> str:
    """16 hex digits over all parameters: a study that was begun with others cannot be gone on with."""
    return digest(repr(DOMAINS))


def recipe(params: Params, plain: Recipe, harms: Harms | None = None) -> Recipe:
    """The recipe of some parameters, with the seed and calibration of `plain`.

    `harms` says where bits are needed most; without it every layer has the same number. Raises `UserError` where
    settings do not go together.
    """
    changes: dict[str, Any] = {"quality": params["quality"]}
    changes |= {n: params[n] for n in ("channels.amount", "channels.part", "factorize.amount") if n in params}
    if params["zeros"] != "none":
        changes |= {"prune.pattern": params["zeros"], "prune.criterion": params["prune.criterion"]}
        changes |= {"prune.sparsity": params["prune.sparsity"]} if "prune.sparsity" in params else {}
    if params["values"] == "share":
        changes |= {n: params[n] for n in ("share.entries", "share.channels_per_book")}
        if params["quantize.activation_bits"] == 8:
            changes |= {"quantize.weight_bits": 8, "quantize.activation_bits": 8}
    elif params["values"] == "bits":
        changes |= _bits(params, harms) | {"quantize.activation_bits": params["quantize.activation_bits"]}
    if "quantize.activation_range" in params and params["quantize.activation_bits"] == 8:
        changes["quantize.activation_range"] = params["quantize.activation_range"]
    return plain.with_settings(changes)


def _bits(params: Params, harms: Harms | None) -> dict[str, Any]:
    """The settings of weights with so many bits on average."""
    scheme = params["quantize.scheme"]
    bits = float(params.get("bits", FIXED_BITS.get(scheme, 8)))
    most = 4 if scheme == "logarithmic" else 8
    whole = FIXED_BITS.get(scheme, min(max(round(bits), 2), most))
    granularity = params.get("quantize.granularity", "channel")
    if granularity == "group" and (whole == 8 or (scheme == "logarithmic" and whole == 4)):
        granularity = "channel"
    found = {
        "quantize.weight_bits": whole, "quantize.scheme": scheme, "quantize.granularity": granularity,
        "quantize.equalize": params["quantize.equalize"],
    }  # fmt: skip
    if scheme in ("linear", "asymmetric") and harms and bits < 8:
        found["quantize.layer_bits"] = layer_bits(harms, bits, whole)
    return found


def params_of(known: Recipe) -> dict[str, Any]:
    """The parameters that come closest to a recipe; `Space.completed` fills in the rest."""
    steps = {step.kind: step for step in known.steps}
    found: dict[str, Any] = {"quality": known.quality, "shape": "none", "zeros": "none", "values": "float"}
    for kind in ("channels", "factorize"):
        if kind in steps:
            found |= {"shape": kind, f"{kind}.amount": getattr(steps[kind], "amount", 0.3)}
    if prune := steps.get("prune"):
        found |= {"zeros": getattr(prune, "pattern", "free"), "prune.sparsity": getattr(prune, "sparsity", 0.5)}
        found["prune.criterion"] = getattr(prune, "criterion", "error")
    if quantize := steps.get("quantize"):
        found |= {"values": "bits", "bits": float(getattr(quantize, "bits", 8))}
        for name in ("scheme", "granularity", "equalize", "activation_bits", "activation_range"):
            found[f"quantize.{name}"] = getattr(quantize, name)
    if share := steps.get("share"):
        entries = DOMAINS["share.entries"]
        assert isinstance(entries, Choice)
        wanted = getattr(share, "entries", 16)
        found |= {"values": "share", "share.entries": min(entries.values, key=lambda value: abs(value - wanted))}
        found["share.channels_per_book"] = getattr(share, "channels_per_book", 0)
        found.setdefault("quantize.activation_bits", 32)
    return found
