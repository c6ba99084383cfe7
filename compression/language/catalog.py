"""The catalogue of each language, read from its .po file."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po

HERE = Path(__file__).resolve().parent

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "zh-CN": "简体中文"}
"""What each language is called in itself, by its tag (BCP 47)."""

SIMPLIFIED = ("zh", "zh-cn", "zh-sg", "zh-my", "zh-hans")
CONTEXT = "\4"
"""Between the context of a message and the message, as in gettext's own files."""

ENGINE = "engine"
"""The flag of a message that only the engine has: a sentence that is translated when it is finished."""


@dataclass(frozen=True)
class Catalog:
    """`words` has the translation of each message that has one, `sentences` of those that the engine says."""

    words: dict[str, str]
    sentences: dict[str, str]


def file_of(tag: str) -> Path:
    """The .po file of a language."""
    return HERE / f"{tag.replace('-', '_')}.po"


@cache
def catalog(tag: str) -> Catalog:
    """What is known of a language; of English nothing has to be."""
    if tag == ENGLISH:
        return Catalog({}, {})
    with file_of(tag).open("rb") as file:
        read = read_po(file, locale=tag.replace("-", "_"))
    words: dict[str, str] = {}
    sentences: dict[str, str] = {}
    for message in read:
        ids = message.id if isinstance(message.id, tuple | list) else (message.id,)
        said = message.string[0] if isinstance(message.string, tuple | list) else message.string
        if ids[0] and said:
            words[f"{message.context}{CONTEXT}{ids[0]}" if message.context else ids[0]] = said
            if ENGINE in message.auto_comments:
                sentences[ids[0]] = said
    return Catalog(words, sentences)


def fitting(asked: str | None) -> str | None:
    """The language here that fits a tag such as 'zh-Hans-CN' or 'en_GB'; None where none does."""
    tag = (asked or "").replace("_", "-").lower()
    if tag.split("-")[0] == "en":
        return ENGLISH
    return (
        "zh-CN" if any(tag == known or tag.startswith(f"{known}-") for known in SIMPLIFIED[1:]) or tag == "zh" else None
    )
