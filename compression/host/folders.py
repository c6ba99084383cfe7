"""The folder of the user's data."""

import os
import sys
from pathlib import Path

from compression.errors import InvalidSetting


def user_folder() -> Path:
    """The folder that keeps what belongs to the user: `COMPRESSION_HOME`, else the platform's place for user data.

    Raises InvalidSetting where that lies in the home folder of a user who has none, as in some containers.
    """
    if chosen := os.environ.get("COMPRESSION_HOME"):
        return _of_user(chosen)
    return _user_data() / "compression-lab"


def _user_data() -> Path:
    if sys.platform == "darwin":
        return _of_user("~/Library/Application Support")
    if sys.platform == "win32":
        return _of_user(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    return _of_user(os.environ.get("XDG_DATA_HOME") or "~/.local/share")


def _of_user(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidSetting(
            f"What the program keeps belongs in {path!r}, but that user has no home folder; set COMPRESSION_HOME to "
            "the whole path of a folder that can be written to."
        ) from None
