"""What holds for every page: it is short, it paints without torch, and only pages.ui.state uses the session."""

import ast
import subprocess
import sys
from pathlib import Path

from compression.jobs.cluster import ROOT


def test_the_app_paints_without_torch() -> None:
    code = (
        "import sys, before_compression, pages.ui.state, pages.ui.explore.forms, pages.ui.charts.scatter_figure; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def test_pages_are_short_and_only_state_uses_the_session() -> None:
    for path in [ROOT / "app.py", *(ROOT / "pages").rglob("*.py")]:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert path.parent.name == "state" or not names & {"session_state", "query_params"} - allowed(path), path
    for path in (ROOT / "pages" / "lab").glob("*.py"):
        assert len(path.read_text().splitlines()) < 120
    assert not list((ROOT / "pages").glob("*.py"))


def allowed(path: Path) -> set[str]:
    """app.py hands the link on from the bare address."""
    return {"query_params"} if path.name == "app.py" else set()
