"""The one-time link: a real `probe.py` sends its report to a real port, and whatever else comes is refused."""

import hashlib
import hmac
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from compression.errors import InvalidFile, InvalidSetting, NotAllowed
from compression.jobs import open_receiver, reports
from compression.probing import probe
from compression.probing import receiver as receiving
from compression.probing.receiver import LOOPBACK, Receiver, addresses
from compression.records.probe import MOST_CHARACTERS, read_report
from compression.store import Store
from compression.store.probes import Added
from compression.team import Member, Role, identify_by
from tests.probing.board import NAME, ran

QUICK = ("--seconds", "0.05", "--threads", "1", "--name", NAME)
ANY = b'{"a": 1}'


@pytest.fixture
def receiver(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver[Added]]:
    """Takes reports into the store of this test."""
    monkeypatch.setattr(reports.Store, "shared", lambda: store)
    opened = open_receiver(LOOPBACK, 60)
    yield opened
    opened.stop()


def kept(content: bytes) -> str:
    if content == ANY:
        return "kept"
    raise InvalidFile("Not that one.")


@pytest.fixture
def door() -> Iterator[Receiver[str]]:
    opened = Receiver(kept, LOOPBACK, 60)
    yield opened
    opened.stop()


def key_of(link: str) -> str:
    return urlsplit(link).fragment


def signature(link: str, content: bytes) -> dict[str, str]:
    return {"Authorization": f"HMAC-SHA256 {hmac.new(key_of(link).encode(), content, hashlib.sha256).hexdigest()}"}


def asked(
    link: str, content: bytes = ANY, headers: dict[str, str] | None = None, path: str = "/", method: str = "POST"
) -> tuple[int, str]:
    where = urlsplit(link)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    connection.request(method, path, content, signature(link, content) if headers is None else headers)
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8" and "Server" not in answer.headers
    return answer.status, answer.read().decode().strip()


def begun(door: Receiver[str], *headers: str) -> bytes:
    """A request without its body."""
    return "\r\n".join(("POST / HTTP/1.1", f"Host: {door.host}", *headers, "", "")).encode()


def is_open(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_real_probe_sends_its_report_once(store: Store, run: str, unpacked: Path, receiver: Receiver[Added]) -> None:
    done = ran(unpacked, *QUICK, "--out", "sent.json", "--send", receiver.link)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Sent: The report was received; this link is closed.\n")
    assert receiver.wait(10) and receiver.state == "received"
    assert receiver.found is not None and (receiver.found.runs, receiver.found.title) == (1, NAME)
    sent = read_report((unpacked / "sent.json").read_bytes())
    [probed] = [each for each in store.probes.of_run(run) if not each.machine.litert]
    assert probed.answers is not None
    assert (
        probed.answers.classes.tolist()
        == next(each for each in sent.files if each.sha256 == store.run(run).file_hash).classes
    )
    again = ran(unpacked, "--report", "sent.json", "--send", receiver.link)
    assert again.returncode == 1 and "Nothing can be sent to 127.0.0.1" in again.stderr and not again.stdout
    assert len(store.probes.of_run(run)) == 2


def test_a_report_that_was_written_before_can_be_sent_by_a_new_link(
    store: Store, run: str, unpacked: Path, report: bytes, receiver: Receiver[Added]
) -> None:
    (unpacked / "again.json").write_bytes(report)
    done = ran(unpacked, "--report", "again.json", "--send", receiver.link)
    assert (done.returncode, done.stdout) == (0, "Sent: The report was received; this link is closed.\n")
    assert receiver.wait(10) and len(store.probes.of_run(run)) == 2


def test_what_is_refused_can_be_sent_again(
    store: Store, run: str, report: bytes, unpacked: Path, receiver: Receiver[Added]
) -> None:
    """The checks are those of an uploaded file, sentence for sentence."""
    for content in (b"", b"[]", b"\xff", b"[" * 100_000, report.replace(b'"version": 1', b'"version": 2')):
        with pytest.raises(InvalidFile) as refused:
            read_report(content)
        assert asked(receiver.link, content) == (422, str(refused.value))
        assert (receiver.state, receiver.refused) == ("open", str(refused.value))
    (unpacked / "bad.json").write_text("[]")
    done = ran(unpacked, "--report", "bad.json", "--send", receiver.link)
    assert done.returncode == 1 and done.stderr.startswith("Not sent: This file is not a probe report: ")
    assert not store.probes.machines()
    assert asked(receiver.link, report)[0] == 200


def test_only_the_key_of_the_link_signs(door: Receiver[str]) -> None:
    """Not another one, not that of another content, not the key itself; and the key has 128 bits or more."""
    assert len(key_of(door.link)) * 6 >= 128
    other = Receiver(kept, LOOPBACK, 60)
    other.stop()
    assert key_of(other.link) != key_of(door.link)
    wrong = [
        {}, signature(other.link, ANY), signature(door.link, ANY + b" "), {"Authorization": key_of(door.link)},
        {"Authorization": signature(door.link, ANY)["Authorization"][:-1]}, {"Authorization": "\xff" * 300},
    ]  # fmt: skip
    for headers in wrong:
        assert asked(door.link, headers=headers) == (
            403, "The report was not signed with the key of this link; use the link as it was given."
        )  # fmt: skip
    assert (door.state, door.found, door.refused) == ("open", None, "")
    assert asked(door.link) == (200, "The report was received; this link is closed.")
    assert door.wait(10) and (door.state, door.found) == ("received", "kept") and not is_open(door.port)


def test_there_is_one_path_and_one_method(door: Receiver[str]) -> None:
    for path in ("/report", "//", "/../", f"/{key_of(door.link)}", "/index.html"):
        assert asked(door.link, path=path)[0] == 404
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert asked(door.link, method=method)[0] == 405
    assert door.state == "open"


def test_a_request_names_the_address_of_the_link(door: Receiver[str]) -> None:
    """A page whose name was pointed at this address afterwards reaches nothing, whatever it sends."""
    names = ("evil.example", f"evil.example:{door.port}", f"localhost:{door.port}", LOOPBACK, "x")
    for name in names:
        status, said = asked(door.link, headers=signature(door.link, ANY) | {"Host": name})
        assert (status, said) == (
            421, f"This port takes requests for {LOOPBACK}:{door.port} alone; use the link as it was given."
        )  # fmt: skip
    assert (door.state, door.found) == ("open", None)


def test_a_program_sends_no_more_than_is_taken(unpacked: Path, door: Receiver[str]) -> None:
    assert probe.MOST_SENT == MOST_CHARACTERS
    (unpacked / "large.json").write_bytes(b" " * (MOST_CHARACTERS + 1))
    done = ran(unpacked, "--report", "large.json", "--send", door.link)
    told = "Not sent: large.json has more than 4,000,000 bytes; no report has as many.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert (door.state, door.refused) == ("open", "")


def test_what_is_too_large_is_refused_before_it_is_read(door: Receiver[str]) -> None:
    told = f"The report has more than {MOST_CHARACTERS:,} bytes."
    for length in (str(MOST_CHARACTERS + 1), "9" * 400):
        assert asked(door.link, b"", {"Content-Length": length}) == (413, told)
    assert asked(door.link, b"", {"Content-Length": "-1"})[0] == 411
    assert asked(door.link, b"", {"Transfer-Encoding": "chunked"})[0] == 411
    assert asked(door.link, b" " * MOST_CHARACTERS) == (422, "Not that one.")  # the most that is read at all


def test_a_port_closes_by_itself_and_a_transfer_ends_with_it() -> None:
    door = Receiver(kept, LOOPBACK, 0.3)
    with socket.create_connection((LOOPBACK, door.port), 10) as slow:
        slow.sendall(begun(door, "Content-Length: 8") + b"{")
        assert door.wait(10) and (door.state, door.found) == ("expired", None)
        assert slow.recv(1) == b""
    assert not is_open(door.port)
    assert door.receive(ANY)[0] == 410


def test_whoever_is_slow_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "PATIENCE_S", 0.2)
    door = Receiver(kept, LOOPBACK, 60)
    for sent in (b"POST / HT", begun(door, "Content-Length: 8") + b"{"):
        with socket.create_connection((LOOPBACK, door.port), 10) as slow:
            slow.sendall(sent)
            assert slow.recv(1) == b""
    assert asked(door.link)[0] == 200


def test_so_many_connections_are_taken_at_a_time(door: Receiver[str]) -> None:
    held = [socket.create_connection((LOOPBACK, door.port), 10) for _ in range(receiving.MOST_CONNECTIONS)]
    for each in held:
        each.sendall(begun(door, "Content-Length: 8", "Expect: 100-continue"))
        assert each.recv(100).startswith(b"HTTP/1.1 100")
    with socket.create_connection((LOOPBACK, door.port), 10) as one_more:
        assert one_more.recv(1) == b""
    held[0].close()
    for each in held[1:]:
        each.close()
    door.stop()
    assert door.state == "stopped" and not is_open(door.port)


def test_only_addresses_of_this_machine_are_opened_and_never_all_of_them() -> None:
    assert addresses()
    for address in ("0.0.0.0", "", "192.0.2.7", "localhost", "::"):
        with pytest.raises(InvalidSetting, match="no address of this machine"):
            Receiver(kept, address, 60)
    with pytest.raises(InvalidSetting, match="at most 60 minutes"):
        Receiver(kept, LOOPBACK, 3601)


@pytest.mark.parametrize("role", Role)
def test_no_member_of_a_team_opens_a_port(role: Role) -> None:
    identify_by(lambda: Member("somebody", role))
    try:
        with pytest.raises(NotAllowed):
            open_receiver(LOOPBACK, 60)
    finally:
        identify_by(None)


def test_so_many_are_open_at_a_time() -> None:
    opened = [open_receiver(LOOPBACK, 60) for _ in range(reports.MOST_RECEIVERS)]
    with pytest.raises(InvalidSetting, match="stop one first"):
        open_receiver(LOOPBACK, 60)
    opened[0].stop()
    open_receiver(LOOPBACK, 60).stop()
    for each in opened:
        each.stop()


@pytest.mark.parametrize("link", [
    "http://127.0.0.1:1/", "https://127.0.0.1:1/#AAAAAAAAAAAAAAAAAAAAAA", "127.0.0.1", "http://127.0.0.1:99999/#AAAAAAAAAAAAAAAAAAAAAA",
    "http://127.0.0.1:1/path#AAAAAAAAAAAAAAAAAAAAAA", "http://user@127.0.0.1:1/#AAAAAAAAAAAAAAAAAAAAAA",
])  # fmt: skip
def test_what_is_no_link_is_refused_before_anything_is_measured(unpacked: Path, link: str) -> None:
    done = ran(unpacked, "--send", link)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("--send takes a link")
