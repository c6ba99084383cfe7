"""The report as a PDF of A4 pages: the answers and the charts on the first, all measured files after it."""

import io
import re
from collections.abc import Callable
from functools import cache
from xml.sax.saxutils import escape

from reportlab.graphics.shapes import Circle, Drawing, Group, Line, PolyLine, String
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    ListFlowable,
    PageBreak,
    Paragraph,
    Preformatted,
    SimpleDocTemplate,
    Spacer,
    Table,
)

from compression.language import _
from pages.ui.charts.scatter_data import Chart
from pages.ui.charts.scatter_figure import BASELINE, NOW
from pages.ui.ship.report import Report, cells
from pages.ui.ship.report_html import FRONT, LEGEND, VISITED, Scale, chosen_rows, stairs

INK, SOFT, RULE, MARKED = (HexColor(code) for code in ("#1f2430", "#626a78", "#d5d9e0", "#fff3e6"))
FACE, BOLD, EAST = "Vera", "VeraBd", "STSong-Light"
"""Fonts: the first two come with ReportLab; the third, for Chinese and Japanese, with the reader's program."""
MARGIN = 14 * mm
WIDTH = A4[0] - 2 * MARGIN
CHART = WIDTH / 2 - 3 * mm, 105 * mm
LEFT, RIGHT, TOP, BOTTOM = 30, 6, 6, 30
COLUMNS = (0.22, 0.15, 0.1, 0.09, 0.13, 0.13, 0.08, 0.1)
"""Shares of the page's width."""


def to_pdf(told: Report) -> bytes:
    """The whole file."""
    _fonts()
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=MARGIN,
        title=_printable(told.title), author="Compression Lab", invariant=1,
    )  # fmt: skip
    document.build(_content(told), onFirstPage=_foot(told), onLaterPages=_foot(told))
    return file.getvalue()


@cache
def _fonts() -> None:
    for face in (FACE, BOLD):
        pdfmetrics.registerFont(TTFont(face, f"{face}.ttf"))
    pdfmetrics.registerFont(UnicodeCIDFont(EAST))


def _content(told: Report) -> list[Flowable]:
    soft = {"colour": SOFT}
    parts: list[Flowable] = [
        _text(told.title, 17, face=BOLD), _text(told.question, 9, **soft), Spacer(0, 3 * mm),
        _text(told.answer, 11, face=BOLD), Spacer(0, 2 * mm), _text(told.reason, 9), Spacer(0, 4 * mm),
    ]  # fmt: skip
    if told.facts:
        rows = [[_text(ask, 9, **soft), _text(say, 9)] for ask, say in told.facts]
        parts += [Table(rows, [0.24 * WIDTH, 0.76 * WIDTH], style=[("VALIGN", (0, 0), (-1, -1), "TOP")], splitInRow=1)]
    parts += [Spacer(0, 4 * mm), Table([[drawing(data) for data in told.charts]], [WIDTH / 2] * 2), _legend()]
    parts += [
        PageBreak(),
        _text(_("All measured files"), 12, face=BOLD),
        Spacer(0, 2 * mm),
        *_table(told),
        Spacer(0, 3 * mm),
    ]
    parts.append(
        ListFlowable([_text(note, 8, **soft) for note in told.notes], bulletType="bullet", start="–", bulletFontSize=8)
    )
    if told.recipe_yaml:
        parts += [Spacer(0, 4 * mm), _text(_("Recommended recipe"), 12, face=BOLD), Spacer(0, 2 * mm)]
        parts += [Preformatted(told.recipe_yaml, _style(8, FACE, INK))]
    return parts


def _legend() -> Flowable:
    """What the colours of the charts mean, each in its own."""
    names = [_text(_(name), 8, face=BOLD, colour=HexColor(colour)) for colour, name in LEGEND]
    return Table([[*names, _text(_("Lines: 95% intervals."), 8, colour=SOFT)]], [WIDTH / 5] * 5)


def _table(told: Report) -> list[Flowable]:
    shown = chosen_rows(told)
    rows = [[_text(name.replace(" = ", "\xa0=\xa0"), 7, face=BOLD) for name in told.header]]  # one line for 'fp32 = 1'
    rows += [[_text(cell, 7) for cell in cells(row)] for row in shown]
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE)]
    style += [("BACKGROUND", (0, i + 1), (-1, i + 1), MARKED) for i, row in enumerate(shown) if row.chosen]
    parts: list[Flowable] = [Table(rows, [share * WIDTH for share in COLUMNS], style=style, repeatRows=1, splitInRow=1)]
    if left_out := len(told.rows) - len(shown):
        parts.append(_text(_("{left_out} more files are listed in the CSV.", left_out=left_out), 8))
    return parts


def _printable(text: str) -> str:
    """The text with a sign in place of what is no character of a page."""
    return re.sub(r"[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", "\ufffd", text)


def _text(text: str, size: int, *, face: str = FACE, colour: HexColor = INK) -> Paragraph:
    """A paragraph; characters that its font lacks are set in another."""
    text = _printable(text)
    known = pdfmetrics.getFont(face).face.charToGlyph
    parts = [c if ord(c) in known or c.isspace() else f"\0{c}\1" for c in text]
    marked = escape("".join(parts).replace("\1\0", ""))
    return Paragraph(marked.replace("\0", f'<font name="{EAST}">').replace("\1", "</font>"), _style(size, face, colour))


def _style(size: int, face: str, colour: HexColor) -> ParagraphStyle:
    return ParagraphStyle(face, fontName=face, fontSize=size, leading=1.35 * size, textColor=colour, splitLongWords=1)


def _foot(told: Report) -> Callable[[Canvas, SimpleDocTemplate], None]:
    def draw(canvas: Canvas, document: SimpleDocTemplate) -> None:
        about = _(
            "Measured on {machine}. Written {written} by Compression Lab. Page {page}",
            machine=told.machine,
            written=told.written,
            page=document.page,
        )
        line = _text(about, 6, colour=SOFT)
        line.wrapOn(canvas, WIDTH, MARGIN)
        line.drawOn(canvas, MARGIN, 5 * mm)

    return draw


def drawing(data: Chart) -> Drawing:
    """A chart with its marks, intervals and front."""
    width, height = CHART
    drawn = Drawing(width, height)
    marks = [mark for mark in data.marks if not data.x.logarithmic or mark.spot.x > 0]
    if not marks:
        return drawn
    across = Scale([m.spot.x for m in marks], LEFT, width - RIGHT, data.x.logarithmic)
    ends = [end for m in marks for end in (m.spot.y_interval.low, m.spot.y_interval.high)]
    up = Scale(ends, BOTTOM, height - TOP)
    _axes(drawn, data, across, up)
    corners = [place for x, y in stairs(data.front) for place in (across(x), up(y))]
    if len(corners) >= 4:
        drawn.add(PolyLine(corners, strokeColor=HexColor(FRONT), strokeWidth=1))
    for mark in marks:
        shade = {"now": NOW, "baseline": BASELINE}.get(mark.role, FRONT if mark.standing == "front" else VISITED)
        colour = HexColor(shade)
        x, y = across(mark.spot.x), up(mark.spot.y)
        low, high = up(mark.spot.y_interval.low), up(mark.spot.y_interval.high)
        drawn.add(Line(x, low, x, high, strokeColor=colour, strokeWidth=0.5))
        drawn.add(Circle(x, y, 3.5 if mark.role == "now" else 2.2, fillColor=colour, strokeColor=None))
    return drawn


def _axes(drawn: Drawing, data: Chart, across: Scale, up: Scale) -> None:
    width, height = CHART
    words = {"fontName": FACE, "fontSize": 6, "fillColor": SOFT}
    for tick in up.ticks():
        drawn.add(Line(LEFT, up(tick), width - RIGHT, up(tick), strokeColor=RULE, strokeWidth=0.4))
        drawn.add(String(LEFT - 3, up(tick) - 2, f"{tick:g}", textAnchor="end", **words))
    for tick in across.shown(data.x_ticks):
        drawn.add(String(across(tick), BOTTOM - 9, f"{tick:g}", textAnchor="middle", **words))
    title = words | {"fontName": FACE if data.x.title.isascii() and data.y.title.isascii() else EAST}
    drawn.add(String((LEFT + width) / 2, BOTTOM - 20, data.x.title, textAnchor="middle", **title))
    name = Group(String(0, 0, data.y.title, textAnchor="middle", **title), transform=(0, 1, -1, 0, 7, height / 2))
    drawn.add(name)
