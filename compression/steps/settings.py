"""What all settings share: they are checked, and what their fields say is read by whoever shows them."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from compression.errors import InvalidSetting, UnknownName, shown


class Settings(BaseModel):
    """A frozen, validated set of values. Unknown names and values out of bounds raise `InvalidSetting`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str] = "settings"

    def __init__(self, /, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _one_sentence(type(self), error) from None


class Step(Settings):
    """The settings of one technique, and what else is known of it without the engine."""

    title: ClassVar[str]
    goes_first: ClassVar[str] = "the techniques of a recipe have an order"
    """Why it cannot follow a step that comes later in the usual order."""

    warm_up: ClassVar[Mapping[str, float]] = {}
    """Settings, with a value each, that fill the engine's caches when they are tried once on a network."""

    @property
    def excluded(self) -> tuple[str, ...]:
        """The layers that it leaves as they are."""
        return tuple(name for name in getattr(self, EXCLUDE, "").split(",") if name)

    def to_dict(self) -> dict[str, Any]:
        """Its values by name; an empty list of excluded layers is left out, as it was before there were any."""
        return {name: value for name, value in self.model_dump().items() if name != EXCLUDE or value}

    def check_beside(self, steps: Mapping[str, "Step"]) -> None:
        """Raises `InvalidRecipe` where the recipe's `steps`, by kind, exclude what this one is set to."""


EXCLUDE = "exclude"
"""What the field is called that names layers which a technique leaves as they are."""


def _read_names(given: Any) -> Any:
    """A list of names, or a text with commas between them, as such a text in the order of the names."""
    if not isinstance(given, list | tuple | str):
        return given
    names = [str(name).strip() for name in (given.split(",") if isinstance(given, str) else given)]
    if any("," in name for name in names):
        raise InvalidSetting(f"Names of excluded layers have no commas, unlike {shown(','.join(names))}.")
    return ",".join(sorted({name for name in names if name}))


LayerNames = Annotated[
    str,
    BeforeValidator(_read_names),
    Field(
        title="Excluded layers", max_length=20_000,
        description="Layers left as they are, comma-separated, for example conv1,fc. The names are those on the page "
        "Layers.",
    ),
]  # fmt: skip
"""The type of the field `EXCLUDE`."""


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words: 'a number from 0 to 0.99', 'one of 8, 32'."""
    choices = choices_of(field)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    low, high = bounds_of(field)
    noun = {int: "a whole number", float: "a number", bool: "true or false"}.get(_plain(field.annotation), "text")
    longest = next((m.max_length for m in field.metadata if hasattr(m, "max_length")), None)
    if longest is not None:
        return f"{noun} of at most {longest:,} characters"
    if low is None or high is None:
        return noun
    bounds = [str(b).removesuffix(".0") for b in (low, high)]
    return f"{noun} from {' to '.join(bounds)}"


def choices_of(field: FieldInfo) -> tuple[Any, ...]:
    """The values of a field that has a closed list of them, else ()."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def bounds_of(field: FieldInfo) -> tuple[float | None, float | None]:
    """Lowest and highest value of a numeric field (None where it has no bound)."""
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    return low, high


def parse(settings: type[Settings], name: str, text: str) -> Any:
    """The value that `text` (from a command line or a link) stands for in field `name` of `settings`.

    Raises `UnknownName` for a field that does not exist; the value itself is checked when the settings are built.
    """
    if name not in settings.model_fields:
        raise UnknownName(f"setting of {settings.kind}", name, settings.model_fields)
    for choice in choices_of(settings.model_fields[name]):
        if text == str(choice):
            return choice
    return text


def _plain(annotation: Any) -> Any:
    """`float` from `float | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation


def _one_sentence(settings: type[Settings], error: ValidationError) -> Exception:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return UnknownName(f"setting of {settings.kind}", name, settings.model_fields)
    if name not in settings.model_fields:
        return InvalidSetting(f"{settings.kind}: {first['msg']}.")
    path = f"{settings.kind}.{name}"
    return InvalidSetting(f"{path} must be {allowed(settings.model_fields[name])}, not {shown(first['input'])}.")
