"""A lesson as data, read from pages/learn/texts: prose, questions, sources and the teacher's sheet.

In the texts `<<name:.1%>>` is a figure from the engine; `[[term]]` or `[[term|as written]]` stands in the glossary.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import yaml

from compression.language import ENGLISH, N_, _, current
from compression.language import shown as spoken

TEXTS = Path(__file__).resolve().parents[2] / "learn" / "texts"

LESSONS = {
    "why": N_("Why networks compress"),
    "pruning": N_("Pruning"),
    "quantization": N_("Quantization"),
    "distillation": N_("Distillation"),
    "sharing": N_("Sharing and coding"),
    "lowrank": N_("Low rank"),
    "architectures": N_("Efficient architectures"),
    "together": N_("Putting it together"),
    "own": N_("Your own network"),
}
"""Title of each lesson in the menu, in the order of the course."""

FIGURE = re.compile(r"<<([\w-]+)(?::([^>]*))?>>")
TERM = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]+))?\]\]")
MISSING = N_("(not measured yet)")

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """One answer, and what is said to whoever chooses it."""

    text: str
    says: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """To be answered before the chart that shows it."""

    key: str
    ask: str
    options: tuple[Option, ...]

    @property
    def right(self) -> int:
        """Which option is."""
        return next(number for number, option in enumerate(self.options) if option.right)


@dataclass(frozen=True)
class Source:
    """A paper or a file of ours, and where in it to look."""

    title: str
    where: str
    link: str = ""


@dataclass(frozen=True)
class Exercise:
    """A task for the class, with its solution in words and, where it is one, as a recipe."""

    task: str
    solution: str
    recipe: dict[str, Any] | None = None
    model: str = "resnet20"
    dataset: str = "fashion-mnist"


@dataclass(frozen=True)
class Teacher:
    """The sheet: what the class can do afterwards, minute by minute, what to talk about, and what to try."""

    objectives: tuple[str, ...]
    timing: tuple[str, ...]
    discussion: tuple[str, ...]
    exercises: tuple[Exercise, ...]


@dataclass(frozen=True)
class LessonText:
    """One lesson with its figures filled in and its terms explained."""

    name: str
    title: str
    minutes: int
    claim: str
    sections: dict[str, str]
    questions: dict[str, Question]
    sources: tuple[Source, ...]
    teacher: Teacher


def read(name: str, facts: Facts) -> LessonText:
    """The lesson with `facts` in place of its figures. Raises KeyError for a figure or a term that nobody defines."""
    plain = with_figures(_raw(name), facts)
    questions = [
        Question(q["key"], q["ask"], tuple(Option(**option) for option in q["options"])) for q in plain["questions"]
    ]
    teacher = plain["teacher"]
    return LessonText(
        name=name, title=plain["title"], minutes=plain["minutes"], claim=plain["claim"], sections=plain["sections"],
        questions={question.key: question for question in questions},
        sources=tuple(Source(**source) for source in plain["sources"]),
        teacher=Teacher(
            tuple(teacher["objectives"]), tuple(teacher["timing"]), tuple(teacher["discussion"]),
            tuple(Exercise(**exercise) for exercise in teacher["exercises"]),
        ),
    )  # fmt: skip


def page_of(name: str) -> str:
    """The file of a lesson's page."""
    return f"pages/learn/{name.replace('-', '_')}.py"


def glossary() -> dict[str, str]:
    """What a term means, in a sentence, in the visitor's language."""
    return _loaded("glossary", current())


def figures_in(name: str) -> set[str]:
    """The names of all figures that a lesson's text asks for."""
    return {match[1] for match in FIGURE.finditer((TEXTS / f"{name}.yaml").read_text(encoding="utf-8"))}


def _raw(name: str) -> dict[str, Any]:
    return _loaded(name, current())


@lru_cache(maxsize=64)
def _loaded(name: str, language: str) -> dict[str, Any]:
    """The file of a text; English has those of `TEXTS` itself, another language those of its folder there."""
    folder = TEXTS if language == ENGLISH else TEXTS / language.replace("-", "_")
    return yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))


def with_figures(value: Any, facts: Facts) -> Any:
    """Texts of a lesson, in dicts and lists as they stand, with figures and explained terms in their places."""
    if isinstance(value, str):
        return TERM.sub(_term, FIGURE.sub(lambda match: _figure(match, facts), value))
    if isinstance(value, dict):
        return {name: with_figures(part, facts) for name, part in value.items()}
    return [with_figures(part, facts) for part in value] if isinstance(value, list) else value


def _figure(match: re.Match[str], facts: Facts) -> str:
    found = facts[match[1]]
    if found is None:
        return _(MISSING)
    return spoken(found) if isinstance(found, str) else format(found, match[2] or "")


def _term(match: re.Match[str]) -> str:
    """A word with its explanation in a hover, and for those who reach it by keyboard or listen to the page."""
    meaning = escape(glossary()[match[1].lower()], quote=True)
    return f'<span class="term" tabindex="0" title="{meaning}">{match[2] or match[1]}</span>'
