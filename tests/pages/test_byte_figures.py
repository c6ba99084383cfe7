"""What the chart of a file's bytes shows is what the ledger says."""

import pytest

from compression.records.analysis import Finding, OperatorTime, OverTheWire, Profile
from compression.records.measurement import LayerBytes, Ledger
from pages.ui.charts import byte_figures

LAYERS = (LayerBytes("stem", 100, 50, 0, 0, 20, 10, 3.0), LayerBytes("head", 300, 100, 40, 0, 20, 10, 2.0))
BOOKS = Ledger(1000, 150, 40, 0, 40, 20, 450, 300, LAYERS)


def test_the_whole_file():
    shown = byte_figures.whole_file(BOOKS)
    assert [bar.part for bar in shown.bars] == ["payload", "positions", "scales", "biases", "functions", "graph"]
    assert sum(bar.kilobytes[0] for bar in shown.bars) == pytest.approx(1.0)
    assert shown.entropy_kilobytes == pytest.approx((3 * 100 + 2 * 300) / 8 / 1000)
    assert "weight codes 0.1 KB" in shown.alt or "weight codes 0.2 KB" in shown.alt
    assert len(byte_figures.figure(shown).data) == 6


def test_layer_by_layer():
    shown = byte_figures.layer_by_layer(BOOKS)
    assert shown.rows == ("stem", "head")
    assert {bar.part: bar.kilobytes for bar in shown.bars}["positions"] == (0.0, 0.04)
    assert [trace.name for trace in byte_figures.figure(shown).data] == [
        "Weight codes",
        "Positions",
        "Scales",
        "Biases",
    ]


def test_summary():
    assert byte_figures.summary(BOOKS) == "Entropy of the codes 2.25 bit per weight, 0.1 KB"
    assert byte_figures.summary(BOOKS, OverTheWire(900, 800)).endswith(
        "transfer size 0.9 KB with gzip, 0.8 KB with zstd"
    )


def test_findings_and_operators():
    assert byte_figures.findings([Finding("k", "Why.", {}, "Do.")]) == ["Why. **Do.**"]
    ours = Profile((OperatorTime("QLinearConv", 2, 0.3, 1.0),), 0.4, 0.3, 0.0, 1, 1)
    theirs = Profile((OperatorTime("Conv", 2, 0.6, 1.0),), 0.7, 0.6, 0.0, 1, 1)
    rows = byte_figures.operators(ours, theirs)
    assert [row["Operator"] for row in rows] == ["Conv", "QLinearConv"]
    assert (rows[0]["Calls"], rows[0]["ms"], rows[0]["fp32 ms"]) == (0, 0.0, 0.6)
