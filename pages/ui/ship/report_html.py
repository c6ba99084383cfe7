"""The report as one HTML file that needs nothing else: no script, no network; it prints on A4."""

import math
from collections.abc import Sequence
from html import escape

from compression.language import N_, _, current
from pages.ui.charts.scatter_data import Chart, Mark
from pages.ui.charts.scatter_figure import BASELINE, NOW
from pages.ui.ship.report import Report, Row, cells

FRONT, VISITED = "#009E73", "#3987C9"

STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --soft: #626a78; --line: #d5d9e0; --paper: #fff; --mark: #fff3e6; }
@media (prefers-color-scheme: dark) { @media screen { :root {
  --ink: #e8eaee; --soft: #a2a9b6; --line: #3a404b; --paper: #14171c; --mark: #3a2a18; } } }
body { font: 15px/1.5 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 1.6rem 0 .4rem; }
.question { color: var(--soft); margin: 0 0 1rem; }
.answer { font-size: 1.1rem; border-left: 4px solid #D55E00; padding: .3rem 0 .3rem 1rem; margin: 0; }
.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 1.2rem; }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--soft); }
dl { display: grid; grid-template-columns: 11rem 1fr; gap: .25rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } tr.chosen td { background: var(--mark); font-weight: 600; }
pre { border: 1px solid var(--line); padding: .7rem; font-size: .8rem; overflow-x: auto; white-space: pre-wrap; }
footer, li, .legend { color: var(--soft); font-size: .85rem; }
.legend span { margin-right: 1em; }
@media (max-width: 700px) { dl { grid-template-columns: 1fr; } .charts { grid-template-columns: 1fr; } }
@page { size: A4; margin: 14mm; }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 11px; }
  dl { gap: 0 .6rem; margin: .4rem 0; } tr, figure, pre { break-inside: avoid; } table { font-size: 9px; } }
"""

LEGEND = ((NOW, N_("Recommended")), (FRONT, N_("Pareto front")), (VISITED, N_("Other files")), (BASELINE, N_("fp32")))
"""The colours of the charts. Lines are 95% intervals."""

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 40

MOST_ROWS = 32
"""More would not fit four pages."""


def to_html(told: Report) -> str:
    """The whole file."""
    shown = chosen_rows(told)
    left_out = len(told.rows) - len(shown)
    rows = "".join(_table_row(cells(row), row.chosen) for row in shown)
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in told.header)
    charts = "".join(f"<figure>{svg(data)}</figure>" for data in told.charts)
    keys = "".join(f'<span><b style="color: {colour}">●</b> {escape(_(name))}</span> ' for colour, name in LEGEND)
    notes = "".join(f"<li>{escape(note)}</li>" for note in told.notes)
    listed = _("{left_out} more files are listed in the CSV.", left_out=left_out)
    more = f"<p>{listed}</p>" if left_out else ""
    facts = "".join(f"<dt>{escape(ask)}</dt><dd>{escape(say)}</dd>" for ask, say in told.facts)
    recipe = f"<h2>{_('Recommended recipe')}</h2><pre>{escape(told.recipe_yaml)}</pre>" if told.recipe_yaml else ""
    measures = _("{measure} against size and latency", measure=_(told.words.measure))
    signed = _(
        "Measured on {machine}. Written {written} by Compression Lab.", machine=told.machine, written=told.written
    )
    return f"""<!doctype html>
<html lang="{current()}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(told.title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(told.title)}</h1>
<p class="question">{escape(told.question)}</p>
<p class="answer">{escape(told.answer)}</p>
<p>{escape(told.reason)}</p>
<dl>{facts}</dl>
<h2>{escape(measures)}</h2><div class="charts">{charts}</div>
<p class="legend">{keys}{escape(_("Lines: 95% intervals."))}</p>
<h2>{_("All measured files")}</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}
<ul>{notes}</ul>
{recipe}
<footer>{escape(signed)}</footer>
</body></html>
"""


def svg(data: Chart) -> str:
    """A chart with its marks, intervals and front."""
    marks = [mark for mark in data.marks if not data.x.logarithmic or mark.spot.x > 0]
    if not marks:
        return ""
    across = Scale([m.spot.x for m in marks], LEFT, WIDTH - RIGHT, data.x.logarithmic)
    up = Scale([e for m in marks for e in (m.spot.y_interval.low, m.spot.y_interval.high)], HEIGHT - BOTTOM, TOP)
    parts = [_grid(data, across, up)]
    corners = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in stairs(data.front))
    parts.append(f'<polyline points="{corners}" fill="none" stroke="{FRONT}" stroke-width="1.5"/>')
    parts += [_mark(mark, across, up) for mark in marks]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(data.alt)}">{"".join(parts)}</svg>'


class Scale:
    """Values to places, with some air at both ends."""

    def __init__(self, values: Sequence[float], start: float, end: float, logarithmic: bool = False):
        self._move = math.log10 if logarithmic else float
        low, high = min(map(self._move, values)), max(map(self._move, values))
        air = 0.06 * (high - low) or 0.5
        self.low, self.high, self._start, self._end = low - air, high + air, start, end

    def __call__(self, value: float) -> float:
        """The place of a value, in the drawing's units."""
        return self._start + (self._move(value) - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """About four round numbers."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / 3))
        step *= next(s for s in (1, 2, 5, 10) if (self.high - self.low) / (s * step) <= 6)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step) + 1)]

    def shown(self, decades: Sequence[float]) -> list[float]:
        """Those of a logarithmic axis's ticks that it holds; its own on another axis."""
        return [tick for tick in decades if self.low <= math.log10(tick) <= self.high] or self.ticks()


def _grid(data: Chart, across: Scale, up: Scale) -> str:
    lines = []
    for tick in up.ticks():
        y = up(tick)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8883" />')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in across.shown(data.x_ticks):
        lines.append(f'<text x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(data.x.title)}</text>')
    lines.append(f'<text x="12" y="{HEIGHT / 2}" transform="rotate(-90 12 {HEIGHT / 2})" text-anchor="middle">'
                 f"{escape(data.y.title)}</text>")  # fmt: skip
    return "".join(lines)


def _mark(mark: Mark, across: Scale, up: Scale) -> str:
    x, y = across(mark.spot.x), up(mark.spot.y)
    colour = {"now": NOW, "baseline": BASELINE}.get(mark.role, FRONT if mark.standing == "front" else VISITED)
    low, high = up(mark.spot.y_interval.low), up(mark.spot.y_interval.high)
    faint = 0.35 if mark.standing == "behind" and mark.role != "now" else 1
    bar = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>'
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if mark.role == "now" else 4}" fill="{colour}"/>'
    text = escape(mark.text.replace("<b>", "").replace("</b>", "").replace("<br>", ", "))
    return f'<g opacity="{faint}"><title>{text}</title>{bar}{dot}</g>'


def stairs(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The front's corners: level until the next better point."""
    corners: list[tuple[float, float]] = []
    for x, y in front:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return corners


def _table_row(texts: Sequence[str], chosen: bool) -> str:
    inside = "".join(f"<td>{escape(text)}</td>" for text in texts)
    return f"<tr{' class=chosen' if chosen else ''}>{inside}</tr>"


def chosen_rows(told: Report) -> list[Row]:
    """All rows, or so many that four pages hold them: the recommendation, the front evenly thinned, then others."""
    first = [row for row in told.rows if row.chosen]
    front = [row for row in told.rows if row.front and not row.chosen]
    pace = max(1, -(-len(front) // (MOST_ROWS - len(first))))
    rest = [row for row in told.rows if not (row.front or row.chosen)]
    kept = {id(row) for row in [*first, *front[::pace], *rest][:MOST_ROWS]}
    return [row for row in told.rows if id(row) in kept]
