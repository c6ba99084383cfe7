"""Collects every message of the sources into the catalogues: `python -m compression.language.extraction`.

The app and the command line mark theirs with `_`, `N_`, `n_` and `p_`. The engine marks nothing: each text of it with
words is one, where it is made; see `engine_messages`. Translations that are there stay, those of gone messages go.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from babel.messages.pofile import read_po, write_po

from compression.language.catalog import CONTEXT, ENGINE, ENGLISH, LANGUAGES, file_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "compression"

SILENT = (
    "boards/texts", "class_names", "export/decoders.py", "export/moves.py", "export/pack.py", "export/pointwise.py",
    "export/snippets.py", "export/translate.py", "export/windows.py", "export/writer.py", "language",
    "migrations", "probing/probe.py", "reference", "store/database.py", "store/predictions.py", "store/reading.py",
)  # fmt: skip
"""Parts of the engine that say nothing to users: code that is written into files, SQL."""

LOGGED = {"debug", "info", "warning", "error", "exception", "compile", "execute", "text", "getLogger", "readable"}
COLUMN = re.compile(r"[A-Z][a-z]+[a-z0-9 ,%()-]*$")

COUNTED = "counted"
"""The function of `pages.ui.model.wording` that makes '2 runs' of 2 and 'run'."""

TITLES = {"title", "description", "label", "unit"}
"""Keywords under which one word is a message too."""

CHOICE = re.compile(r"[a-z]{2,}([-_][a-z]+)*")

WORDS = re.compile(r"[A-Za-z]{2,},? [A-Za-z({]|[a-z]{2,}[.:]$|^[A-Z][a-z]+ ")
CODE = re.compile(
    r"[<>]|::|\w\(\)|^\W*$|^[A-Z_]+$|^SELECT |^PRAGMA |%s|\[[A-Z]|import |^tuple\[|^dict\[|^list\[| \| None"
)

HEADER = """msgid ""
msgstr ""
"Language: {tag}\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""

Message = tuple[str | tuple[str, str], bool]
"""A message, or its two forms, and whether it is the engine's."""


def update() -> None:
    """Brings the catalogue of each language up to date with the sources."""
    found = messages()
    for tag in set(LANGUAGES) - {ENGLISH}:
        _write(file_of(tag), tag, found)


def messages() -> dict[str | tuple[str, str], tuple[bool, str]]:
    """Every message of the sources: whether the engine says it, and the file that has it first."""
    found: dict[str | tuple[str, str], tuple[bool, str]] = {}
    for path in [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py")), *sorted(PACKAGE.rglob("*.py"))]:
        name = path.relative_to(ROOT).as_posix()
        for message, engine in _of_file(path):
            before = found.get(message, (False, name))
            found[message] = (before[0] or engine, before[1])
    return found


def _of_file(path: Path) -> Iterator[Message]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    engine = path.is_relative_to(PACKAGE) and not path.is_relative_to(PACKAGE / "cli")
    yield from ((message, engine) for message in marked(tree))
    if path.is_relative_to(ROOT / "pages"):
        yield from ((message, False) for message in _columns(tree))
    if path.is_relative_to(PACKAGE) and not any(part in path.as_posix() for part in SILENT):
        yield from ((message, True) for message in engine_messages(tree))
    if path.is_relative_to(PACKAGE / "steps"):
        yield from ((message, True) for message in _techniques(tree))
    if path.is_relative_to(PACKAGE / "steps") or path == PACKAGE / "recipe" / "__init__.py":
        yield from ((message, False) for message in _choices(tree))
    if path.is_relative_to(PACKAGE / "cli"):
        yield from ((message, True) for message in _commands(tree))


def marked(tree: ast.AST) -> Iterator[str | tuple[str, str]]:
    """What stands in calls of `_`, `N_`, `n_` and `p_`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if name in ("_", "N_") and texts:
                yield texts[0]
            elif name == "p_" and len(texts) == 2:
                yield CONTEXT.join(texts)
            elif name == "n_" and len(texts) == 2:
                yield texts[0], texts[1]
            elif name == COUNTED and texts:
                yield f"{{n:,}} {texts[0]}", f"{{n:,}} {texts[0]}s"


def _columns(tree: ast.AST) -> Iterator[str]:
    """The names of tables' columns, and of sections: keys of dicts that begin as a name does."""
    for node in ast.walk(tree):
        for key in node.keys if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and COLUMN.match(key.value):
                yield key.value


def _techniques(tree: ast.AST) -> Iterator[str]:
    """What a technique is called, and its class's docstring, which is its help."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and "title: ClassVar[str] =" in ast.unparse(node) and ast.get_docstring(node):
            yield ast.get_docstring(node) or ""
        if (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.target) in TITLES
            and isinstance(node.value, ast.Constant)
        ):
            yield str(node.value.value)


def _choices(tree: ast.AST) -> Iterator[str]:
    """The words among the choices of settings, each in the context of its setting: 'prune.scope' of 'global'."""
    for cls in ast.walk(tree):
        fields = [
            node for node in (cls.body if isinstance(cls, ast.ClassDef) else ()) if isinstance(node, ast.AnnAssign)
        ]
        kinds = [ast.literal_eval(f.value) for f in fields if ast.unparse(f.target) == "kind" and f.value is not None]
        for kind, field in product(kinds, fields):
            for choice in _literals(field.annotation):
                if CHOICE.fullmatch(str(choice)):
                    yield f"{kind}.{ast.unparse(field.target)}{CONTEXT}{choice}"


def _literals(annotation: ast.AST) -> list[Any]:
    """What the annotation `Literal[…]` of a field lists."""
    lists = [n for n in ast.walk(annotation) if isinstance(n, ast.Subscript) and ast.unparse(n.value) == "Literal"]
    return [each.value for found in lists for each in ast.walk(found.slice) if isinstance(each, ast.Constant)]


def _commands(tree: ast.AST) -> Iterator[str]:
    """The help of commands: the docstrings of functions that are commands, here or where they are registered."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        options = [ast.unparse(each.annotation) for each in node.args.args if each.annotation]
        decorated = any("command" in ast.unparse(each) for each in node.decorator_list)
        if decorated or any("typer." in each or each.endswith("Option") for each in options):
            yield inspect.cleandoc(ast.get_docstring(node) or "")


def engine_messages(tree: ast.AST) -> Iterator[str]:
    """Texts with words, their parts that are computed as {0}, {1}: errors, progress, notes, titles and help."""
    passed = _passed_over(tree)
    for node in ast.walk(tree):
        if node in passed:
            passed.update(ast.iter_child_nodes(node))
            continue
        if isinstance(node, ast.keyword) and node.arg in TITLES and re.search("[a-z]{2}", _template(node.value) or ""):
            yield _template(node.value) or ""
        text = _template(node)
        if text is None:
            continue
        passed.update(ast.iter_child_nodes(node))
        literal = re.sub(r"\{\d+\}", "{", text)
        if "\n\n" not in text and WORDS.search(literal) and not CODE.search(literal):
            yield text


def _passed_over(tree: ast.AST) -> set[ast.AST]:
    """Docstrings, what is logged, and the arguments of marks."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(node.value)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in LOGGED or name in ("_", "N_", "n_", "p_"):
                found.update(node.args)
    return found


def _template(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    places = iter(range(100))
    return "".join(str(v.value) if isinstance(v, ast.Constant) else f"{{{next(places)}}}" for v in node.values)


def key(message: Entry) -> str | tuple[str, str]:
    """What `messages` calls an entry of a catalogue."""
    if isinstance(message.id, tuple | list):
        return message.id[0], message.id[1]
    return f"{message.context}{CONTEXT}{message.id}" if message.context else message.id


def _write(path: Path, tag: str, found: dict[str | tuple[str, str], tuple[bool, str]]) -> None:
    known = {}
    if path.is_file():
        with path.open("rb") as file:
            known = {key(message): message.string for message in read_po(file, locale=tag.replace("-", "_"))}
    fresh = Catalog(locale=tag.replace("-", "_"), project="Compression Lab", fuzzy=False, charset="utf-8")
    for message, (engine, place) in sorted(found.items(), key=lambda each: (each[1][1], str(each[0]))):
        context, _, text = message.rpartition(CONTEXT) if isinstance(message, str) else ("", "", message)
        fresh.add(text, known.get(message) or "", locations=[(place, 0)], auto_comments=[ENGINE] if engine else [],
                  context=context or None)  # fmt: skip
    written = BytesIO()
    write_po(written, fresh, width=120, omit_header=True, include_lineno=False)
    path.write_bytes(HEADER.format(tag=tag.replace("-", "_")).encode() + written.getvalue())


if __name__ == "__main__":
    update()
