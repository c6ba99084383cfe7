"""Finished English sentences in another language.

The engine's sentences cross processes, lie in the store and in logs, and are English there. Here the template that a
sentence was made of is found again, and with it the parts that were put in: they go into the template's translation.
Templates have numbered places: 'Unknown {0} {1}.' What no template fits stays English. A template with hardly any text
of its own, '{0} from {1}', fits what nobody here has said too: it counts where each part is a number, a name, or known.
"""

import re
from functools import cache, lru_cache

from compression.language.catalog import ENGLISH, catalog
from compression.language.spoken import current

PLACE = re.compile(r"\{\d+\}")
LONGEST = 5_000
"""Characters of a sentence that is looked at."""

DEEPEST = 3
"""So often are parts of parts looked at."""

ENOUGH = 12
"""A template with so many letters of its own was meant, whatever stands in its places."""

FULL_STOP = 3
"""What the end of a sentence, or of a bracket, counts beside its letters."""

NEXT_SENTENCE = re.compile(r"(?<=[.!?”)]) (?=[A-Z“'\"0-9])")
ENGLISH_WORD = re.compile(r"[A-Za-z]{2}")
NAME = re.compile(r"\S*[\d_./:×]\S*|'[^']*'|\"[^\"]*\"")


def shown(sentence: str) -> str:
    """A finished sentence, or several, in the language spoken here; names and numbers in it stay as they are."""
    tag = current()
    return sentence if tag == ENGLISH or len(sentence) > LONGEST else _translated(sentence, tag) or sentence


@lru_cache(maxsize=20_000)
def _translated(sentence: str, tag: str, depth: int = 0) -> str | None:
    """None where nothing of it is known."""
    known = catalog(tag).sentences
    whole = known if depth else catalog(tag).words
    if sentence in whole:
        return whole[sentence]
    if depth == DEEPEST or not ENGLISH_WORD.search(sentence):
        return None
    each = NEXT_SENTENCE.split(sentence)
    if len(each) > 1 and all(_translated(one, tag, depth + 1) for one in each):
        return _joined(each, " ", tag, depth)
    for template, literals, letters in _by_length(tag):
        parts = match(literals, sentence)
        if parts is not None and (letters >= ENOUGH or all(_is_value(part, tag, depth) for part in parts)):
            said = [_translated(part, tag, depth + 1) or part for part in parts]
            return _filled(known[template], said)
    additions = re.split(r"(?=, )", sentence) if sentence.startswith(", ") else []
    return _joined(additions[1:], "", tag, depth) or _joined(each, " ", tag, depth)


def _filled(template: str, parts: list[str]) -> str:
    return PLACE.sub(lambda place: parts[int(place[0][1:-1])], template)


def _is_value(part: str, tag: str, depth: int) -> bool:
    """Whether a part has no words of English, is the name of something, several words known, or known in a sentence."""
    if not ENGLISH_WORD.search(part) or NAME.fullmatch(part):
        return True
    if depth == 0:
        return " " in part and part in catalog(tag).sentences
    return _translated(part, tag, depth + 1) is not None


def _joined(each: list[str], between: str, tag: str, depth: int) -> str | None:
    """Sentences in a row, or additions such as ', in the background, about 3 s left', each by itself."""
    if len(each) < 2:
        return None
    found = [_translated(one, tag, depth + 1) if " " in one.strip() else None for one in each]
    if not any(found):
        return None
    said = [new or old for new, old in zip(found, each, strict=True)]
    return "".join(text if text.endswith("。") else f"{text}{between}" for text in said).rstrip()


@cache
def _by_length(tag: str) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    """The templates with places, the texts between them, and how many letters these have; most text first."""
    split = [(template, literals_of(template)) for template in catalog(tag).sentences if PLACE.search(template)]
    found = [(template, texts, _letters(texts)) for template, texts in split]
    return tuple(sorted(found, key=lambda each: -sum(map(len, each[1]))))


def _letters(texts: tuple[str, ...]) -> int:
    return sum(map(str.isalpha, "".join(texts))) + FULL_STOP * (texts[-1] in (".", ")"))


def literals_of(template: str) -> tuple[str, ...]:
    """The texts before, between and after the places of a template."""
    return tuple(PLACE.split(template))


def match(literals: tuple[str, ...], sentence: str) -> tuple[str, ...] | None:
    """What stands between these texts in a sentence that is made of them, each at its first place; else None.

    Takes time in proportion to the sentence's length, whatever it says.
    """
    first, *between, last = literals
    if not sentence.startswith(first) or not sentence.endswith(last) or len(sentence) < len(first) + len(last):
        return None
    at, end, parts = len(first), len(sentence) - len(last), []
    for literal in between:
        found = sentence.find(literal, at, end)
        if found < 0:
            return None
        parts.append(sentence[at:found])
        at = found + len(literal)
    return (*parts, sentence[at:end])
