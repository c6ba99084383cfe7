"""Finished sentences are said in Chinese where the program made them, and left alone where it did not."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compression.language import shown, speak
from compression.language.catalog import ENGLISH, catalog
from compression.language.sentences import PLACE

SENTENCES = catalog("zh-CN").sentences
TEMPLATES = sorted(SENTENCES)
TEXT = """
about all and any are as at be been but by can cat dog first for from garden green had has have he house how
if in into is it its layer left made me more must no not of on one or other out people river search she so some takes
than that the their them then there they this time to two up was water way were what when which who will with would you
Search Compare Weights Layer Run Epoch limit operator setting network"""
COMMON = TEXT.split()
SIGNS = ["", "", "", "", ",", ":", ".", ";"]
VALUE = st.from_regex(r"[a-z]{1,6}[0-9]{1,3}|[0-9]{1,4}", fullmatch=True)


@pytest.fixture(autouse=True)
def chinese() -> Iterator[None]:
    speak("zh-CN")
    yield
    speak(ENGLISH)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(COMMON), st.sampled_from(SIGNS)), min_size=3, max_size=12))
def test_what_the_program_never_said_comes_back_unchanged(words: list[tuple[str, str]]) -> None:
    text = " ".join(f"{word}{sign}" for word, sign in words)
    assert shown(text) == text


@pytest.mark.parametrize(
    "text", ["flowers from my garden", "me to you", "search party", "Cat and dog more", "this is that: what"]
)
def test_small_templates_fit_no_strange_text(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(("sentence", "said"), [
    ("prune.sparsity must be a number from 0 to 1, not 'x'.", "prune.sparsity 必须是 0 到 1 之间的数，而不是 'x'。"),
    ("Epoch 3 of 10", "第 3/10 轮"),
    ("Ankle boot (test image 23)", "Ankle boot（测试图像 23）"),
    ("Trouser (test image 3)", "Trouser（测试图像 3）"),
    ("Rounding error", "舍入误差"),
    ("The network answers with 12 classes, but photos has 10. Say which is which in a CSV of CLASS,OUTPUT.",
     "网络给出 12 个类别，但 photos 有 10 个。请用每行为 CLASS,OUTPUT 的 CSV 说明对应关系。"),
])  # fmt: skip
def test_sentences_are_taken_apart(sentence: str, said: str) -> None:
    assert shown(sentence) == said


@settings(max_examples=400)
@given(st.sampled_from(TEMPLATES), st.data())
def test_each_sentence_with_values_comes_back_as_its_translation(template: str, data: st.DataObject) -> None:
    values = [data.draw(VALUE) for _ in PLACE.findall(template)]

    def filled(text: str) -> str:
        return PLACE.sub(lambda place: values[int(place[0][1:-1])], text)

    assert shown(filled(template)) == filled(SENTENCES[template])
