"""A story of stored runs: what the network was, what it became, what that cost, and on which machines it runs."""

from collections.abc import Callable, Sequence

from compression.analysis.comparison import Comparison
from compression.language import N_, _
from compression.records.measurement import Measurement
from compression.store import Run
from compression.store.probes import Probed
from pages.ui.model import wording
from pages.ui.model.words import WORDS
from pages.ui.ship.stories import Bars, Slide, Story

FEWEST, MOST = 2, 5
"""Runs in a story."""
PICTURES = 6
"""Images whose prediction changed that are shown at most."""
AS_SLOW, NOT_FASTER = 0.95, N_("Zeros, and weights below 8 bits, save bytes but no time.")
THIS_MACHINE = N_("This machine")
NOT_STORED = N_("predictions are not stored for both files")
COMPARING = N_("the two files' predictions are not compared yet")


def refusal(runs: Sequence[Run]) -> str:
    """Why no story can be told of these runs; '' where one can."""
    if not FEWEST <= len(runs) <= MOST:
        return _("A story needs {FEWEST} to {MOST} runs; {count} selected.", FEWEST=FEWEST, MOST=MOST, count=len(runs))
    if len({run.subject for run in runs}) > 1:
        return _("A story needs runs of one network on the same images.")
    if len({(run.accuracy.split, run.accuracy.n) for run in runs}) > 1:
        return _("A story needs runs that were measured on the same number of images.")
    return ""


def story(
    runs: Sequence[Run], title: str, names: Sequence[str], probed: Sequence[Probed],
    changed: Callable[[Run], Comparison | str],
) -> Story:  # fmt: skip
    """The story of `runs` with their `names` in words, from the largest file to the smallest.

    probed: reports of other machines on the smallest. changed: its predictions beside the fp32 file's, or why they
    are not there; it is asked when that slide is shown.
    """
    found = sorted(((name, run) for run, name in zip(runs, names, strict=True)), key=lambda pair: -pair[1].size_bytes)
    measured, last = [(name, run.measurement) for name, run in found], found[-1][1]
    machines = _machines(last.measurement, probed)
    slides = told(title, measured, lambda: changes(changed(last)))
    return Story(_("Your runs"), (*slides, *([machines] if machines else [])))


def told(
    title: str, found: Sequence[tuple[str, Measurement]], changed: Callable[[], Slide]
) -> tuple[Slide | Callable[[], Slide], ...]:
    """What the network of that `title` was, what each file made of it, what the last costs, and what it changed."""
    steps = (_step(found[: i + 1]) for i in range(len(found)))
    labelled = found[-1][1].accuracy.reference == "labels"
    return (_original(title, found[0][1]), *steps, _cost(found), *([changed] if labelled else []))


def _original(title: str, found: Measurement) -> Slide:
    size = found.baseline_size_bytes
    percent = wording.percent(found.accuracy.baseline, found.accuracy.n)
    about = _("{title}. Accuracy {percent} on {n:,} images.", title=title, percent=percent, n=found.n_test)
    if found.accuracy.reference == "fp32":
        about = _(
            "{title}. The {n:,} images have no labels: its own predictions are the reference.",
            title=title, n=found.n_test,
        )  # fmt: skip
    notes = _("Say what the network is for and who waits for its answers. This is the smallest plain fp32 file.")
    unit = _("with 32-bit weights")
    return Slide(_("The original classifier"), wording.size(size), unit, about, _sizes([], size, []), notes=notes)


def _step(found: Sequence[tuple[str, Measurement]]) -> Slide:
    name, measured = found[-1]
    latency = _("Latency {ratio:.2f} of fp32.", ratio=measured.latency.ratio) if measured.latency else ""
    slow = measured.latency is not None and measured.latency.ratio > AS_SLOW
    smaller, size = measured.size_ratio >= 1, wording.size(measured.size_bytes)
    return Slide(
        name,
        f"{measured.size_ratio if smaller else 1 / measured.size_ratio:.1f}×",
        _("smaller: {size}", size=size) if smaller else _("larger: {size}", size=size),
        wording.in_a_row(_("{told}.", told=_quality(measured)), latency),
        _sizes([each for each, _ in found], measured.baseline_size_bytes, [m.size_bytes for _, m in found]),
        notes=wording.in_a_row(_("Every figure was measured on this very file."), _(NOT_FASTER) if slow else ""),
    )


def _quality(measured: Measurement) -> str:
    accuracy = measured.accuracy
    bounds = wording.interval(accuracy.interval.low, accuracy.interval.high, accuracy.n)
    return f"{_(WORDS[accuracy.reference].measure)} {wording.percent(accuracy.value, accuracy.n)} ({bounds})"


def _cost(found: Sequence[tuple[str, Measurement]]) -> Slide:
    accuracy = found[-1][1].accuracy
    words = WORDS[accuracy.reference]
    fp32 = [("fp32", accuracy.baseline)] if accuracy.reference == "labels" else []
    bars = [*fp32, *((name, m.accuracy.value) for name, m in found)]
    noise = accuracy.p_value is None or accuracy.p_value > 0.05
    sure = _("within noise") if noise else _("McNemar p = {p_value:.2g}", p_value=accuracy.p_value)
    return Slide(
        _("What it costs"),
        wording.points(-accuracy.drop, accuracy.n) or _("0 points"),
        _("of {lower}, {sure}", lower=_(words.measure).lower(), sure=sure)
        if accuracy.reference == "labels"
        else _("of agreement with fp32"),
        _("{name}: {quality}.", name=found[-1][0], quality=_quality(found[-1][1])),
        Bars(
            _(words.title),
            tuple(n for n, _ in bars),
            tuple(100 * v for _, v in bars),
            tuple(wording.percent(v, accuracy.n) for _, v in bars),
        ),
        notes=_("The interval in brackets is 95% (Wilson). Ask the audience which drop they could live with."),
    )


def changes(found: Comparison | str, about: str = "") -> Slide:
    """The images that only fp32 classifies correctly, or in a sentence why they are not there.

    about: a sentence on which images they are.
    """
    if isinstance(found, str):
        again = _("Measure the recipe on Explore with all test images, and open this slide again.")
        return Slide(_("Which images changed"), "–", _(found), again if found == NOT_STORED else "")
    shown = [*found.lost[:PICTURES]]
    return Slide(
        _("Which images changed"),
        f"{found.a_only:,}",
        _("images that only fp32 classifies correctly"),
        wording.in_a_row(_("{b_only:,} images went the other way, of {n:,}.", b_only=found.b_only, n=found.n), about),
        pictures=tuple(
            (
                flip.png,
                _(
                    "{label}: predicted {b} ({b_confidence:.0%})",
                    label=flip.label,
                    b=flip.b,
                    b_confidence=flip.b_confidence,
                ),
            )
            for flip in shown
        ),
        notes=_("Look at them: would a person be sure?"),
    )


def _machines(last: Measurement, probed: Sequence[Probed]) -> Slide | None:
    here = last.latency
    timed = [(f"{_(THIS_MACHINE)}, {wording.counted(here.threads, 'thread')}", here)] if here else []
    for each in reversed(probed):  # the one that reported last is marked
        if each.latencies:
            took = min(each.latencies, key=lambda latency: latency.threads)
            timed.append((f"{each.machine.title}, {wording.counted(took.threads, 'thread')}", took))
    if not timed:
        return None
    name, latency = timed[-1]
    return Slide(
        _("On which machines"),
        f"{latency.ratio:.2f}×",
        _("the latency of fp32: {name}", name=name)
        if len(timed) > 1
        else _("the latency of fp32, measured on this machine"),
        _(
            "{p50_ms} for one image; fp32 takes {baseline_p50_ms}.",
            p50_ms=wording.milliseconds(latency.p50_ms),
            baseline_p50_ms=wording.milliseconds(latency.baseline_p50_ms),
        ),
        Bars(
            _("Latency for one image, fp32 = 1"),
            ("fp32", *(n for n, _ in timed)),
            (1.0, *(t.ratio for _, t in timed)),
            ("1.00", *(f"{t.ratio:.2f}" for _, t in timed)),
        ),
        notes=_(
            "The ratio carries over to similar machines, the milliseconds do not. Deploy packs a probe for others."
        ),
    )


def _sizes(names: Sequence[str], fp32: int, sizes: Sequence[int]) -> Bars:
    every = [fp32, *sizes]
    return Bars(_("File size"), ("fp32", *names), tuple(s / 1000 for s in every), tuple(map(wording.size, every)))
