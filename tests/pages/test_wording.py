"""Figures, recipes and commands in words."""

from itertools import pairwise
from pathlib import Path

import pytest

from compression.language import ENGLISH, speak
from compression.recipe import Recipe
from compression.steps import STEPS, Channels, Factorize, Prune, Quantize, choices_of
from compression.steps.settings import Settings
from pages.ui.explore import figures_of_merit
from pages.ui.model import wording
from pages.ui.model.budget import Budget, advise
from tests.pages.points import DIGITS, measurement, point


def test_figures_of_merit_are_told_with_their_changes() -> None:
    accuracy, size, latency = figures_of_merit.figures(measurement(0.9388, 87_300, 0.52))
    assert (accuracy.value, accuracy.small, accuracy.change) == ("93.88%", "± 0.50", "-0.12 points")
    assert (accuracy.colour, accuracy.remark) == ("off", "fp32 94.00%, within noise")
    assert (size.value, size.small, size.change) == ("87.3 KB", "12.5× smaller", "-92%")
    assert (latency.value, latency.small, latency.change) == ("0.25 ms", "× 0.52 ± 0.01", "-48%")
    assert [figure.value for figure in figures_of_merit.figures(None)] == [figures_of_merit.NOTHING] * 3
    same = figures_of_merit.figures(measurement(0.94, 1_095_000, 1.001))
    assert [figure.change for figure in same] == ["", "", ""]


def test_numbers_have_sensible_units_and_digits() -> None:
    assert wording.percent(0.9402, 10_000) == "94.02%"
    assert wording.plain("my_net*v2 …") == r"my\_net\*v2 …"
    assert wording.place(f"{Path.home()}/data/store.sqlite") == "~/data/store.sqlite"
    assert wording.place("/srv/store.sqlite") == "/srv/store.sqlite"
    assert wording.percent(0.9402, 359) == "94.0%"
    assert wording.size(1_095_000) == "1.09 MB"
    assert [wording.milliseconds(ms) for ms in (0.0087, 0.043, 0.213, 12.3)] == ["8.7 µs", "43 µs", "0.21 ms", "12 ms"]
    assert wording.half_width(0.93, 0.9301, 10_000) == "± 0.01"
    assert [wording.rounded(ms) for ms in (0.0032123, 7.5061, 1386.44, None)] == [0.00321, 7.51, 1390.0, None]
    assert [wording.setting_text(Quantize, "weight_bits", bits) for bits in (1, 8)] == ["1 bit", "8 bits"]


def test_a_recipe_in_words_and_as_a_command() -> None:
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)), seed=3)
    told = wording.recipe_line(recipe)
    assert told == "Prune weights: sparsity 50%; Quantize: weight bits 4, activation bits 8; seed 3"
    assert wording.recipe_line(Recipe()) == wording.BASELINE
    written = wording.command(DIGITS, recipe).replace("\\\n", " ").split()
    assert written[:3] == ["python", "-m", "compression"]
    settings = [b for a, b in pairwise(written) if a == "--set"]
    again = Recipe()
    for setting in settings:
        again = again.with_setting(*setting.split("="))
    assert again == recipe


def test_sentences_in_a_row_have_a_space_between_them_but_in_chinese() -> None:
    assert wording.in_a_row("One.", "", "Two.") == "One. Two."
    one, two = point(0.9, 0.91, 60_000, 0.5), point(0.5, 0.938, 90_000, 0.5)
    try:
        speak("zh-CN")
        reason = advise(Budget(), [one, two]).reason
    finally:
        speak(ENGLISH)
    assert reason.count("。") == 2
    assert "。 " not in reason


def test_choices_of_settings_are_said_in_the_visitors_language_and_stored_as_they_are() -> None:
    recipe = Recipe(steps=(Prune(pattern="kernel"), Quantize(scheme="asymmetric")), quality="fast")
    try:
        speak("zh-CN")
        line, told = wording.recipe_line(recipe), wording.command(DIGITS, recipe)
        assert "模式 整个卷积核" in line and "方案 非对称" in line and "质量 快速" in line
        assert "prune.pattern=kernel" in told and "quantize.scheme=asymmetric" in told and "quality=fast" in told
        assert wording.setting_text(Prune, "scope", "layer") == "逐层"
        assert wording.setting_text(Factorize, "form", "channel") == "逐通道"
        assert wording.setting_text(Channels, "measure", "channels") == "通道"
        assert wording.setting_text(Quantize, "weight_bits", 4) == "4 位"
    finally:
        speak(ENGLISH)
    assert "scheme asymmetric" in wording.recipe_line(recipe)


@pytest.mark.parametrize("settings", [*STEPS.values(), Recipe])
def test_no_choice_stays_an_english_word_in_chinese(settings: type[Settings]) -> None:
    try:
        speak("zh-CN")
        said = {
            choice: wording.setting_text(settings, name, choice)
            for name, field in settings.model_fields.items()
            for choice in choices_of(field)
            if isinstance(choice, str) and choice.isalpha()
        }
    finally:
        speak(ENGLISH)
    assert {choice for choice, text in said.items() if text.isascii() and text != "Tucker"} == set()
