"""Which multiple of channels a machine gets: measured, kept, and written into every recipe."""

from pathlib import Path

import pytest

from compression.cli import settings_help
from compression.host import channel_multiple
from compression.host.channel_multiple import Rounding, Timed
from compression.measure.channel_multiple import COARSER, FINER, FINEST, KERNELS, chosen, measured
from compression.measure.channel_multiple import rounding as measured_once
from compression.recipe import Recipe
from compression.steps import Channels
from tests.cli.test_cli import call


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    return tmp_path


def timed(pair, *ratios, work=0.8):
    return [Timed(kernel, *pair, r, r - 0.01, r + 0.01, work) for kernel, r in zip(KERNELS, ratios, strict=True)]


@pytest.mark.parametrize(
    ("coarser", "finer", "finest", "expected"),
    [
        ((1.0, 0.9), (1.0, 0.95), (1.4, 1.2), 8),  # blocks of 16 with a cheap remainder: an AVX-512 processor
        ((1.3, 0.9), (0.8, 0.8), (0.9, 0.9), 16),  # narrower is slower
        ((0.8, 0.8), (0.82, 0.85), (1.4, 1.2), 4),
        ((0.8, 0.8), (0.82, 0.85), (0.85, 0.85), 1),
        ((0.8, 0.8), (0.82, 0.99), (0.85, 0.85), 8),  # pays in one kernel only
    ],
)
def test_the_finest_multiple_that_saves_time_is_chosen(coarser, finer, finest, expected):
    multiple, reason = chosen(timed(COARSER, *coarser), timed(FINER, *finer), timed(FINEST, *finest))
    assert multiple == expected
    assert reason.endswith(".") and "fp32" in reason and "int8" in reason


def test_a_machine_is_measured_once(fresh_home):
    assert channel_multiple.known() is None and channel_multiple.multiple() == 8
    found = measured_once()
    assert found.multiple in (1, 4, 8, 16) and len(found.timed) == 6
    assert all(0 < t.low <= t.ratio <= t.high for t in found.timed)
    assert found.multiple == chosen(*(list(found.timed[i : i + 2]) for i in (0, 2, 4)))[0]
    assert measured_once() == found == channel_multiple.known()  # with the very same milliseconds
    channel_multiple.save(Rounding(4, "older", "1.0", found.timed))
    assert measured_once().runtime == found.runtime  # another ONNX Runtime has other kernels


def test_the_file_is_read_once_for_all_recipes_and_again_when_it_is_another(fresh_home, monkeypatch):
    channel_multiple.save(Rounding(4, "Multiples of 4.", "1.32"))
    read, asked = Path.read_text, []
    monkeypatch.setattr(Path, "read_text", lambda path, **how: asked.append(path) or read(path, **how))
    for _ in range(20):
        assert Recipe(steps=(Channels(),)).steps == (Channels(round_to=4),)
    assert len(asked) == 1
    channel_multiple.save(Rounding(16, "Multiples of 16.", "1.32"))
    assert channel_multiple.multiple() == 16 and len(asked) == 2
    asked[0].unlink()
    assert channel_multiple.multiple() == 8
    asked[0].write_text("{")
    assert channel_multiple.known() is None


def test_recipes_hold_the_number_that_was_measured(fresh_home):
    channel_multiple.save(Rounding(4, "Multiples of 4.", "1.32"))
    recipe = Recipe(steps=(Channels(amount=0.3),))
    assert recipe.to_dict()["steps"][0]["round_to"] == 4
    assert Recipe(steps=(Channels(round_to="measured"),)).steps == (Channels(round_to=4),)
    channel_multiple.save(Rounding(16, "Multiples of 16.", "1.32"))
    for made in (
        Recipe(steps=(Channels(),)), Recipe().with_setting("channels.amount", 0.5),
        Recipe().with_setting("channels.round_to", "measured"), Recipe.from_query("v=1&steps=channels"),
        Recipe.from_query("v=1&steps=channels&channels.round_to=measured"),
    ):  # fmt: skip
        assert made.steps == (Channels(round_to=16),)
    assert "channels.round_to  one of 1, 4, 8, 16 [default: 16]" in settings_help()
    assert Channels().round_to == 8  # settings alone read no file
    again = Recipe.from_query(recipe.to_query())
    assert again == Recipe.from_yaml(recipe.to_yaml()) == recipe and again.hash == recipe.hash


@pytest.mark.parametrize("text", ["", "{", "[]", '{"multiple": 3, "reason": "", "runtime": "", "timed": []}'])
def test_a_spoilt_file_is_ignored(fresh_home, text):
    channel_multiple.save(Rounding(4, "", "1.32"))
    next(fresh_home.rglob("rounding-*.json")).write_text(text)
    assert Recipe(steps=(Channels(),)).steps == (Channels(round_to=8),)


def test_the_command_line_says_what_was_measured(fresh_home):
    channel_multiple.save(measured())
    found = call("machine", "--json").json
    assert found["rounding"]["multiple"] == channel_multiple.multiple()
    assert (fresh_home / "machine" / f"rounding-{found['machine']['id']}.json").is_file()
    assert channel_multiple.known().reason in call("machine").out
