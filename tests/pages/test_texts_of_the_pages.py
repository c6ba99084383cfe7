"""No text that a page shows stands outside the catalogue, and every input has a key of its own."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from compression.jobs.cluster import ROOT

INPUTS = {
    "selectbox", "multiselect", "radio", "segmented_control", "pills", "select_slider", "slider", "number_input",
    "text_input", "text_area", "toggle", "checkbox", "file_uploader", "uploader",
    "data_editor",
}  # fmt: skip
TEXTS = INPUTS | {
    "markdown", "caption", "subheader", "header", "title", "write", "info", "warning", "error", "success", "toast",
    "button", "download_button", "page_link", "expander", "popover", "spinner", "metric", "progress", "tabs", "Page",
    "awaited", "ListColumn", "NumberColumn", "Column", "TextColumn", "SelectboxColumn",
}  # fmt: skip
LABELS = {"label", "help", "placeholder", "body", "text", "title"}
CALLED = {
    "Compression Lab", "SQNR", "MACs", "ONNX Runtime", "p99", "MHz", "fp32",
    "mine", "/path/to/images", "KB", "dB", "ms", "HTML", "PDF",
    "p95, ms", "p99, ms", ".tflite", "badge",
}  # fmt: skip
"""Names, units and examples, which are the same in every language."""

WORDS = re.compile(r"[A-Za-z]{2,}")
MARKS = re.compile(r":material/\w+:|:\w+-badge|\$[^$]*\$|https?://\S+")


def sources() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node, node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def written(node: ast.expr) -> Iterator[str]:
    """What an argument says that is written where it stands."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield from (str(part.value) for part in node.values if isinstance(part, ast.Constant))
    elif isinstance(node, ast.IfExp):
        yield from (*written(node.body), *written(node.orelse))
    elif isinstance(node, ast.BinOp):
        yield from (*written(node.left), *written(node.right))
    elif isinstance(node, ast.BoolOp):
        yield from (text for value in node.values for text in written(value))
    elif isinstance(node, ast.List | ast.Tuple):
        yield from (text for value in node.elts for text in written(value))


def has_words(text: str) -> bool:
    return bool(WORDS.search(MARKS.sub("", text))) and text.strip(" :,[-") not in CALLED


def test_every_text_of_a_page_is_in_the_catalogue() -> None:
    found = []
    for path in sources():
        for call, name in calls(path):
            if name in TEXTS and not ast.unparse(call.func).startswith("log."):
                first = [] if name in ("Page", "page_link", "switch_page") else call.args[:1]
                said = [*first, *(keyword.value for keyword in call.keywords if keyword.arg in LABELS)]
                texts = [text for argument in said for text in written(argument) if has_words(text)]
                found += [(path.relative_to(ROOT).as_posix(), call.lineno, text) for text in texts]
    assert found == []


def test_every_word_of_the_components_comes_from_the_page() -> None:
    """Scripts say nothing by themselves but what goes wrong with them, and what `word` translates."""
    text = re.compile(r"""(["'`])([A-Z][a-z]+ [^"'`]{3,}|[A-Z][a-z]+ [a-z]+)\1""")
    said = [
        (path.name, match[2]) for path in sorted((ROOT / "pages").rglob("*.js"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.strip().startswith("//") and not re.search(r"new Error|console\.|word\(", line)
        for match in text.finditer(line)
    ]  # fmt: skip
    assert said == []


def test_every_input_has_a_key() -> None:
    """Without one it is another when its label changes, and what was put in is lost."""
    found = [
        (path.relative_to(ROOT).as_posix(), call.lineno)
        for path in sources() for call, name in calls(path)
        if name in INPUTS and isinstance(call.func, ast.Attribute)
        and not {"key", None} & {keyword.arg for keyword in call.keywords}
    ]  # fmt: skip
    assert found == []
