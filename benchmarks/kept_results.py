"""Results kept as they come, a line of JSON each, so that a run that is cut off goes on behind its last line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(lines: Path | None) -> Iterator[dict[str, Any]]:
    """The results in the file; a line that was cut off is none."""
    for line in lines.read_text(encoding="utf-8").splitlines() if lines and lines.is_file() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            yield values


def keep(values: dict[str, Any], lines: Path | None) -> None:
    """Writes a line behind the others, behind one that was cut off too. Without a file, nothing is kept."""
    if lines is None:
        return
    lines.parent.mkdir(parents=True, exist_ok=True)
    cut_off = lines.exists() and not lines.read_bytes().endswith(b"\n") and lines.stat().st_size > 0
    with lines.open("a", encoding="utf-8") as file:
        file.write("\n" * cut_off + json.dumps(values) + "\n")
