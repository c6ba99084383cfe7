"""The words that users read: no string of the app, the engine or the documents has what docs/GLOSSARY.md rules out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "compression").rglob("*.py")]
DOCUMENTS = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "GLOSSARY.md"]
TEXTS = [ROOT / "README.md", *DOCUMENTS, *(ROOT / "pages").rglob("*.yaml")]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def ruled_out() -> list[str]:
    """The quoted phrases of the glossary's columns called "not"."""
    phrases, inside = [], False
    for line in (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        inside = cells[-1] == "not" if cells and cells[0] == "term" else inside and bool(cells)
        phrases += re.findall('"([^"]+)"', cells[-1]) if inside else []
    return phrases


def strings(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string but docstrings and those that stand alone."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, text
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def places(phrase: str) -> list[str]:
    """Where a phrase stands as whole words."""
    pattern = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)
    found = [f"{path.relative_to(ROOT)}:{at}" for path in SOURCES for at, text in READ[path] if pattern.search(text)]
    return found + [f"{path.relative_to(ROOT)}" for path in TEXTS if pattern.search(path.read_text(encoding="utf-8"))]


READ = {path: list(strings(path.read_text(encoding="utf-8"))) for path in SOURCES}
PHRASES = ruled_out()


def test_the_glossary_rules_something_out() -> None:
    assert {"% zeros", "over the wire", "rightly"} <= set(PHRASES) and len(PHRASES) == len(set(PHRASES))


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_what_the_glossary_rules_out(phrase: str) -> None:
    assert not places(phrase), f'"{phrase}" stands in {places(phrase)}; docs/GLOSSARY.md has the term'
