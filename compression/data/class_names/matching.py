"""Which output of a network each class of a folder is: by name, synset or number. Nothing uncertain is guessed."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from compression.data.class_names import imagenet
from compression.errors import InvalidSetting, shown

How = Literal["name", "synset", "number", "corrected", "left out", "ambiguous", "none"]

LEFT_OUT = ""
"""What a correction says of a class whose images are not to be used."""

LISTED = 6
"""So many classes are named in a sentence at most."""

_SYNSET = re.compile(r"n\d{8}(?!\d)")
_LEAST_ALIKE = 0.9
"""Share of 1,000 names that must be ImageNet's for the outputs to be taken for ImageNet's."""


@dataclass(frozen=True)
class Matched:
    """One class of a folder: its output, None without one, and how that was found; or the outputs that it may be."""

    name: str
    output: int | None
    how: How
    candidates: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClassMap:
    """The output of each class of a folder, in the folder's order; `outputs` are the outputs' names."""

    outputs: tuple[str, ...]
    classes: tuple[Matched, ...]

    @property
    def indices(self) -> tuple[int | None, ...]:
        """The output of each class, None for those without one."""
        return tuple(each.output for each in self.classes)

    @property
    def open(self) -> tuple[Matched, ...]:
        """Classes that a user should look at: they match several outputs, or none."""
        return tuple(each for each in self.classes if each.how in ("ambiguous", "none"))

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to tell the user: which classes are left out, and why. () where every class has its output."""
        told = []
        for how, what in (
            ("ambiguous", "match several of the network's classes and are left out until you choose one"),
            ("none", "are none of the network's classes and are left out"),
            ("left out", "are left out as requested"),
        ):
            if found := [each.name for each in self.classes if each.how == how]:
                told.append(f"{len(found):,} of {len(self.classes):,} classes {what}: {_listed(found)}.")
        return tuple(told)


def match(
    folder_classes: Sequence[str], outputs: Sequence[str], corrections: Mapping[str, str] | None = None
) -> ClassMap:
    """The output of each of `folder_classes` by the outputs' names, which may hold synsets: 'n01440764 tench, …'.

    A class is looked for, in this order, as: what `corrections` say of it (an output's number or name, or `LEFT_OUT`);
    a synset at its beginning ('n01440764_tench'); an output's text as it stands; the first name of an output, then any;
    a plural; a number ('7', '007') counted from 0. Case, underscores and signs make no difference. Raises
    `InvalidSetting` for a correction that names no output, or several.
    """
    table, corrected = _table(tuple(outputs)), dict(corrections or {})
    from_one = _counts_from_one(folder_classes, len(outputs))
    return ClassMap(
        tuple(outputs), tuple(_matched(name, table, corrected, from_one=from_one) for name in folder_classes)
    )


class _Table:
    """Outputs by each of their names, one mapping for each kind of name, the surest first."""

    def __init__(self, outputs: tuple[str, ...]):
        self.count = len(outputs)
        known = _synsets(outputs)
        lemmas = [_lemmas(text) for text in outputs]
        if known and not any(_SYNSET.match(text) for text in outputs):  # ImageNet's classes by other names
            own = imagenet.names()
            lemmas = [[*mine, *_lemmas(own.get(s, ""))] for mine, s in zip(lemmas, known, strict=True)]
        self.synsets = _collected((s, [i]) for i, s in enumerate(known) if s)
        exact = _collected((text, [i]) for i, text in enumerate(outputs))
        first = _collected((_plain(name), [i]) for i, text in enumerate(outputs) for name in (text, *lemmas[i][:1]))
        every = _collected((_plain(name), [i]) for i, names in enumerate(lemmas) for name in names)
        singular = _collected((_singular(name), places) for name, places in every.items())
        self.stages = (
            (exact, str), (first, _plain), (every, _plain), (singular, lambda name: _singular(_plain(name))),
        )  # fmt: skip

    def named(self, name: str) -> tuple[int, ...]:
        """The outputs with this name, of the surest kind that has any."""
        for names, key in self.stages:
            if found := names.get(key(name), ()):
                return found
        return ()


_table = lru_cache(maxsize=8)(_Table)


def _matched(name: str, table: _Table, corrections: Mapping[str, str], *, from_one: bool) -> Matched:
    if name in corrections:
        return _corrected(name, corrections[name], table)
    if (synset := _SYNSET.match(name)) and (places := table.synsets.get(synset.group(), ())):
        return _found(name, places, "synset")
    if places := table.named(name):
        return _found(name, places, "name")
    number = int(name) if re.fullmatch(r"[0-9]{1,6}", name) else -1
    if from_one and 0 < number <= table.count:
        return Matched(name, None, "ambiguous", tuple(i for i in (number - 1, number) if i < table.count))
    if 0 <= number < table.count:
        return Matched(name, number, "number")
    return Matched(name, None, "none")


def _found(name: str, places: tuple[int, ...], how: How) -> Matched:
    return Matched(name, places[0], how) if len(places) == 1 else Matched(name, None, "ambiguous", places)


def _corrected(name: str, wanted: str, table: _Table) -> Matched:
    if wanted == LEFT_OUT:
        return Matched(name, None, "left out")
    found = _matched(wanted, table, {}, from_one=False)
    if found.output is None:
        why = "several" if found.candidates else "none"
        raise InvalidSetting(
            f"Class {shown(name)} is to be {shown(wanted)}, which names {why} of the network's {table.count:,} classes;"
            f" give a number from 0 to {table.count - 1:,}."
        )
    return Matched(name, found.output, "corrected")


def _counts_from_one(names: Sequence[str], count: int) -> bool:
    """Whether numbers among `names` can be counted from 1: the last output's number is one too high from 0."""
    numbers = {int(name) for name in names if re.fullmatch(r"[0-9]{1,6}", name)}
    return count in numbers and 0 not in numbers


def _synsets(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """The synset of each output, '' without one: written in its name, or ImageNet's where the names are ImageNet's."""
    written = tuple(m.group() if (m := _SYNSET.match(text)) else "" for text in outputs)
    shift, known = len(outputs) - imagenet.COUNT, imagenet.synsets()
    if any(written) or shift not in (0, 1) or not known:
        return written
    own = imagenet.names()
    alike = sum(
        bool({_plain(n) for n in _lemmas(text)} & {_plain(n) for n in _lemmas(own[s])})
        for text, s in zip(outputs[shift:], known, strict=True)
    )
    return ("",) * shift + known if alike >= _LEAST_ALIKE * len(known) else written


def _lemmas(text: str) -> list[str]:
    """'tench' and 'Tinca tinca' of 'n01440764 tench, Tinca tinca'."""
    return [name for part in _SYNSET.sub("", text, count=1).split(",") if (name := part.strip(" _-:"))]


def _plain(name: str) -> str:
    """Letters and digits in lower case, words apart by one space; without a synset before them."""
    return " ".join(re.findall(r"[^\W_]+", _SYNSET.sub("", name, count=1).casefold()))


def _singular(name: str) -> str:
    """Without the ending of an English plural, roughly: both sides of a comparison lose it."""
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss"), ("s", "")):
        if name.endswith(ending) and len(name) > len(ending) + 2 and not name.endswith(("ss", "us")):
            return name.removesuffix(ending) + instead
    return name


def _collected(pairs: Iterable[tuple[str, Iterable[int]]]) -> dict[str, tuple[int, ...]]:
    """The outputs of each name, each once, in their order; the empty name has none."""
    found: dict[str, set[int]] = {}
    for name, places in pairs:
        found.setdefault(name, set()).update(places)
    return {name: tuple(sorted(places)) for name, places in found.items() if name}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return f"{', '.join(shown(name) for name in names[:LISTED])}{more}"


def rows(found: ClassMap) -> Iterator[tuple[str, str, str]]:
    """(class, output, how) for a table: outputs as 'NUMBER NAME', several with ' or ' between."""
    for each in found.classes:
        places = each.candidates if each.output is None else (each.output,)
        yield each.name, " or ".join(f"{i} {found.outputs[i]}" for i in places), each.how
