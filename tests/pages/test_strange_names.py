"""Names that a stranger chose, of layers, classes and networks, where a page writes them into another language."""

import ast

import pytest

from compression.errors import LONGEST, InvalidFile, UnknownName, UserError, shown
from compression.jobs.cluster import ROOT
from pages.ui.model import wording


@pytest.mark.parametrize(("text", "shown_as"), [
    ("![x](https:\\\\evil.example\\a.png)", r"!\[x\](https:\\\\evil.example\\a.png)"),
    ("<img src=x>", r"\<img src=x>"),
    (":red-background[x]", r":red-background\[x\]"),
    ("$x$ `y` *z* _w_", r"\$x\$ \`y\` \*z\* \_w\_"),
    ("'resnet20_half' has 3 channels.", "'resnet20_half' has 3 channels."),
])  # fmt: skip
def test_a_sentence_is_no_markdown(text: str, shown_as: str) -> None:
    assert wording.said(text) == shown_as


def test_a_sentence_is_short_and_one_line_whatever_it_names() -> None:
    long = UserError(f"{'x' * 10**6} is\nno \x1b[31mname\udcff.")
    assert len(str(long)) <= LONGEST + 2
    assert str(InvalidFile("a\nb\x1b\udcff.")) == "a b \\udcff."
    assert len(str(UnknownName("model", "m" * 10**6, ["a"]))) < 200


def test_what_is_shown_of_a_value_is_short_and_needs_no_time() -> None:
    deep: object = 0
    for _ in range(10_000):
        deep = [deep, deep, deep]  # a text of it would fill any disk
    assert len(shown(deep)) < 200
    assert shown(1 << 100_000) == "a number of 100,001 bits"
    assert (shown("a"), shown(3), shown([1, "b"]), shown(0.5)) == ("'a'", "3", "[1, 'b']", "0.5")


def test_names_are_never_translated() -> None:
    """`said` translates what the engine said; names, and what the page has put into words already, are `quoted`."""
    calls = [
        node for path in (ROOT / "pages").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "wording.said"
    ]  # fmt: skip
    names = {"title", "model", "name", "label", "cpu", "notes"}
    assert calls
    assert [
        ast.unparse(call) for call in calls if isinstance(call.args[0], ast.Call) and "_(" in ast.unparse(call)
    ] == []
    assert [ast.unparse(call) for call in calls if getattr(call.args[0], "attr", "") in names] == []


def _fixed(text: ast.expr) -> bool:
    """A text of the program alone, translated or not."""
    if isinstance(text, ast.Call) and ast.unparse(text.func) == "_" and not text.keywords:
        return isinstance(text.args[0], ast.Constant)
    return isinstance(text, ast.Constant)


def test_headings_and_captions_of_pictures_are_no_markdown_of_strangers() -> None:
    """A folder's name is in a heading, a class's below a picture; lessons have texts of their own."""
    paths = [path for path in (ROOT / "pages").rglob("*.py") if not {"learn", "lessons"} & set(path.parts)]
    calls = [node for path in paths for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    headings = [call.args[0] for call in calls if ast.unparse(call.func).endswith(("st.subheader", "st.header"))]
    below = [
        keyword.value for call in calls if ast.unparse(call.func).endswith("st.image")
        for keyword in call.keywords if keyword.arg == "caption"
    ]  # fmt: skip
    written = [ast.unparse(text) for text in (*headings, *below) if not _fixed(text)]
    assert len(written) >= 3
    assert [text for text in written if "wording.quoted(" not in text and "wording.plain(" not in text] == []
