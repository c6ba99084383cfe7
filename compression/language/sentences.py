"""Finished English sentences in another language.

The engine's sentences cross processes, lie in the store and in logs, and are English there. Here the template that a
sentence was made of is found again, and with it the parts that were put in: they go into the template's translation.
Templates have numbered places: 'Unknown {0} {1}.' What no template fits stays English.
"""

import re
from functools import cache, lru_cache

from compression.language.catalog import ENGLISH, Catalog, catalog
from compression.language.spoken import current

PLACE = re.compile(r"\{\d+\}")
LONGEST = 5_000
"""Characters of a sentence that is looked at."""

DEEPEST = 3
"""So often are parts of parts looked at."""

NEXT_SENTENCE = re.compile(r"(?<=[.!?”)]) (?=[A-Z“'\"0-9])")


def shown(sentence: str) -> str:
    """A finished sentence, or several, in the language spoken here; names and numbers in it stay as they are."""
    tag = current()
    return sentence if tag == ENGLISH or len(sentence) > LONGEST else _translated(sentence, tag)


@lru_cache(maxsize=20_000)
def _translated(sentence: str, tag: str, depth: int = 0) -> str:
    known = catalog(tag)
    if sentence in known.words:
        return known.words[sentence]
    if depth == DEEPEST or not re.search(r"[A-Za-z]{2}", sentence):
        return sentence
    found = _fitting(sentence, known, tag)
    if found is None:
        return _additions(sentence, tag, depth) if sentence.startswith(", ") else _one_by_one(sentence, tag, depth)
    template, parts = found
    said = [_translated(part, tag, depth + 1) for part in parts]
    return PLACE.sub(lambda place: said[int(place[0][1:-1])], known.words[template])


def _additions(part: str, tag: str, depth: int) -> str:
    """', in the background, about 3 s left': what places beside one another hold, each by itself."""
    each = re.split(r"(?=, )", part)
    return "".join(_translated(one, tag, depth + 1) for one in each) if len(each) > 2 else part


def _one_by_one(sentences: str, tag: str, depth: int) -> str:
    """Several sentences in a row, each by itself."""
    each = NEXT_SENTENCE.split(sentences)
    if len(each) == 1:
        return sentences
    said = [_translated(sentence, tag, depth + 1) for sentence in each]
    return "".join(text if text.endswith("。") else f"{text} " for text in said).rstrip()


def _fitting(sentence: str, known: Catalog, tag: str) -> tuple[str, tuple[str, ...]] | None:
    """The template with the most text of its own that a sentence was made of, and the parts in its places."""
    for template, literals in _by_length(tag):
        if (parts := match(literals, sentence)) is not None:
            return template, parts
    return None


@cache
def _by_length(tag: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The templates with places, and the texts between their places; those with most text first."""
    split = [(template, literals_of(template)) for template in catalog(tag).templates if PLACE.search(template)]
    return tuple(sorted(split, key=lambda each: -sum(map(len, each[1]))))


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
