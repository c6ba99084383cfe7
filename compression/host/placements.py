"""Which operators of a network compute in integers on this machine: what was measured here, kept by network."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from compression.errors import UserError
from compression.host.atomic_files import atomic_write
from compression.host.cpu import machine_id
from compression.host.folders import user_folder

EVERYWHERE = "everywhere"
"""The placement of all operators that can, by the rule of `network.quantized_values`; it needs no list."""


@dataclass(frozen=True)
class Placement:
    """The operators that compute in integers, by name, or None for all that can.

    of: how many operators could. ratios: latency against fp32 of each placement that was tried, by what it is called;
    empty where there was nothing to choose. chosen: which of them this is.
    """

    operators: tuple[str, ...] | None
    of: int
    chosen: str
    ratios: dict[str, float]
    runtime: str

    @property
    def told(self) -> str:
        """What was chosen and from what, in a sentence; empty where there was nothing to choose."""
        if not self.ratios:
            return ""
        tried = ", ".join(f"{name} {ratio:.2f}" for name, ratio in self.ratios.items())
        count = self.of if self.operators is None else len(self.operators)
        return f"{count} of {self.of} operators compute in integers; latency ratios measured here: {tried}."


_PLACEMENT = TypeAdapter(Placement)


def known(key: str) -> Placement | None:
    """What was measured on this machine for the network of that key; None where nothing was, or it cannot be read."""
    try:
        return _PLACEMENT.validate_json(_path(key).read_bytes())
    except (OSError, ValueError, UserError):
        return None


def save(key: str, placement: Placement) -> None:
    """Keeps what was measured, by an atomic write. Raises `OSError`."""
    with atomic_write(_path(key)) as partial:
        partial.write_text(json.dumps(asdict(placement), indent=1), encoding="utf-8")


def _path(key: str) -> Path:
    return user_folder() / "machine" / f"placement-{machine_id()}-{key[:32]}.json"
