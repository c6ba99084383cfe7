"""The former name of `compression.models`: its public names resolve here too."""

from typing import Any

from compression import models
from compression.models import __all__ as __all__


def __getattr__(name: str) -> Any:
    return getattr(models, name)
