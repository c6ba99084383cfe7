"""Where a file's bytes went and why it is not faster: what is shown, and the stacked bar that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from compression.language import N_, _
from compression.records.analysis import Finding, OverTheWire, Profile
from compression.records.measurement import LayerBytes, Ledger
from pages.ui.model import wording

PARTS = {
    "payload": N_("Weight codes"), "positions": N_("Positions"), "codebooks": N_("Codebooks"), "scales": N_("Scales"),
    "biases": N_("Biases"), "functions": N_("Decoders"), "graph": N_("Graph"),
}  # fmt: skip
LAYER_PARTS = ("payload", "positions", "codebooks", "scales", "biases")
COLOURS = {
    "payload": "#0072B2", "positions": "#56B4E9", "codebooks": "#009E73", "scales": "#E69F00", "biases": "#F0E442",
    "functions": "#CC79A7", "graph": "#999999",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One part of every row, in KB, with what a hover tells of each."""

    part: str
    title: str
    kilobytes: tuple[float, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class ByteChart:
    """A stacked bar chart of rows from top to bottom; `entropy_kilobytes` marks what the codes could take at least."""

    rows: tuple[str, ...]
    bars: tuple[Bar, ...]
    entropy_kilobytes: float | None
    alt: str


def whole_file(ledger: Ledger) -> ByteChart:
    """One row: the file."""
    bars = [_bar(part, [ledger], ledger.size_bytes) for part in PARTS]
    entropy = ledger.entropy_bytes
    told = ", ".join(
        f"{bar.title.lower()} {wording.size(getattr(ledger, bar.part))}" for bar in bars if any(bar.kilobytes)
    )
    alt = _("The file's {size}: {told}.", size=wording.size(ledger.size_bytes), told=told)
    return ByteChart((_("File"),), _shown(bars), None if entropy is None else entropy / 1000, alt)


def layer_by_layer(ledger: Ledger) -> ByteChart:
    """A row for each layer, in the order of the network."""
    bars = [_bar(part, ledger.layers, ledger.size_bytes) for part in LAYER_PARTS]
    alt = _("The bytes of {count} layers.", count=len(ledger.layers))
    return ByteChart(tuple(layer.name for layer in ledger.layers), _shown(bars), None, alt)


def summary(ledger: Ledger, wire: OverTheWire | None = None) -> str:
    """The numbers beside the bar: entropy of the codes and bytes over the wire, as one line."""
    told = []
    if ledger.entropy_bits is not None and ledger.entropy_bytes is not None:
        least = wording.size(round(ledger.entropy_bytes))
        told.append(
            _(
                "entropy of the codes {entropy_bits:.2f} bit per weight, {least}",
                entropy_bits=ledger.entropy_bits,
                least=least,
            )
        )
    if wire is not None:
        told.append(
            _(
                "transfer size {size} with gzip, {size_2} with zstd",
                size=wording.size(wire.gzip),
                size_2=wording.size(wire.zstd),
            )
        )
    text = "; ".join(told)
    return text[:1].upper() + text[1:]


def figure(books: ByteChart) -> go.Figure:
    """Horizontal bars, one colour a part; a line where the codes' entropy lies."""
    fig = go.Figure(layout=_layout(books))
    for bar in books.bars:
        fig.add_trace(
            go.Bar(
                y=books.rows, x=bar.kilobytes, name=bar.title, orientation="h", marker={"color": COLOURS[bar.part]},
                customdata=bar.texts, hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
    if books.entropy_kilobytes is not None:
        fig.add_vline(x=books.entropy_kilobytes, line={"dash": "dot"}, annotation_text=_("entropy of the codes"))
    return fig


def findings(found: Sequence[Finding]) -> list[str]:
    """'Why isn't it faster?' as Markdown list items: the reason, then what to do instead."""
    return [f"{wording.said(finding.reason)} **{wording.said(finding.advice)}**" for finding in found]


def operators(candidate: Profile, baseline: Profile) -> list[dict[str, object]]:
    """Rows of a table: operator, how many kernels and milliseconds for one image, in this file and in the fp32 one.

    What does not run in one of them has no kernels there and takes no time.
    """
    ours, theirs = ({o.operator: o for o in profile.operators} for profile in (candidate, baseline))
    names = sorted(ours.keys() | theirs.keys(), key=lambda n: -max(p[n].ms if n in p else 0.0 for p in (ours, theirs)))
    return [{"Operator": name, **_columns(HERE, ours.get(name)), **_columns(THERE, theirs.get(name))} for name in names]


HERE = N_("Calls"), "ms", N_("Share")
THERE = N_("fp32 calls"), N_("fp32 ms"), N_("fp32 share")


def _columns(names: tuple[str, ...], found: object) -> dict[str, object]:
    values = (getattr(found, "calls", 0), getattr(found, "ms", 0.0), getattr(found, "share", 0.0))
    return dict(zip(names, values, strict=True))


def _bar(part: str, rows: Sequence[Ledger | LayerBytes], total: int) -> Bar:
    sizes = [getattr(row, part) for row in rows]
    texts = [
        _("{part}: {size}, {size_2:.1%} of the file", part=_(PARTS[part]), size=wording.size(size), size_2=size / total)
        for size in sizes
    ]
    return Bar(part, _(PARTS[part]), tuple(size / 1000 for size in sizes), tuple(texts))


def _shown(bars: Sequence[Bar]) -> tuple[Bar, ...]:
    return tuple(bar for bar in bars if any(bar.kilobytes))


def _layout(books: ByteChart) -> go.Layout:
    return go.Layout(
        template="none", barmode="stack", height=110 + 22 * len(books.rows), margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": "KB"}, yaxis={"autorange": "reversed", "type": "category"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left", "traceorder": "normal"},
    )  # fmt: skip
