"""The report for those who decide: what was asked, what is recommended and why, and every number behind it."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from compression.analysis.comparison import Comparison
from compression.language import N_, _
from pages.ui.charts.scatter_data import Chart, chart, where
from pages.ui.model import wording
from pages.ui.model.budget import Advice, Budget, advise, called
from pages.ui.model.points import Point, Trail
from pages.ui.model.words import WORDS, Words

NOT_STORED = N_("Not compared: the predictions of both files are not stored here.")
COMPARING = N_("The comparison had not finished when this report was written.")


@dataclass(frozen=True)
class Row:
    """One measured file in words; `front` if nothing measured beats it, `chosen` if it is the recommendation."""

    recipe: str
    accuracy: str
    drop: str
    size: str
    smaller: str
    latency: str
    images: str
    machine: str
    front: bool
    chosen: bool


@dataclass(frozen=True)
class Report:
    """All that the report says; `values` are the numbers as they were measured, a row for each file."""

    title: str
    question: str
    answer: str
    reason: str
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    charts: tuple[Chart, Chart]
    recipe_yaml: str
    machine: str
    written: str
    values: tuple[dict[str, Any], ...]
    words: Words

    @property
    def header(self) -> tuple[str, ...]:
        """What stands above a row's `cells`."""
        return (
            _("Recipe"),
            _("{measure}, 95% interval", measure=_(self.words.measure)),
            _("Drop"),
            _("Size"),
            _("Compression ratio"),
            _("Latency (fp32 = 1)"),
            _("Test images"),
            _("Machine"),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """How the numbers were taken."""
        about = _(AGREEMENT) if self.words is WORDS["fp32"] else _(ACCURACY)
        return f"{_(self.words.measure)}, {_(MEASURED)}", about, _(LATENCY)


def recommended(trail: Trail, budget: Budget) -> Point | None:
    """The file that the report recommends."""
    return advise(budget, [point for point in trail.points if point.full]).point


def report(
    title: str, trail: Trail, budget: Budget, when: datetime, compared: Comparison | str = NOT_STORED
) -> Report | None:
    """The report on all points measured in full, for the budget as it is `asked`; None where there are none.

    compared: the fp32 file's predictions (A) beside those of the recommended file (B), or why they are not there.
    """
    points = [point for point in trail.points if point.full]
    if not points:
        return None
    advice = advise(budget, points)
    size, latency = (chart(trail, advice.point, x, "accuracy", budget=budget.asked) for x in ("size", "latency"))
    front = {mark.key for mark in size.marks if mark.standing == "front"}
    ordered = sorted(points, key=lambda point: point.measurement.size_bytes)
    chosen = advice.point.key if advice.point else ""
    return Report(
        title=title,
        question=question(budget.asked, trail.words),
        answer=answer(advice),
        reason=advice.reason,
        facts=facts(advice.point, compared) if advice.point else (),
        rows=tuple(_row(point, point.key in front, point.key == chosen) for point in ordered),
        charts=(size, latency),
        recipe_yaml=advice.point.recipe.to_yaml() if advice.point else "",
        machine=machines(points),
        written=f"{when:%Y-%m-%d %H:%M}",
        values=tuple(values(point) for point in ordered),
        words=trail.words,
    )


def question(budget: Budget, words: Words) -> str:
    """'Which file is the smallest with accuracy drop ≤ 1 point?'."""
    limits = _(" with {limits_in}", limits_in=_(" and ").join(budget.limits_in(words))) if budget.limits else ""
    return _("Which file is the {called}{limits}?", called=called(budget.wish, words), limits=limits)


def answer(advice: Advice) -> str:
    """The recommended file in a sentence with its three figures."""
    if advice.point is None:
        return _("No measured file meets the budget.")
    measured = advice.point.measurement
    accuracy, n = measured.accuracy, measured.accuracy.n
    recipe = wording.recipe_line(advice.point.recipe)
    told = _("{recipe}. {size}", recipe=recipe, size=wording.size(measured.size_bytes))
    smaller = wording.times(measured.size_ratio)
    told += _(", {smaller} than fp32", smaller=smaller) if smaller else ""
    bounds = wording.interval(accuracy.interval.low, accuracy.interval.high, n)
    if accuracy.reference == "fp32":
        told += _(
            "; agreement with fp32 {percent} ({bounds})", percent=wording.percent(accuracy.value, n), bounds=bounds
        )
    else:
        told += _(
            "; accuracy {percent} (95% interval {bounds}; fp32: {baseline})",
            percent=wording.percent(accuracy.value, n),
            bounds=bounds,
            baseline=wording.percent(accuracy.baseline, n),
        )
    if measured.latency:
        ratio = measured.latency.ratio_interval
        share = wording.ratio(measured.latency.ratio, ratio.low, ratio.high).removeprefix("× ")
        told += _("; {share} of fp32's latency for one image", share=share)
    return _("{told}.", told=told)


def facts(point: Point, compared: Comparison | str) -> tuple[tuple[str, str], ...]:
    """What a manager asks of the recommended file, each question with its answer."""
    found = point.measurement
    accuracy, latency, n = found.accuracy, found.latency, found.accuracy.n
    words = WORDS[accuracy.reference]
    drop = wording.points(max(accuracy.drop, 0.0), n).removeprefix("+") or _("0 points")
    noise = "" if accuracy.significant else _(", within noise")
    faster = _("Not measured on this machine.")
    if latency:
        bounds = latency.ratio_interval
        share = wording.ratio(latency.ratio, bounds.low, bounds.high).removeprefix("× ")
        faster = _(
            "{times}: {p50_ms} instead of {fp32_ms} for one image (latency {share} of fp32).",
            times=_("{times:.1f}× faster", times=1 / latency.ratio) if bounds.high < 1 else _("Not faster"),
            p50_ms=wording.milliseconds(latency.p50_ms),
            fp32_ms=wording.milliseconds(latency.baseline_p50_ms),
            share=share,
        )
    smaller = _(
        "{times}: {size} instead of {size_2}.",
        times=wording.times(found.size_ratio) or _("Not smaller"),
        size=wording.size(found.size_bytes),
        size_2=wording.size(found.baseline_size_bytes),
    )
    return (
        (_("How much smaller?"), smaller),
        (_("How much faster?"), faster),
        (
            _("What is lost?"),
            _(
                "{drop} of {lower}{noise}, on {n:,} test images.",
                drop=drop,
                lower=_(words.measure).lower(),
                noise=noise,
                n=n,
            ),
        ),
        (_("For which classes?"), _worst(compared)),
        (_("On which machine?"), _("{told}.", told=machines([point]))),
        (
            _("What was not measured?"),
            _(
                "Other devices, energy, and images unlike the test images. The app's page Deploy "
                "estimates devices, and packs a probe that measures on them."
            ),
        ),
    )


def _worst(compared: Comparison | str) -> str:
    """The class that loses most."""
    if isinstance(compared, str):
        return _(compared)
    worst = max(compared.classes, key=lambda c: c.a - c.b)
    if worst.a <= worst.b:
        return _("No class loses: {n:,} images compared.", n=compared.n)
    where = _(
        "{b} instead of {a} of {n:,} images",
        b=wording.percent(worst.b, worst.n),
        a=wording.percent(worst.a, worst.n),
        n=worst.n,
    )
    only = _(
        "{a_only:,} images are correct only with fp32, {b_only:,} only with this file.",
        a_only=compared.a_only,
        b_only=compared.b_only,
    )
    return _("Most for {name}: {where}. {only}", name=worst.name, where=where, only=only)


def machines(points: Sequence[Point]) -> str:
    """On what the numbers were taken: processors and versions, each once."""
    found = dict.fromkeys(point.measurement.machine for point in points)
    return "; ".join(
        _(
            "{cpu}, {cores} cores, {system}, ONNX Runtime {onnxruntime}",
            cpu=m.cpu,
            cores=m.cores,
            system=m.system,
            onnxruntime=m.onnxruntime,
        )
        for m in found
    )


def values(point: Point) -> dict[str, Any]:
    """A file's numbers as they were measured, and its recipe."""
    flat = {k: v for k, v in point.measurement.summary().items() if k not in ("machine", "seconds")}
    return {"recipe": wording.recipe_line(point.recipe), **flat, "cpu": point.measurement.machine.cpu}


def to_csv(told: Report) -> str:
    """The numbers as a table with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(told.values[0]))
    writer.writeheader()
    writer.writerows(told.values)
    return text.getvalue()


def to_json(told: Report) -> str:
    """Question, answer, reason, machine, recipe and numbers."""
    plain = {
        "title": told.title, "written": told.written, "question": told.question, "answer": told.answer,
        "reason": told.reason, "facts": dict(told.facts), "machine": told.machine, "recipe": told.recipe_yaml,
        "files": list(told.values),
    }  # fmt: skip
    return json.dumps(plain, indent=1) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """A row's texts, under `Report.header`."""
    return (
        row.recipe, row.accuracy, row.drop, row.size, row.smaller, row.latency, row.images, row.machine,
    )  # fmt: skip


def to_markdown(told: Report) -> str:
    """The report as text."""
    lines = [f"# {told.title}", "", f"**{told.question}** {told.answer}", "", told.reason, ""]
    lines += [*(f"- **{ask}** {say}" for ask, say in told.facts), ""]
    lines += ["| " + " | ".join(told.header) + " |", "|" + "---|" * len(told.header)]
    for row in told.rows:
        first, *rest = cells(row)
        lines.append("| " + " | ".join([f"**{first}**" if row.chosen else first, *rest]) + " |")
    lines += [
        "",
        *told.notes,
        "",
        _("Measured on {machine}. Written {written}.", machine=told.machine, written=told.written),
    ]
    if told.recipe_yaml:
        lines += ["", "```yaml", told.recipe_yaml.rstrip(), "```"]
    return "\n".join(lines) + "\n"


MEASURED = N_("bytes and milliseconds are measured on the files themselves in ONNX Runtime.")
ACCURACY = N_(
    "Accuracy is over the whole test split with its 95% Wilson interval; a drop in brackets is within noise (McNemar)."
)
AGREEMENT = N_(
    "The images have no labels: agreement is the share of the whole test split that gets the same class from a file as "
    "from the fp32 file, with its 95% Wilson interval. How often fp32 itself errs is not known."
)
LATENCY = N_(
    "Latency is for one image, taken in turns with the fp32 file, with the 95% interval of the ratio's median."
)


def _row(point: Point, front: bool, chosen: bool) -> Row:
    measured = point.measurement
    accuracy, latency, n = measured.accuracy, measured.latency, measured.accuracy.n
    bounds = wording.interval(accuracy.interval.low, accuracy.interval.high, n)
    drop = wording.points(accuracy.drop, n).removeprefix("+")
    noise = drop and not accuracy.significant
    interval = latency.ratio_interval if latency else None
    return Row(
        recipe=wording.recipe_line(point.recipe),
        accuracy=f"{wording.percent(accuracy.value, n)} ({bounds})",
        drop=f"({drop})" if noise else drop or _("none"),
        size=wording.size(measured.size_bytes),
        smaller=f"{measured.size_ratio:.1f}×",
        latency=wording.ratio(latency.ratio, interval.low, interval.high) if latency and interval else "–",
        images=f"{n:,}",
        machine=where(point),
        front=front,
        chosen=chosen,
    )
