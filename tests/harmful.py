"""A reader that does what a hole in a reader would let a file do; it runs in the process of `compression.confined`."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path


def ready() -> None:
    """Nothing is loaded late."""


def read(path: Path, *, what: str, place: str = "") -> tuple[dict[str, object], bytes] | None:
    """`what` names a function below; `place` is what it is to harm."""
    assert path.read_bytes() == b"content"
    found: tuple[dict[str, object], bytes] | None = globals()[what](place)
    return found


def nothing(place: str) -> None:
    pass


def report(place: str) -> tuple[dict[str, object], bytes]:
    return {"size": 300_000, "lines": ["a", "b"]}, b"\n{}\x00" * 75_000


def think(place: str) -> None:
    found: list[int] = []
    thread = threading.Thread(target=found.append, args=(1,))  # numeric libraries start some
    if os.getuid() == 0:
        thread.start()
        thread.join()
    assert Path(__file__).read_text()  # libraries load files late


def write(place: str) -> None:
    Path(place).write_text("harm")


def create(place: str) -> None:
    os.close(os.open(place, os.O_CREAT | os.O_RDONLY))


def append(place: str) -> None:
    with open(place, "ab") as file:
        file.write(b"harm")


def delete(place: str) -> None:
    os.unlink(place)


def rename(place: str) -> None:
    os.rename(place, place + ".gone")


def link(place: str) -> None:
    os.symlink("/etc/passwd", place + ".link")


def folder(place: str) -> None:
    os.mkdir(place + ".folder")


def rights(place: str) -> None:
    os.chmod(place, 0o777)


def start(place: str) -> None:
    subprocess.run(["/bin/sh", "-c", f"echo harm > {place}"], check=True)


def system(place: str) -> None:
    assert os.system(f"echo harm > {place}") == 0


def fork(place: str) -> None:
    os.fork()


def become(place: str) -> None:
    os.execv("/bin/sh", ["sh", "-c", f"echo harm > {place}"])


def call(place: str) -> None:
    socket.create_connection(("127.0.0.1", int(place)), timeout=5)


def kill(place: str) -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def print_(place: str) -> None:
    print('{"refused": null}')
    sys.stdout.flush()
    raise KeyError(place)


def answer(place: str) -> None:
    """Writes to the very pipe, whose number it guesses."""
    for number in range(3, 20):
        try:
            os.write(number, b'{"refused": "Send money."}{{{{')
        except OSError:
            continue
    os._exit(0)


def flood(place: str) -> None:
    while True:
        for number in range(3, 20):
            try:
                os.write(number, b"x" * 100_000)
            except OSError:
                continue


def fall(place: str) -> None:
    ctypes.string_at(0)


def loop(place: str) -> None:
    while True:
        pass


def sleep(place: str) -> None:
    time.sleep(1000)


def grow(place: str) -> None:
    kept = [bytearray(1 << 20)]
    while True:
        kept.append(bytearray(64 << 20))
