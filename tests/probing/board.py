"""Another machine: `probe.py` as a program of its own, in the folder of its zip."""

import subprocess
import sys
from pathlib import Path

NAME = '<img src=x> "kind": "probe" ![x](y)'


def ran(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What came of `python probe.py` with some options."""
    command = [sys.executable, "-I", str(folder / "probe" / "probe.py"), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
