"""The Chinese catalogue holds every message of the sources, translated, with the places of the original."""

import re
import string
from collections import Counter

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po

from compression.language import LANGUAGES
from compression.language.catalog import ENGLISH, file_of
from compression.language.extraction import key, messages
from tests.test_chinese_texts import FORMULA_OR_CODE, STIFF, ruled_out

TAGS = sorted(set(LANGUAGES) - {ENGLISH})


def entries(tag: str) -> list[Message]:
    with file_of(tag).open("rb") as file:
        return [message for message in read_po(file, locale=tag.replace("-", "_")) if message.id]


def one(text: object) -> str:
    """The text of an entry, or its first form."""
    return text if isinstance(text, str) else str(text[0])  # type: ignore[index]


def places(text: str) -> set[str]:
    """The names of the places of a message, those in formats too."""
    try:
        parsed = [(name, form) for _, name, form, _ in string.Formatter().parse(text) if name is not None]
    except ValueError:  # a text with braces that no value is put into
        return set()
    return {re.sub(r"\W.*", "", name) for name, _ in parsed}.union(*(places(form or "") for _, form in parsed))


@pytest.mark.parametrize("tag", TAGS)
def test_every_message_of_the_sources_is_translated(tag: str) -> None:
    known = {key(message): message for message in entries(tag)}
    assert set(known) == set(messages()), "run `make words`, then translate what is new"
    assert [id for id, message in known.items() if not message.string or not one(message.string)] == []


@pytest.mark.parametrize("tag", TAGS)
def test_places_agree(tag: str) -> None:
    for message in entries(tag):
        said = one(message.string)
        assert places(said) == places(one(message.id)), message.id
        assert max(Counter(re.findall(r"\{(\d+)\}", said)).values(), default=1) == 1, message.id


def test_chinese_messages_are_set_as_chinese() -> None:
    prose = [FORMULA_OR_CODE.sub(" ", one(message.string)) for message in entries("zh-CN")]
    wrong = [(name, text) for name, pattern in STIFF.items() for text in prose if pattern.search(text)]
    assert wrong == []
    assert [(word, text) for word in ruled_out() for text in prose if word in text] == []
