"""The real PostgreSQL, where its server programs are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_postgres = pytest.mark.skipif(
    not (shutil.which("initdb") and shutil.which("pg_ctl")), reason="needs PostgreSQL's server programs"
)


@contextmanager
def server() -> Iterator[str]:
    """A server of the test's own, that listens on a socket in its folder only; its address."""
    top = Path(tempfile.mkdtemp(prefix="compression-postgres-"))  # pytest's own folders are closed to other users
    as_user: list[str | Path] = []
    if os.geteuid() == 0:  # the server refuses to be run by root
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(top, "postgres")
    subprocess.run(
        [*as_user, "initdb", "-D", top / "data", "-A", "trust", "-U", "me", "--no-sync"],
        check=True,
        cwd="/tmp",
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    control = [*as_user, "pg_ctl", "-D", top / "data", "-w", "-s"]
    options = f"-c listen_addresses='' -c fsync=off -k {top}"
    subprocess.run(
        [*control, "-o", options, "-l", top / "log", "start"],
        check=True,
        cwd="/tmp",
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"postgresql://me@/postgres?host={top}"
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"], check=True, cwd="/tmp", timeout=60, stdout=subprocess.DEVNULL
        )
        shutil.rmtree(top)
