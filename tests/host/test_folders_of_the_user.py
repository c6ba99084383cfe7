"""The user's folder: where it lies, and one sentence for users who have no place for it."""

import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from compression.errors import InvalidData, InvalidSetting
from compression.host import channel_multiple
from compression.host.folders import user_folder
from compression.jobs.cluster import ROOT
from pages.ui.model import wording


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in passwd, as containers have."""

    def nobody(_: object) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_DATA_HOME", "COMPRESSION_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_a_user_without_a_home_folder_is_told_what_to_set(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSetting, match=r"'~/\.local/share', but that user has no home folder; set COMPRESSION"):
        user_folder()
    assert channel_multiple.multiple() == channel_multiple.USUAL  # settings have defaults without one
    assert wording.place("/srv/store.sqlite") == "/srv/store.sqlite"
    monkeypatch.setenv("COMPRESSION_HOME", "/srv/lab")
    assert user_folder() == Path("/srv/lab")
    monkeypatch.setenv("COMPRESSION_HOME", "~nobody-of-this-name/lab")
    with pytest.raises(InvalidSetting, match="no home folder"):
        user_folder()


def test_a_folder_of_images_below_no_home_is_one_sentence(homeless: None) -> None:
    from compression.data import load

    with pytest.raises(InvalidData, match="is not the path of a folder"):
        load("folder:~/images")


HOMELESS = """
import os, pwd, runpy, sys
os.environ.pop("HOME", None), os.environ.pop("XDG_DATA_HOME", None), os.environ.pop("COMPRESSION_HOME", None)
pwd.getpwuid = lambda uid: {}[uid]
sys.argv = ["compression", *sys.argv[1:]]
runpy.run_module("compression", run_name="__main__")
"""


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["zoo", "list"], 2), (["runs", "list"], 2)])
def test_the_command_line_ends_in_a_sentence_without_a_home_folder(arguments: list[str], code: int) -> None:
    command = [sys.executable, "-c", HOMELESS, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert ("set COMPRESSION_HOME" in done.stderr) == (code == 2)
    assert ("Usage" in done.stdout) == (code == 0)
