"""Settings whose default was measured on this machine. A recipe holds the number, so that it means the same elsewhere.

Such a field of a step names under "measured" what was measured; its own default holds until that is known.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic.fields import FieldInfo

from compression.host import channel_multiple
from compression.steps import Step

MEASURED: dict[str, Callable[[], Any]] = {"channel_multiple": channel_multiple.multiple}


def is_measured(field: FieldInfo) -> bool:
    """Whether a field's default depends on the machine."""
    return isinstance(field.json_schema_extra, dict) and "measured" in field.json_schema_extra


def default_of(field: FieldInfo) -> Any:
    """The value of a field that is not set, on this machine."""
    if isinstance(field.json_schema_extra, dict) and "measured" in field.json_schema_extra:
        return MEASURED[str(field.json_schema_extra["measured"])]()
    return field.get_default(call_default_factory=True)


def completed(step: Step) -> Step:
    """The same settings with this machine's numbers for those that were not given."""
    missing = {n: default_of(f) for n, f in _measured(type(step)) if n not in step.model_fields_set}
    return step.model_copy(update=missing) if missing else step


@cache
def _measured(settings: type[Step]) -> tuple[tuple[str, FieldInfo], ...]:
    return tuple((name, field) for name, field in settings.model_fields.items() if is_measured(field))
