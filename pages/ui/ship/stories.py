"""The told stories of the demo: slides made of stored, measured results. Nothing is measured while they are shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from textwrap import wrap

import plotly.graph_objects as go

from compression.language import _
from compression.lessons import distillation, measured
from compression.records.measurement import Machine, Measurement
from pages.ui.model import wording

GREY, MARK = "#808790", "#D55E00"
TEMPERATURE, TAUGHT = 4.0, 0.9
"""Of the story on distillation: temperature, and the teacher's share of the loss."""


@dataclass(frozen=True)
class Bars:
    """One quantity of several files: their names, values, and the texts at the ends of the bars; the last is marked."""

    title: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Slide:
    """What is on the screen: a headline, one large figure with its unit in words, a sentence or two, and bars or
    pictures (PNG with a caption each). `notes` are for the presenter.
    """

    headline: str
    figure: str
    unit: str
    text: str
    bars: Bars | None = None
    pictures: tuple[tuple[bytes, str], ...] = ()
    notes: str = ""


@dataclass(frozen=True)
class Story:
    """Slides under a title; made anew whenever they are shown, from what is stored; some when they are shown.

    `measured` says on what and when the numbers were measured.
    """

    title: str
    slides: tuple[Slide | Callable[[], Slide], ...]
    measured: str = ""

    def slide(self, number: int) -> Slide:
        """The slide with this number, or the last."""
        found = self.slides[min(number, len(self.slides) - 1)]
        return found() if callable(found) else found


def stories() -> list[Story]:
    """The stories of the lessons' results, as far as these are all stored."""
    machine = measured.machine()
    about = measured_on(machine, measured.measured_at()) if machine else ""
    return [replace(story, measured=about) for make in (_bytes, _zeros, _student) if (story := make()) is not None]


def measured_on(machine: Machine, at: str) -> str:
    """'Measured on A CPU, 2 cores, 2026-11-24.'; `at` is an ISO date and time."""
    cpu, cores = machine.cpu, machine.cores
    return _("Measured on {cpu}, {cores} cores, {measured_at}.", cpu=cpu, cores=cores, measured_at=at[:10])


def _told(bars: Bars, shown: int, headline: str, unit: str, text: str, notes: str, figure: str = "{}") -> Slide:
    """A slide of the first `shown` bars; its figure is the text of the last of them."""
    bars = Bars(bars.title, bars.names[:shown], bars.values[:shown], bars.texts[:shown])
    return Slide(headline, figure.format(bars.texts[-1]), unit, text, bars, notes=notes)


def _bytes() -> Story | None:
    rows = _complete("story-bytes")
    if rows is None:
        return None
    found, last = [m for _, m in rows], rows[-1][1]
    names = ("fp32", *(name for name, _ in rows))
    sizes = _sizes(names, [last.baseline_size_bytes, *(m.size_bytes for m in found)])
    accuracies = [last.accuracy.baseline, *(m.accuracy.value for m in found)]
    told, times, n = [wording.percent(a, last.accuracy.n) for a in accuracies], last.size_ratio, last.accuracy.n
    smaller = f"{times:.0f} ×"
    return Story(
        _("{times:.0f}× smaller, {price}", times=times, price=price(last)),
        (
            _told(sizes, 1, _("The original classifier"), _("with 32-bit weights"),
                  _("Accuracy {accuracies} on {n:,} test images. Every weight takes four bytes.",
                    accuracies=told[0], n=n),
                  _("Ask what the file on a phone may weigh. fp32 stores every weight in four bytes.")),
            _told(sizes, 3, _("Quantized: fewer bits per weight"), _("with {names}", names=names[2]),
                  _("Accuracy {accuracies}. The remaining weights are adjusted to compensate for each rounding error.",
                    accuracies=told[2]),
                  _("Calibration images show which rounding errors matter; no labels and no training are used.")),
            _told(sizes, 4, _("Pruned as well: most weights become zero"), _("with {lower}", lower=names[3].lower()),
                  _("Accuracy {accuracies}: {lost}. {times:.1f}× smaller.",
                    accuracies=told[3], lost=_lost(last), times=times),
                  _("A zero costs one bit in the file: a mask says where the other weights stand.")),
            _told(_accuracies(names, accuracies), 4, _("Still one standard ONNX file"),
                  _("smaller, and runs in standard ONNX Runtime"),
                  _("{latency} No custom operators, no custom runtime: weights are unpacked on loading.",
                    latency=_latency(last)),
                  _("The file on the screen is the file to download: Explore, panel Files."), smaller),
        ),
    )  # fmt: skip


def _zeros() -> Story | None:
    rows = _complete("story-zeros")
    if rows is None or any(m.latency is None for _, m in rows):
        return None
    (half, sparse, channels, integer), names = (m for _, m in rows), ("fp32", *(name for name, _ in rows))
    bars = _ratios(names, [1.0, *(m.latency.ratio for _, m in rows if m.latency)])
    unit, times = _("the latency of the fp32 file"), "{} ×"
    return Story(
        _("90% sparsity, no speedup: why?"),
        (
            _told(bars, 2, _("Prune half of the weights"), unit,
                  _("{capitalize}, and the file is {size_ratio:.1f}× smaller. The latency has not changed.",
                    capitalize=_lost(half).capitalize(), size_ratio=half.size_ratio),
                  _("Let the audience guess the latency first. Most guess half."), times),
            _told(bars, 3, _("Prune 90% of the weights"), unit,
                  _("{size_ratio:.1f}× smaller, and just as slow. A processor multiplies whole blocks of numbers "
                    "at once, and zeros take as long as any other value.", size_ratio=sparse.size_ratio),
                  _("Some hardware skips zeros in fixed patterns; ONNX Runtime on this machine does not."), times),
            _told(bars, 4, _("Remove whole channels instead"), unit,
                  _("{size_ratio:.1f}× smaller; {lost}. Now there is less to multiply.",
                    size_ratio=channels.size_ratio, lost=_lost(channels)),
                  _("The matrices themselves get smaller, so every runtime gains."), times),
            _told(bars, 5, _("Or compute with 8-bit integers"), unit,
                  _("All weights are kept, in 8 bits; {lost}. One instruction multiplies four times as many.",
                    lost=_lost(integer)),
                  _("It needs instructions for 8-bit products: VNNI, AMX, Arm dot product."), times),
        ),
    )  # fmt: skip


def _student() -> Story | None:
    """From the table of the lesson on distillation: a small network on Digits, taught by LeNet-300-100."""
    found = distillation.grid()
    if found is None:
        return None
    temperatures = sorted({t for t, alpha in found if alpha == TAUGHT})
    means = [found[t, TAUGHT].mean for t in temperatures]
    best = f"T = {temperatures[means.index(max(means))]:g}"
    soft, facts = found[TEMPERATURE, TAUGHT], distillation.facts()
    names = (_("Labels only"), _("Distilled, T = 1"), _("Distilled, T = {TEMPERATURE:g}", TEMPERATURE=TEMPERATURE))
    bars = _outcomes(names, (found[1.0, 0.0], found[1.0, TAUGHT], soft))
    every = _outcomes([f"T = {t:g}" for t in temperatures], [found[t, TAUGHT] for t in temperatures])
    return Story(
        _("Knowledge distillation at T = {TEMPERATURE:g}", TEMPERATURE=TEMPERATURE),
        (
            _told(bars, 1, _("A small network and few labels"),
                  _("accuracy, trained on {facts} labels", facts=facts["labelled"]),
                  _("{facts:,} weights; the teacher has {facts_2:,}. A label only says which digit it is.",
                    facts=facts["student_weights"], facts_2=facts["teacher_weights"]),
                  _("Show the lesson on distillation for the set-up.")),
            _told(bars, 2, _("The teacher labels the rest"), _("accuracy, trained on the teacher's outputs"),
                  _("The teacher classifies all training images, and the student learns to match its outputs."),
                  _("Ask what the teacher knows that a label does not say.")),
            _told(bars, 3, _("Softened outputs carry more information"),
                  _("accuracy at T = {TEMPERATURE:g}", TEMPERATURE=TEMPERATURE),
                  _("A temperature above 1 shows the student which digits the teacher finds similar. Standard "
                    "deviation over several students: {deviation:.1f} points.", deviation=100 * soft.deviation),
                  _("Ask which digits look alike.")),
            _told(every, len(temperatures), _("Which temperature is best?"), _("gives the highest accuracy here"),
                  _("The best and the worst temperature differ by {means:.1f} points.",
                    means=100 * (max(means) - min(means))),
                  _("Explore, Recover by training, has the slider for the temperature."), best),
        ),
    )  # fmt: skip


def _percent(found: distillation.Outcome) -> str:
    return f"{100 * found.mean:.1f}%"


def _outcomes(names: Sequence[str], found: Sequence[distillation.Outcome]) -> Bars:
    title = _("Accuracy on Digits, mean of several students")
    return Bars(title, tuple(names), tuple(100 * o.mean for o in found), tuple(map(_percent, found)))


def _complete(table: str) -> list[tuple[str, Measurement]] | None:
    found = [(_(row.planned.name), row.measurement) for row in measured.rows(table)]
    return None if any(m is None for _, m in found) else found  # type: ignore[return-value]


def price(found: Measurement) -> str:
    """'0.7 points less accurate', or 'just as accurate' where the difference is within noise."""
    drop, p = 100 * found.accuracy.drop, found.accuracy.p_value
    noise = p is None or p > 0.05
    return (
        _("just as accurate")
        if noise
        else _("{drop:.1f} points less accurate", drop=drop)
        if drop > 0
        else _("{drop:.1f} points more accurate", drop=-drop)
    )


def _lost(found: Measurement) -> str:
    """'accuracy drops by 0.12 points (within noise)'."""
    drop, p = 100 * found.accuracy.drop, found.accuracy.p_value
    noise = _(" (within noise)") if p is None or p > 0.05 else ""
    if abs(drop) < 0.005:
        return _("no accuracy drop")
    if drop > 0:
        return _("accuracy drops by {drop:.2f} points{noise}", drop=drop, noise=noise)
    return _("accuracy rises by {drop:.2f} points{noise}", drop=-drop, noise=noise)


def _latency(found: Measurement) -> str:
    return _("Latency is {ratio:.2f} of the fp32 file's.", ratio=found.latency.ratio) if found.latency else ""


def _sizes(names: Sequence[str], sizes: Sequence[int]) -> Bars:
    return Bars(_("File size"), tuple(names), tuple(s / 1000 for s in sizes), tuple(map(wording.size, sizes)))


def _ratios(names: Sequence[str], ratios: Sequence[float]) -> Bars:
    return Bars(_("Latency for one image, fp32 = 1"), tuple(names), tuple(ratios), tuple(f"{r:.2f}" for r in ratios))


def _accuracies(names: Sequence[str], found: Sequence[float]) -> Bars:
    return Bars(_("Accuracy"), tuple(names), tuple(100 * a for a in found), tuple(f"{100 * a:.2f}%" for a in found))


def chart(bars: Bars) -> go.Figure:
    """Lying bars, large enough for the last row of a room."""
    colours = [GREY] * (len(bars.names) - 1) + [MARK]
    fig = go.Figure(go.Bar(
        x=bars.values, y=list(range(len(bars.names))), text=bars.texts, orientation="h", marker={"color": colours},
        textposition="outside", textfont={"size": 26}, cliponaxis=False, hoverinfo="skip",
    ))  # fmt: skip
    fig.update_layout(
        template="none", height=max(500, 110 + 90 * len(bars.names)), margin={"l": 10, "r": 110, "t": 60, "b": 10},
        title={"text": bars.title, "font": {"size": 24}, "x": 0}, font={"size": 22, "color": GREY},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", bargap=0.35,
    )  # fmt: skip
    fig.update_xaxes(visible=False, rangemode="tozero")
    fig.update_yaxes(
        autorange="reversed", ticks="", automargin=True, showgrid=False, zeroline=False, tickfont={"size": 20},
        tickvals=list(range(len(bars.names))), ticktext=[_wrapped(name) for name in bars.names],
    )  # fmt: skip
    return fig


def _wrapped(name: str) -> str:
    """A long name in lines of about 24 characters."""
    return "<br>".join(escape(line) for line in wrap(name, 24))
