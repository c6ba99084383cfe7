"""Whose milliseconds a chart shows: this machine's, or those that another one has reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from compression.language import N_, _
from compression.records.probe import ProbeLatency
from pages.ui.model.points import Point, Trail


@dataclass(frozen=True)
class Timing:
    """The machine with the key `machine`, called `title`, and its `times` by the SHA-256 of files; '' is this one."""

    machine: str = ""
    title: str = N_("this machine")
    times: Mapping[str, ProbeLatency] = field(default_factory=dict)

    def trail(self, trail: Trail) -> Trail:
        """The trail with this machine's times; what it did not time has no latency."""
        if not self.machine:
            return trail
        visited, others = ({key: self.point(p) for key, p in known.items()} for known in (trail.visited, trail.others))
        return replace(trail, visited=visited, others=others)

    def point(self, point: Point) -> Point:
        """A point with this machine's latency, or none."""
        if not self.machine:
            return point
        measured = point.measurement
        latency = self.times.get(measured.file_hash)
        told = (
            _("{provenance}, latency on {title}", provenance=measured.provenance, title=self.title)
            if latency
            else _("{provenance}, no latency there", provenance=measured.provenance)
        )
        return replace(point, measurement=replace(measured, latency=latency, provenance=told))
