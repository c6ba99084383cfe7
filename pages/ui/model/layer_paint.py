"""What the picture of a network is painted by: a number for each operator, for each block, and its place on a scale."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

from compression.language import N_, _
from compression.records.analysis import LayerSensitivity, OperatorTimes, Structure
from compression.records.measurement import LayerReport
from pages.ui.model import wording

PaintName = Literal["Bytes", "Bits", "Error", "Sensitivity", "Milliseconds"]
Values = dict[str, float]
"""By name of an operator; what is not known is not there."""


@dataclass(frozen=True)
class Paint:
    """`said` writes a value; `together` makes one of those of a block, given with its operators' weights."""

    name: PaintName
    about: str
    said: Callable[[float], str]
    together: Callable[[Sequence[tuple[float, int]]], float]


def _sum(values: Sequence[tuple[float, int]]) -> float:
    return sum(value for value, _ in values)


def _most(values: Sequence[tuple[float, int]]) -> float:
    return max(value for value, _ in values)


def _mean(values: Sequence[tuple[float, int]]) -> float:
    return sum(value * weights for value, weights in values) / max(1, sum(weights for _, weights in values))


PAINTS: tuple[Paint, ...] = (
    Paint(
        N_("Bytes"),
        N_("Bytes of each layer's weights in the file; a closed block shows the sum."),
        lambda value: wording.size(round(value)) if value >= 1000 else f"{value:.0f} B",
        _sum,
    ),
    Paint(
        N_("Bits"),
        N_("Bit width of each layer's weights; a closed block shows the mean over its weights."),
        lambda value: _("{value:.3g} bits", value=value) if value != 1 else "1 bit",
        _mean,
    ),
    Paint(
        N_("Error"),
        N_("Relative change of each layer's outputs on calibration images; a closed block shows the largest."),
        lambda value: f"{100 * value:.3g}%",
        _most,
    ),
    Paint(
        N_("Sensitivity"),
        N_(
            "Drop in points on validation images when only this layer has 2 bits, simulated in PyTorch; "
            "a closed block shows the largest."
        ),
        lambda value: _("{value:.1f} points", value=value),
        _most,
    ),
    Paint(
        N_("Milliseconds"),
        N_(
            "Time per operator for one image from ONNX Runtime's profiler, with decoded weights; a fused "
            "kernel counts as its first operator. A closed block shows the sum."
        ),
        wording.milliseconds,
        _sum,
    ),
)


@dataclass(frozen=True)
class Painted:
    """A paint with its values before and after, on one scale: of no colour at 0, of full colour at `most`."""

    paint: Paint
    before: Values = field(default_factory=dict)
    after: Values = field(default_factory=dict)
    most: float = 0.0

    def level(self, value: float) -> float:
        """Where a value stands on the scale, in [0, 1]: by its square root, so that small ones are told apart."""
        return sqrt(min(max(value / self.most, 0.0), 1.0)) if self.most > 0 else 0.0

    @property
    def ends(self) -> tuple[str, str]:
        """What is said at both ends of the scale, on which all layers lie; sums of blocks lie beyond it."""
        if not self.most:
            return "", _("not measured")
        more = _(" or more") if self.paint.together is _sum else ""
        return self.paint.said(0), f"{self.paint.said(self.most)}{more}"


def painted(paint: Paint, before: Values, after: Values) -> Painted:
    """Values before and after on one scale. That of a block may lie above its end, and has full colour too."""
    return Painted(paint, before, after, max((*before.values(), *after.values()), default=0.0))


def values(
    name: PaintName,
    dense: Structure,
    reports: Sequence[LayerReport],
    curves: Mapping[str, LayerSensitivity],
    times: tuple[OperatorTimes, OperatorTimes] | None,
) -> tuple[Values, Values]:
    """What is known before and after, by name of operator. The dense network has no error, and fp32 weights."""
    layers = {each.name: each.weights for each in dense.operators if each.weights}
    if name == "Bytes":
        return {name: 4.0 * weights for name, weights in layers.items()}, {r.name: float(r.size_bytes) for r in reports}
    if name == "Bits":
        return dict.fromkeys(layers, 32.0), {report.name: float(report.bits) for report in reports}
    if name == "Error":
        return {}, {report.name: report.output_error for report in reports if report.output_error is not None}
    if name == "Sensitivity":
        lost = {layer: drop(curve) for layer, curve in curves.items()}
        return lost, {report.name: lost[report.name] for report in reports if report.name in lost}
    return (times[0].ms, times[1].ms) if times else ({}, {})


def drop(curves: LayerSensitivity) -> float:
    """Points that are lost at the fewest bits."""
    return 100 * (curves.dense - curves.curve("bits")[-1].accuracy)
