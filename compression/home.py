"""The folder that keeps what belongs to the user."""

import os
import sys
from pathlib import Path


def home() -> Path:
    """The folder that keeps what belongs to the user: `COMPRESSION_HOME`, else the platform's place for user data."""
    if chosen := os.environ.get("COMPRESSION_HOME"):
        return Path(chosen).expanduser()
    return _user_data() / "compression-lab"


def _user_data() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
