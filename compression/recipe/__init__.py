"""A recipe is data: what is done to a network, in which order. Same recipe, same file.

    Recipe(steps=(Prune(sparsity=0.8), Quantize(weight_bits=4)))

It round-trips through JSON, YAML and a URL's query, and has a content hash.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlencode

import yaml
from pydantic import Field, field_validator

from compression.errors import InvalidRecipe, UnknownName, shown
from compression.recipe.link_defaults import DEFAULTS, NEWEST, left_out
from compression.recipe.machine_defaults import completed
from compression.recipe.rules import _in_order, _rank
from compression.records.documents import read_json, read_yaml
from compression.records.measurement import OPERATORS, Reached
from compression.steps import STEPS, Settings, Step, parse, step

SCHEMA = 1
"""Version of the written form in JSON and YAML; a text of another version is refused with a sentence, never misread."""


class Recipe(Settings):
    """Steps in the order of application, and what they share."""

    kind: ClassVar[str] = "recipe"

    steps: tuple[Step, ...] = ()
    seed: Annotated[
        int,
        Field(
            ge=0,
            le=2**31 - 1,
            title="Seed",
            description="Selects the calibration images. The same seed gives the same file.",
        ),
    ] = 0
    calibration_images: Annotated[
        int,
        Field(
            ge=16,
            le=1024,
            title="Calibration images",
            description="Number of unlabelled training images used for calibration.",
        ),
    ] = 512
    quality: Annotated[
        Literal["best", "fast"],
        Field(
            title="Quality",
            description="best: fits each layer on the compressed network's own inputs. fast: uses statistics of the "
            "dense network.",
        ),
    ] = "best"  # fmt: skip
    batch_norm: Annotated[
        Literal["auto", "keep", "reestimate"],
        Field(
            title="Batch norm",
            description="Re-estimates batch-norm statistics on the calibration images. auto: keeps the old ones "
            "where they do better on held-out images.",
        ),
    ] = "auto"

    @field_validator("steps", mode="before")
    @classmethod
    def _read_steps(cls, steps: Any) -> tuple[Step, ...]:
        if not isinstance(steps, list | tuple):
            raise InvalidRecipe(f"A recipe's steps must be a list, not {shown(steps)}.")
        return _in_order(tuple(completed(_read_step(entry)) for entry in steps))

    @property
    def hash(self) -> str:
        """64 hex digits of SHA-256 over the canonical JSON; the id of everything made from this recipe."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def get(self, kind: str) -> Step | None:
        """The step of that kind, if the recipe has one."""
        return next((s for s in self.steps if s.kind == kind), None)

    @property
    def untrained(self) -> Self:
        """The same recipe without its training: what a recovery starts from; itself where nothing is trained."""
        values = self.to_dict()
        return type(self).from_dict({**values, "steps": [s for s in values["steps"] if s["step"] != "recover"]})

    @property
    def whole(self) -> Self:
        """The same recipe with its training carried out to the end."""
        return self if self.get("recover") is None else self.with_setting("recover.until", 0)

    @property
    def until(self) -> int:
        """After how many steps its training is stopped; 0 where it goes to its end, or there is none."""
        return int(getattr(self.get("recover"), "until", 0))

    def with_setting(self, path: str, value: Any) -> Self:
        """A recipe with one value changed; see `with_settings`."""
        return self.with_settings({path: value})

    def with_settings(self, changes: Mapping[str, Any]) -> Self:
        """A recipe with values changed, all at once; a path is 'prune.sparsity' or 'seed'.

        A step that was not in the recipe is added, with its defaults, at its place in the usual order.
        """
        values = self.to_dict()
        present: dict[str, dict[str, Any]] = {s["step"]: s for s in values.pop("steps")}
        for path, value in changes.items():
            kind, _, name = path.rpartition(".")
            if kind and kind not in STEPS:
                raise UnknownName("step", kind, STEPS)
            if path == "steps":
                raise InvalidRecipe(f"Settings are set one by one, as in prune.sparsity=0.5, not steps={value}.")
            target = present.setdefault(kind, {"step": kind}) if kind else values
            target[name] = parse(STEPS[kind] if kind else type(self), name, value) if isinstance(value, str) else value
        return type(self).from_dict({**values, "steps": sorted(present.values(), key=lambda s: _rank(s["step"]))})

    def placing(self, operators: tuple[str, ...] | None) -> Self:
        """The same recipe with the operators named that compute in integers; None: all that can."""
        if operators is None:
            return self.with_setting("quantize.placement", "everywhere")
        return self.with_settings({"quantize.placement": "listed", "quantize.integer_operators": ",".join(operators)})

    def as_made(self, reached: Iterable[Reached]) -> Self:
        """The recipe that makes the same file on any machine: what this one left to be measured is spelled out."""
        found = next((found for found in reached if found.measure == OPERATORS), None)
        return self if found is None else self.placing(found.names or None if found.reached else ())

    def to_dict(self) -> dict[str, Any]:
        """Plain data: {'schema': 1, 'steps': [{'step': 'prune', 'sparsity': 0.5}], 'seed': 0, …}."""
        shared = {name: getattr(self, name) for name in type(self).model_fields if name != "steps"}
        return {"schema": SCHEMA, "steps": [{"step": s.kind, **s.to_dict()} for s in self.steps], **shared}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of `to_dict`; raises `InvalidRecipe`, `InvalidSetting` or `UnknownName`."""
        if not isinstance(values, dict):
            raise InvalidRecipe(f"A recipe must be a table of settings, not {type(values).__name__}.")
        values = {str(name): value for name, value in values.items()}
        schema = values.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise InvalidRecipe(f"This recipe has schema {shown(schema)}; this version reads schema {SCHEMA}.")
        return cls(**values)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`; raises `InvalidRecipe` where `text` is not JSON."""
        try:
            values = read_json(text)
        except ValueError as error:
            raise InvalidRecipe(f"This is not a recipe in JSON: {error}.") from None
        return cls.from_dict(values)

    def to_yaml(self) -> str:
        """YAML for people, in the order of the fields."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """The inverse of `to_yaml`; raises `InvalidRecipe` where `text` is not YAML."""
        try:
            values = read_yaml(text)
        except ValueError as error:
            raise InvalidRecipe(f"This is not a recipe in YAML: {error}.") from None
        return cls.from_dict(values)

    def to_query(self) -> str:
        """A URL's query: 'v=1&steps=prune,quantize&prune.sparsity=0.8'; what it leaves out is in `link_defaults`."""
        pairs = {"v": NEWEST, "steps": ",".join(s.kind for s in self.steps)}
        for s in self.steps:
            pairs |= {f"{s.kind}.{name}": value for name, value in _differing(s.kind, s.model_dump())}
        shared = {name: getattr(self, name) for name in type(self).model_fields if name != "steps"}
        return urlencode(pairs | dict(_differing(self.kind, shared)), safe=",")

    @classmethod
    def from_query(cls, query: str) -> Self:
        """The inverse of `to_query`, for links of older versions too, and of those that name every value.

        Raises `InvalidRecipe`, `InvalidSetting` or `UnknownName`.
        """
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        named = pairs.pop("v", str(NEWEST))
        version = next((version for version in DEFAULTS if str(version) == named), None)
        if version is None:
            known = ", ".join(map(str, DEFAULTS))
            raise InvalidRecipe(f"This link has schema {shown(named)}; schemas that can be read here are {known}.")
        kinds = [kind for kind in pairs.pop("steps", "").split(",") if kind]
        steps: dict[str, dict[str, Any]] = {kind: {**left_out(kind, version), "step": kind} for kind in kinds}
        shared = dict(left_out(cls.kind, version))
        for path, text in pairs.items():
            kind, _, name = path.rpartition(".")
            if kind and kind not in steps:
                raise InvalidRecipe(f"The link sets {path!r} but lists no step {kind!r}.")
            if kind:
                steps[kind][name] = parse(type(step(kind)), name, text)
            else:
                shared[name] = parse(cls, name, text)
        return cls.from_dict({"steps": list(steps.values()), **shared})


def _differing(kind: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The settings that a link has to name."""
    usual = left_out(kind, NEWEST)
    return [(name, value) for name, value in values.items() if name not in usual or value != usual[name]]


def _read_step(entry: Any) -> Step:
    if isinstance(entry, Step):
        return entry
    if not isinstance(entry, dict) or "step" not in entry:
        raise InvalidRecipe(f"A step must be a table with the key 'step', not {shown(entry)}.")
    return step(str(entry["step"]), **{str(k): v for k, v in entry.items() if k != "step"})
