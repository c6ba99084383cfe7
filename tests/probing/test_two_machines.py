"""The one-time link between two machines: namespaces of the network, each with an address of its own, and a wire."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compression.store import Store
from tests.probing.board import NAME

LAB, BOARD = "10.77.0.1", "10.77.0.2"
ASKS = """
import http.client, json, sys
address, port, host, length = sys.argv[1:]
connection = http.client.HTTPConnection(address, int(port), timeout=20)
try:
    connection.request("POST", "/", b"", {"Host": host, "Content-Length": length})
except ConnectionRefusedError:
    print(json.dumps([0, ""]))
else:
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode().strip()]))
"""
"""A program that sends the begin of a request and prints status and sentence."""


def ip(*about: str) -> bool:
    """Whether the network was changed so."""
    return subprocess.run(["ip", *about], capture_output=True).returncode == 0


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """The names of two machines, that of the app and a board; skips where the kernel makes none for this user."""
    lab, board = f"lab{os.getpid()}", f"board{os.getpid()}"
    if shutil.which("ip") is None or not ip("netns", "add", lab):
        pytest.skip("no namespaces of the network can be made here")
    try:
        wired = ip("netns", "add", board) and ip(
            "link", "add", "wire", "netns", lab, "type", "veth", "peer", "name", "wire", "netns", board
        )
        for name, address in ((lab, LAB), (board, BOARD)):
            wired = wired and ip("-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            wired = wired and all(ip("-n", name, "link", "set", each, "up") for each in ("lo", "wire"))
        if not wired:
            pytest.skip("no namespaces of the network can be connected here")
        yield lab, board
    finally:
        ip("netns", "del", lab)
        ip("netns", "del", board)


def on(machine: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", machine, sys.executable, *command]


def asked(machine: str, address: str, port: str, host: str, length: str) -> list[object]:
    done = subprocess.run(on(machine, "-c", ASKS, address, port, host, length), capture_output=True, timeout=60)
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def probed(machine: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = on(machine, "-I", str(folder / "probe" / "probe.py"), *options)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_a_board_sends_its_report_over_the_network_once(
    store: Store, run: str, unpacked: Path, machines: tuple[str, str]
) -> None:
    lab, board = machines
    command = on(lab, "-m", "compression", "probe", "receive", "--minutes", "5", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as receiving:
        try:
            assert receiving.stderr is not None and receiving.stdout is not None
            found = re.search(rf"http://{LAB}:(\d+)/#[\w-]+", receiving.stderr.readline())
            assert found is not None
            link, port, host = found[0], found[1], f"{LAB}:{found[1]}"
            assert asked(lab, "127.0.0.1", port, host, "1") == [0, ""]  # no port but that of the address
            assert asked(board, LAB, port, "evil.example", "1")[0] == 421
            assert asked(board, LAB, port, host, "4000001") == [413, "The report has more than 4,000,000 bytes."]
            quick = ("--seconds", "0.05", "--threads", "1", "--name", NAME, "--out", "far.json")
            wrong = probed(board, unpacked, *quick, "--send", link[:-16] + "A" * 16)
            assert wrong.returncode == 1 and "not signed with the key of this link" in wrong.stderr
            done = probed(board, unpacked, "--report", "far.json", "--send", link)
            assert (done.returncode, done.stdout) == (0, "Sent: The report was received; this link is closed.\n")
            assert json.loads(receiving.stdout.read())["runs"] == 1
            assert receiving.wait(30) == 0
        finally:
            receiving.kill()
    again = probed(board, unpacked, "--report", "far.json", "--send", link)
    assert again.returncode == 1 and "A link works once" in again.stderr
    [there] = [each for each in store.probes.of_run(run) if not each.machine.litert]
    sent = json.loads((unpacked / "far.json").read_text())
    took = next(each for each in sent["files"] if each["sha256"] == store.run(run).file_hash)["latency"][0]
    assert (there.machine.title, [each.p50_ms for each in there.latencies]) == (NAME, [took["p50_ms"]])
