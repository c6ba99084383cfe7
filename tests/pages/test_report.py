"""The report: its numbers are the measured ones, its file needs nothing else, and it prints on four pages."""

import csv
import io
import json
import re
from dataclasses import replace
from datetime import datetime

import pytest
from pypdf import PdfReader

from compression import reference
from compression.analysis.comparison import ClassAccuracy, Comparison, Reliability
from compression.records.measurement import Interval
from pages.ui.model import wording
from pages.ui.model.budget import Budget
from pages.ui.model.points import Trail
from pages.ui.ship import report, report_html, report_pdf
from tests.pages.points import point, trail
from tests.pages.running_app import opened

WHEN = datetime(2026, 1, 2, 3, 4)
MEASURED = trail(point(0.5, 0.935, 400_000, 0.9), point(0.7, 0.93, 250_000, 0.95), point(0.9, 0.88, 90_000, 1.0))


def pages_of(pdf: bytes) -> list[str]:
    """The text of each page."""
    return [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]


WITHIN = Budget(drop=1.5)


def told(budget: Budget = WITHIN, known: Trail = MEASURED) -> report.Report:
    found = report.report("Smaller <b>& faster", known, budget, WHEN)
    assert found is not None
    return found


def test_the_recommendation_keeps_the_budget_and_says_why():
    found = told()
    assert "drop ≤ 1.5 points" in found.question
    assert "250.0 KB" in found.answer and "accuracy 93.00% (95% interval 92.50 to 93.50%; fp32: 94.00%)" in found.answer
    assert [row.chosen for row in found.rows] == [False, True, False]
    assert "2 of 3 measured points" in found.reason
    assert "sparsity: 0.7" in found.recipe_yaml


def test_what_no_file_keeps_is_said():
    found = told(Budget(size=10))
    assert found.answer == "No measured file meets the budget." and not any(row.chosen for row in found.rows)
    assert not found.recipe_yaml


def test_without_a_limit_of_accuracy_the_answer_is_within_a_point_of_fp32():
    found = told(Budget())
    assert found.question == "Which file is the smallest with accuracy drop ≤ 1 point?"
    assert "accuracy 93.00%" in found.answer and "at most 1 point" in found.reason
    assert [row.chosen for row in found.rows] == [False, True, False]
    assert found.charts[0].limits[1] == pytest.approx(93.0)
    assert told(Budget(wish="fastest")).answer.startswith("Prune weights: sparsity 50%")
    assert "accuracy 93.00%" in told(Budget(size=300)).answer  # another limit is none of accuracy
    assert told(Budget(wish="most accurate")).question == "Which file is the most accurate?"
    assert "accuracy 88.00%" in told(Budget(drop=10)).answer  # whoever asks for it gets it


def test_that_no_file_is_within_a_point_of_fp32_is_said():
    found = told(Budget(), trail(point(0.9, 0.357, 90_000, 1.0)))
    assert found.answer == "No measured file meets the budget." and not found.recipe_yaml
    assert "None of the 1 measured points meets accuracy drop ≤ 1 point" in found.reason
    assert "smallest drop is 58.30 points" in found.reason and "No limit on accuracy is set" in found.reason


def test_every_number_is_the_measured_one():
    found = told()
    rows = list(csv.DictReader(io.StringIO(report.to_csv(found))))
    kept = sorted(MEASURED.points, key=lambda p: p.measurement.size_bytes)
    assert [float(row["accuracy"]) for row in rows] == [p.measurement.accuracy.value for p in kept]
    assert [int(row["size_bytes"]) for row in rows] == [p.measurement.size_bytes for p in kept]
    plain = json.loads(report.to_json(found))
    assert [f["latency_ratio"] for f in plain["files"]] == [p.measurement.latency.ratio for p in kept]
    for text in (report.to_markdown(found), report_html.to_html(found)):
        assert all(wording.size(p.measurement.size_bytes) in text for p in kept)
        assert all(wording.percent(p.measurement.accuracy.value, 10_000) in text for p in kept)


def test_a_drop_is_what_fp32_has_more_in_every_row():
    known = trail(point(0.5, 0.95, 400_000, 0.9), point(0.7, 0.8, 250_000, 0.95), point(0.9, 0.94, 90_000, 1.0))
    drops = {row.size: row.drop.strip("()") for row in told(known=known).rows}
    assert drops == {"90.0 KB": "none", "250.0 KB": "14.00 points", "400.0 KB": "-1.00 points"}


def test_points_that_are_not_measured_in_full_are_left_out():
    rough = replace(point(0.8, 0.9, 100_000), full=False)
    assert report.report("x", trail(rough), Budget(), WHEN) is None
    assert len(told(known=trail(point(0.5, 0.93, 1000), rough)).rows) == 1


def test_the_file_names_nothing_outside_itself_and_escapes_what_users_write():
    html = report_html.to_html(told())
    assert not re.search(r"(src|href)=|url\(|https?://|<script", html)
    assert "<b>" not in html.split("<svg")[0] and "Smaller &lt;b&gt;&amp; faster" in html


def test_a_chart_has_a_dot_for_every_point_and_the_baseline():
    assert report_html.svg(told().charts[0]).count("<circle") == 4
    assert report_html.svg(told().charts[1]).count("<circle") == 4


def test_the_first_questions_are_answered_with_measured_numbers():
    facts = dict(told().facts)
    assert facts["How much smaller?"].startswith("4.4× smaller: 250.0 KB instead of 1.09 MB")
    for ratio, start in ((0.5, "2.0× faster: "), (0.999, "Not faster: "), (1.2, "Not faster: ")):
        only = point(0.7, 0.93, 250_000, ratio)
        found = dict(told(known=trail(only)).facts)["How much faster?"]
        latency = only.measurement.latency
        both = [wording.milliseconds(ms) for ms in (latency.p50_ms, latency.baseline_p50_ms)]
        assert found.startswith(start + " instead of ".join(both)) and f"(latency {ratio:.2f} ± " in found
    assert facts["What is lost?"] == "1.00 points of accuracy, within noise, on 10,000 test images."
    assert "not stored here" in facts["For which classes?"]
    asked = report.report("x", MEASURED, WITHIN, WHEN, report.COMPARING)
    assert asked is not None and dict(asked.facts)["For which classes?"] == report.COMPARING
    classes = (ClassAccuracy("seal", 40, 0.9, 0.5), ClassAccuracy("otter", 40, 0.5, 0.9))
    even = Reliability((), 0.0)
    found = Comparison(80, 40, 16, 16, 8, 0.0, Interval(0, 0), 1.0, classes, (), (), (), even, even)
    told_of = report.report("x", MEASURED, WITHIN, WHEN, found)
    assert told_of is not None
    answer = dict(told_of.facts)["For which classes?"]
    assert answer.startswith("Most for seal: 50.0% instead of 90.0% of 40 images. 16 images are correct only with fp32")
    for text in (report.to_markdown(told_of), report_html.to_html(told_of)):
        assert answer in text


def test_the_pdf_answers_on_its_first_page_and_takes_any_title():
    named = replace(told(), title="较小 <b>& faster")
    first, *rest = pages_of(report_pdf.to_pdf(named))
    assert all(text in first for text in ("How much smaller?", "4.4× smaller: 250.0 KB", "& faster", "较小"))
    assert all(name in first and name in report_html.to_html(named) for _colour, name in report_html.LEGEND)
    assert rest and "93.00%" in rest[0] and "sparsity: 0.7" in "".join(rest)
    assert report_pdf.to_pdf(named) == report_pdf.to_pdf(named)
    odd = replace(told(), title="a\1b\0c\ud800", facts=(("x" * 9000, "\1"),))
    assert pages_of(report_pdf.to_pdf(odd))
    long = replace(told().rows[0], recipe="stage.layer 4 bit, " * 200)
    assert pages_of(report_pdf.to_pdf(replace(told(), rows=(long, *told().rows))))
    many = trail(*(point(0.5 + i / 1000, 0.935, 400_000 - i) for i in range(300)))
    assert 3 <= len(pages_of(report_pdf.to_pdf(told(known=many)))) <= 5


def test_the_page_without_points_leads_to_explore(monkeypatch):
    monkeypatch.setattr(reference, "load", lambda *_: None)
    page = opened({"model": "vgg11", "dataset": "digits"}, page="ship/report")
    assert any("Nothing has been measured yet" in info.value for info in page.info)


def test_a_link_that_cannot_be_opened_says_so():
    assert "This link cannot be opened" in opened({"model": "nonsense"}, page="ship/report").warning[0].value
