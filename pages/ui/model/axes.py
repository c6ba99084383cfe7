"""What can stand on a chart's axis: how it is read off a point, in which unit, and which direction is better."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from compression.analysis.energy import energy_microjoules, estimate_microjoules
from compression.jobs import Baseline
from compression.language import N_, _
from compression.records.measurement import Interval
from pages.ui.model.points import Point
from pages.ui.model.words import Words

Name = Literal["accuracy", "size", "latency", "macs", "parameters", "energy"]
Reading = tuple[float, Interval]


@dataclass(frozen=True)
class Axis:
    """A measure in the unit it is drawn in. `short` is used in sentences; `of_baseline` reads it off the fp32 file."""

    name: Name
    title: str
    short: str
    unit: str
    better: Literal["more", "less"]
    logarithmic: bool
    of_point: Callable[[Point], Reading | None]
    of_baseline: Callable[[Baseline], Reading | None]

    def gain(self, value: float) -> float:
        """The value with the sign that makes more of it better."""
        return value if self.better == "more" else -value

    def called(self, words: Words) -> "Axis":
        """The axis by the name that its quantity has for these images."""
        named = replace(self, title=words.title, short=words.short) if self.name == "accuracy" else self
        return replace(named, title=_(named.title), short=_(named.short), unit=_(named.unit))


def _exact(value: float | None) -> Reading | None:
    return None if value is None else (value, Interval(value, value))


def _percent(value: float, bounds: Interval) -> Reading:
    return 100 * value, Interval(100 * bounds.low, 100 * bounds.high)


def _accuracy(point: Point) -> Reading:
    return _percent(point.measurement.accuracy.value, point.measurement.accuracy.interval)


def _latency(point: Point) -> Reading | None:
    latency = point.measurement.latency
    return None if latency is None else (latency.ratio, latency.ratio_interval)


def _scaled(count: int | None, by: float) -> Reading | None:
    return None if count is None else _exact(count / by)


def _baseline_energy(baseline: Baseline) -> Reading | None:
    if baseline.macs is None:
        return None
    return _exact(estimate_microjoules(baseline.macs, baseline.size_bytes, 32))


AXES: dict[Name, Axis] = {
    axis.name: axis
    for axis in (
        Axis(
            "accuracy",
            N_("Accuracy, %"),
            "accuracy",
            "%",
            "more",
            False,
            _accuracy,
            lambda b: _percent(b.accuracy.value, b.accuracy.interval),
        ),
        Axis(
            "size",
            N_("File size, KB"),
            N_("file size"),
            "KB",
            "less",
            True,
            lambda p: _exact(p.measurement.size_bytes / 1000),
            lambda b: _exact(b.size_bytes / 1000),
        ),
        Axis(
            "latency",
            N_("Latency (fp32 = 1)"),
            N_("latency"),
            N_("of fp32"),
            "less",
            False,
            _latency,
            lambda b: _exact(1.0),
        ),
        Axis(
            "macs",
            N_("MACs, millions"),
            "MACs",
            N_("million"),
            "less",
            False,
            lambda p: _scaled(p.measurement.macs, 1e6),
            lambda b: _scaled(b.macs, 1e6),
        ),
        Axis(
            "parameters",
            N_("Weights, thousands"),
            N_("weights"),
            N_("thousand"),
            "less",
            False,
            lambda p: _scaled(p.measurement.parameters, 1e3),
            lambda b: _scaled(b.parameters, 1e3),
        ),
        Axis(
            "energy",
            N_("Energy per image, µJ (estimated)"),
            N_("estimated energy"),
            "µJ",
            "less",
            True,
            lambda p: _exact(energy_microjoules(p.recipe, p.measurement)),
            _baseline_energy,
        ),
    )
}
"""Every axis by name."""

START: tuple[tuple[Name, Name], ...] = (("size", "accuracy"), ("latency", "accuracy"), ("size", "latency"))
"""What the charts show at first: (x, y) of each."""
