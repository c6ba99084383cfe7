"""The Chinese texts say what the English ones say: the same parts, figures, terms, formulas, code and links."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "pages" / "learn" / "texts"
NAMES = sorted(path.name for path in TEXTS.glob("*.yaml"))
HAN = "一-鿿"

KEPT = {
    "figures": re.compile(r"<<[^>]+>>"),
    "formulas": re.compile(r"\$\$.+?\$\$|\$[^$]+\$", re.DOTALL),
    "code": re.compile(r"`[^`]+`"),
    "headings": re.compile(r"^#+ ", re.MULTILINE),
}
"""What both languages hold, as often."""
TERM = re.compile(r"\[\[([^\]|]+)")
WORDS_IN_FORMULA = re.compile(r"\\text\{[^}]*\}")

FORMULA_OR_CODE = re.compile(r"\$\$.+?\$\$|\$[^$]+\$|`[^`]+`|\]\([^)]*\)|<[^>]*>", re.DOTALL)
STIFF = {
    "half-width punctuation in a Chinese sentence": re.compile(rf"[{HAN}][,;:?!(]|[,;?!)][{HAN}]"),
    "no space between Chinese and Latin": re.compile(rf"[{HAN}][A-Za-z0-9]|[A-Za-z0-9%][{HAN}]"),
    "a line break inside a Chinese paragraph": re.compile(rf"^(?!#).*[{HAN}，。]\n[ ]*[{HAN}]", re.MULTILINE),
}
EMPHASIS = re.compile(r"(.?)(\*{1,2})([^*\s](?:[^*\n]*[^*\s])?)\2(.?)")


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pairs(english: Any, chinese: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """The texts and values of both, side by side; they have the same keys and as many entries."""
    if isinstance(english, dict):
        assert list(english) == list(chinese), place
        for name in english:
            yield from pairs(english[name], chinese[name], f"{place}.{name}")
    elif isinstance(english, list):
        assert len(english) == len(chinese), place
        for number, part in enumerate(english):
            yield from pairs(part, chinese[number], f"{place}.{number}")
    else:
        yield place, english, chinese


def kept(text: str) -> dict[str, Counter[str]]:
    """What must not change on the way from one language to the other."""
    found = {name: Counter(pattern.findall(text)) for name, pattern in KEPT.items()}
    found["formulas"] = Counter(re.sub(r"\s+", "", WORDS_IN_FORMULA.sub("", each)) for each in found["formulas"])
    found["terms"] = Counter(term.lower() for term in TERM.findall(text))
    return found


def untranslated(place: str) -> bool:
    """A title of a paper, a link, a recipe, a key or a name stays as it is."""
    return bool(re.search(r"sources\.\d+\.title|\.(link|recipe|key|model|dataset)\b", place))


def written(text: str) -> str:
    """What is read as Chinese prose: no formulas, code, addresses and figures."""
    return FORMULA_OR_CODE.sub(" ", text)


def broken_emphasis(text: str) -> list[str]:
    """What CommonMark leaves as asterisks: punctuation just inside of them with a letter just outside."""
    found = [match.groups() for match in EMPHASIS.finditer(text)]
    return [part for before, _, part, after in found
            if (before.isalnum() and not (part[0].isalnum() or part[0] == "<"))
            or (after.isalnum() and not part[-1].isalnum())]  # fmt: skip


def ruled_out() -> list[str]:
    """The words of the last column of the glossary's Chinese table."""
    chinese = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8").split("| English | 中文 |")[1]
    return re.findall('"([^"]+)"', chinese)


def test_every_text_is_there_in_chinese() -> None:
    assert sorted(path.name for path in (TEXTS / "zh_CN").glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_hold_the_same(name: str) -> None:
    for place, english, chinese in pairs(loaded(TEXTS / name), loaded(TEXTS / "zh_CN" / name), name):
        if not isinstance(english, str) or untranslated(place):
            assert chinese == english, place
        else:
            assert kept(chinese) == kept(english), place
            assert chinese == english or re.search(f"[{HAN}]|^[^a-z]+$", chinese), place


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_explained_in_chinese(name: str) -> None:
    terms = {term.lower() for term in TERM.findall((TEXTS / "zh_CN" / name).read_text(encoding="utf-8"))}
    assert terms <= set(loaded(TEXTS / "zh_CN" / "glossary.yaml"))


def chinese_documents() -> list[Path]:
    return [*sorted((TEXTS / "zh_CN").glob("*.yaml")), *sorted(ROOT.glob("*.zh-CN.md")),
            *sorted((ROOT / "docs").rglob("*.zh-CN.md"))]  # fmt: skip


@pytest.mark.parametrize("path", chinese_documents(), ids=lambda path: path.name)
def test_chinese_is_set_as_chinese(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        parts = pairs(loaded(path), loaded(path), "")
        text = "\n\n".join(part for _, part, _ in parts if isinstance(part, str))
    else:
        text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    wrong = {name: pattern.findall(written(text)) for name, pattern in STIFF.items()}
    assert not any(wrong.values()), wrong
    assert broken_emphasis(text) == []
    assert [word for word in ruled_out() if word in text] == []


def commands(path: Path) -> list[str]:
    """The lines of a document's code blocks without their comments."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [re.sub(r"\s+# .*", "", line).strip() for block in blocks for line in block.splitlines()]


def outline(path: Path) -> dict[str, Any]:
    """How many headings and rows of tables there are, and where its links and pictures lead."""
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    return {
        "headings": [len(each) for each in re.findall(r"^(#+) ", text, re.MULTILINE)],
        "rows": len(re.findall(r"^\|", text, re.MULTILINE)),
        "links": Counter(link.replace(".zh-CN", "") for link in links),
    }


@pytest.mark.parametrize("path", chinese_documents(), ids=lambda path: path.name)
def test_a_chinese_document_is_the_counterpart_of_its_english_one(path: Path) -> None:
    if path.suffix == ".md":
        english = path.with_name(path.name.replace(".zh-CN", ""))
        assert commands(path) == commands(english)
        assert outline(path) == outline(english)
        assert f"]({path.name})" in english.read_text(encoding="utf-8")
        assert f"]({english.name})" in path.read_text(encoding="utf-8")


def test_the_documents_that_users_read_first_are_there_in_chinese() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in chinese_documents() if path.suffix == ".md"}
    guides = {f"docs/guides/{path.stem}.zh-CN.md" for path in (ROOT / "docs" / "guides").glob("[a-z]*.md")
              if ".zh-CN" not in path.name}  # fmt: skip
    assert names >= {"README.zh-CN.md", *guides}
