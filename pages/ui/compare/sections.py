"""The sections of two runs side by side."""

from collections.abc import Callable

import streamlit as st

from compression import jobs
from compression.analysis.comparison import Comparison, Flip
from compression.jobs import Request
from compression.language import N_, _
from compression.records.measurement import Predictions
from compression.store import Run
from pages.ui.charts import byte_figures, pictures, tables
from pages.ui.charts.plot import plot
from pages.ui.compare import machines, two_runs
from pages.ui.model import wording
from pages.ui.model.words import WORDS
from pages.ui.page.table import columns
from pages.ui.page.waiting import awaited
from pages.ui.state import asked, kept, store

COLUMNS = {
    "Favourite": st.column_config.TextColumn("★", width=40),
    "Recipe": st.column_config.TextColumn(width="large"),
    **tables.MEASURED,
    "Smaller": st.column_config.NumberColumn(N_("Compression ratio"), format="%.1f"),
    "Measured": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
    "Run": st.column_config.TextColumn(width="small"),
}


MACHINES = {
    "Median": st.column_config.NumberColumn(N_("Median, ms"), format="%.3f"),
    "p95": st.column_config.NumberColumn("p95, ms", format="%.3f"),
    "p99": st.column_config.NumberColumn("p99, ms", format="%.3f"),
    "fp32": st.column_config.NumberColumn(N_("fp32, ms"), format="%.3f"),
    "Latency": st.column_config.NumberColumn(N_("Latency, fp32 = 1"), format="%.2f"),
    "Memory": st.column_config.NumberColumn(N_("Memory, MB"), format="%.1f"),
    "°C": st.column_config.NumberColumn(format="%.0f"),
    "MHz": st.column_config.NumberColumn(format="%.0f"),
}


def measures(a: Run, b: Run) -> None:
    """The settings that differ, and what that changed."""
    left, right = st.columns([2, 3])
    rows = two_runs.settings(a, b)
    left.markdown(_("**Differing settings**"))
    left.dataframe(rows, hide_index=True, column_config=columns(rows)) if rows else left.caption(
        _("None: the same recipe on the same network.")
    )
    right.markdown(_("**Results**"))
    results = two_runs.rows(two_runs.deltas(a, b, compared(a, b)))
    right.dataframe(results, hide_index=True, column_config=columns(results))


def classes(a: Run, b: Run) -> None:
    """Accuracy or agreement for each class, and which classes are taken for which."""
    found = compared(a, b)
    if found is None:
        return
    left, right = st.columns(2)
    with left:
        measure = _(WORDS[found.reference].measure)
        st.markdown(
            _(
                "**{measure} per class{value}**",
                measure=measure,
                value=_(" predicted by fp32") if found.reference == "fp32" else "",
            )
        )
        plot(two_runs.by_class(found), _("{measure} of A and B per class.", measure=measure), key="duel.classes")
        st.dataframe([vars(c) for c in found.classes], hide_index=True, column_config={
            "name": _("Class"), "n": _("Images"), "a": st.column_config.NumberColumn("A", format="percent"),
            "b": st.column_config.NumberColumn("B", format="percent"),
        })  # fmt: skip
    with right:
        st.markdown(_("**Confusion matrix, B − A**") if found.reference == "labels" else
                    _("**Confusion with fp32's predictions, B − A**"))  # fmt: skip
        plot(
            two_runs.confusion(found),
            _("For each class, how many more images B predicts as another class."),
            key="duel.confusion",
        )


def flipped(a: Run, b: Run) -> None:
    """The very images that only one of the two answers rightly, or like the fp32 file."""
    found = compared(a, b)
    if found is None:
        return
    st.caption(two_runs.summary(found))
    if found.reference == "fp32":
        _flips(_("A agrees with fp32, B does not"), found.lost, found.a_only)
        _flips(_("B agrees with fp32, A does not"), found.won, found.b_only)
    else:
        _flips(_("A correct, B wrong"), found.lost, found.a_only)
        _flips(_("B correct, A wrong"), found.won, found.b_only)


def _flips(heading: str, flips: tuple[Flip, ...], count: int) -> None:
    st.markdown(f"**{heading}** ({count:,}{(_(', {count} shown', count=len(flips)) if count > len(flips) else '')})")
    if not flips:
        st.caption(_("None."))
        return
    pictures.row((flip.png, _told(flip)) for flip in flips)


def _told(flip: Flip) -> str:
    return f"{flip.label}. A: {flip.a} {flip.a_confidence:.0%}, B: {flip.b} {flip.b_confidence:.0%}"


def confidence(a: Run, b: Run) -> None:
    """Whether the files are right, or answer like the fp32 file, as often as they say."""
    found = compared(a, b)
    if found is not None:
        plot(two_runs.reliability(found), _("Confidence against how often A and B {does}.", does=two_runs.does(found)),
             key="duel.reliability")  # fmt: skip
        does = _("is correct") if found.reference == "labels" else _("agrees with fp32")
        st.caption(
            _(
                "One point per confidence decile. Below the diagonal, a file {does} less often than its "
                "confidence says.",
                does=does,
            )
        )


def books(a: Run, b: Run) -> None:
    """The byte ledgers side by side, on one scale."""
    for side, run in (("A", a), ("B", b)):
        found = store().ledger(run.id)
        st.markdown(f"**{side}**")
        if found is None:
            st.caption(_("No size breakdown is stored for this file."))
            continue
        shown = byte_figures.whole_file(found)
        figure = byte_figures.figure(shown)
        figure.update_xaxes(range=[0, 1.05 * max(a.size_bytes, b.size_bytes) / 1000])
        plot(figure, shown.alt, key=f"duel.books.{side}")
        st.caption(byte_figures.summary(found))


def speed(a: Run, b: Run) -> None:
    """ONNX Runtime's own account of both files."""
    for side, run, place in zip("AB", (a, b), st.columns(2), strict=True):
        with place:
            st.markdown(f"**{side}**")
            file = kept(store().file(run))
            if file is None:
                st.caption(_("The file is no longer on this machine."))
                continue
            subject = run.subject
            request = Request(subject.model, subject.weights, subject.dataset, run.recipe_json)
            layers = store().layers(run.id)
            told = awaited(
                asked(("explain", run.id), jobs.explain_latency, request, file, layers), _("Profiling the file")
            )
            if told is not None:
                operators = byte_figures.operators(told.profile, told.baseline)
                st.dataframe(operators, hide_index=True, column_config=columns(operators, tables.OPERATORS))
                st.markdown("\n".join(f"- {line}" for line in byte_figures.findings(told.findings)))


def elsewhere(a: Run, b: Run) -> None:
    """Each file on the machines that have reported on it: times, and answers that differ from those here."""
    for side, run in (("A", a), ("B", b)):
        st.markdown(f"**{side}**")
        probed = store().probes.of_run(run.id)
        if not probed:
            st.caption(_("No report from another machine yet. Deploy has the probe that measures this file there."))
            continue
        rows = machines.rows(run, probed)
        st.dataframe(rows, hide_index=True, column_config=columns(rows, MACHINES))
        for sentence in machines.sentences(run, store().predictions(run.id), probed):
            st.markdown(f"- {wording.quoted(sentence)}")


def compared(a: Run, b: Run) -> Comparison | None:
    """Both runs' answers image by image, or None and a line that says why not."""
    if a.subject.data_fingerprint != b.subject.data_fingerprint:
        st.caption(_("These runs were measured on different images, so predictions cannot be compared."))
        return None
    ours, theirs = store().predictions(a.id), store().predictions(b.id)
    if ours is None or theirs is None:
        st.caption(_("Predictions are not stored for one of these runs."))
        return None
    subject = a.subject
    request = Request(subject.model, subject.weights, subject.dataset, a.recipe_json)
    fp32 = _fp32(a)
    answer = asked(("compare", a.id, b.id), jobs.compare_predictions, request, ours, theirs, fp32)
    return awaited(answer, _("Comparing predictions"))


def are_stored(a: Run, b: Run) -> bool:
    """Whether both runs' predictions are there, on the same images."""
    same = a.subject.data_fingerprint == b.subject.data_fingerprint
    return same and all(store().predictions(run.id) is not None for run in (a, b))


def _fp32(run: Run) -> Predictions | None:
    """The fp32 file's answers, which stand for labels where there are none."""
    base = store().baseline(run.subject) if run.accuracy.reference == "fp32" else None
    return store().predictions(base.id) if base else None


SECTIONS: dict[str, Callable[[Run, Run], None]] = {
    "Measures": measures, "Classes": classes, "Changed predictions": flipped, "Confidence": confidence,
    "Bytes": books, "Operators": speed, "Machines": elsewhere,
}  # fmt: skip
"""Every section by the name that the page shows."""
