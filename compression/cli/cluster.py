"""Commands that start the parts of a cluster: a scheduler, workers anywhere, and the certificates that they share."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from compression.cli.console import print_table
from compression.errors import InvalidSetting, Unsupported, shown
from compression.language import _
from compression.searching.settings import check_device

POLL_S = 0.5
LOOPBACK = ("127.0.0.1", "localhost", "::1")
CertificatesOption = Annotated[
    Path | None,
    typer.Option(
        file_okay=False, help="Folder made by `certificates`, the same on every machine. Default: in your user folder."
    ),
]


def scheduler(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 8786,
    certificates: CertificatesOption = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Use tcp:// without encryption; needs COMPRESSION_TRUSTED_NETWORK=1.")
    ] = False,
) -> None:
    """Start a scheduler, encrypted by a folder of certificates. The app uses it by COMPRESSION_SCHEDULER."""
    from compression.jobs.joined import check_trusted

    address = f"{'tcp' if plain else 'tls'}://{host}:{port}"
    check_trusted(address, _("The scheduler's address"))
    typer.echo(_("Address for the app and workers: {address}. Stop with Ctrl+C.", address=address), err=True)
    arguments = ["--host", f"{'tcp' if plain else 'tls'}://{host}", "--port", str(port), *_served(host)]
    _become("distributed.cli.dask_scheduler", [*arguments, *_tls(address, certificates)])


def worker(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Address of the scheduler, e.g. tls://host:8786.")],
    long: Annotated[int, typer.Option(min=0, max=256, help="Number of processes for searches and training.")] = 1,
    quick: Annotated[int, typer.Option(min=0, max=256, help="Number of processes for interactive requests.")] = 1,
    name: Annotated[str | None, typer.Option(help="Name of this machine. Default: its host name.")] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="What searches call this machine by: `search --device NAME`.")
    ] = "",
    certificates: CertificatesOption = None,
) -> None:
    """Start workers for a scheduler on this machine. They need no folder in common with the app.

    Where PyTorch finds a GPU, trainings of all apps go to this machine's processes for long jobs first.
    """
    from compression.jobs.joined import GPU, LONG, QUICK, check_trusted, device_resource
    from compression.training import evaluation

    check_trusted(address, _("The scheduler's address"))
    if not long and not quick:
        raise InvalidSetting("At least one process must be started: --long or --quick must be above 0.")
    check_device(device, "--device")
    called, host = name or socket.gethostname(), _own_address(address)
    listening = ["--host", host, *_served(host)]
    common = [address, "--nthreads", "1", *listening, *_tls(address, certificates), *_preloads()]
    named = [device_resource(device)] if device else []
    fast = [GPU] if evaluation.device() == "cuda" else []
    kinds = {QUICK: (quick, [QUICK, *named]), LONG: (long, [LONG, *fast, *named])}
    started = [
        subprocess.Popen(_command("distributed.cli.dask_worker", [*common, *_kind(kind, count, called, resources)]))
        for kind, (count, resources) in kinds.items()
        if count
    ]
    typer.echo(
        _(
            "{long} processes of {called} connected to {address}. Stop with Ctrl+C.",
            long=long + quick,
            called=called,
            address=address,
        ),
        err=True,
    )
    _wait(started)


def certificates(
    folder: Annotated[
        Path | None, typer.Argument(file_okay=False, help="Folder to create. Default: in your user folder.")
    ] = None,
) -> None:
    """Make the certificate and key of a cluster. Copy the folder to every machine of it, and to nobody else."""
    from compression.jobs import joined

    place = folder or joined.certificates()
    files = joined.make_certificates(place)
    print_table([("certificate", str(files[0])), (_("key, to be kept secret"), str(files[1]))])


def _tls(address: str, folder: Path | None) -> list[str]:
    """The options of Dask's commands for a tls:// address. Raises `InvalidFile` where there are no certificates."""
    from compression.jobs import joined

    if not address.startswith("tls://"):
        return []
    certificate, key = map(str, joined.check_certificates(folder or joined.certificates()))
    return ["--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key]


def _kind(kind: str, count: int, called: str, resources: list[str]) -> list[str]:
    """The options for so many processes that do one kind of job."""
    named = ["--name", f"{called}-{kind}", "--resources", " ".join(f"{each}=1" for each in resources)]
    return [*named, "--nworkers", str(count), "--local-directory", str(_folder())]


def _served(host: str) -> list[str]:
    """No dashboard; what Dask serves by HTTP all the same (how busy it is) is to be had where the rest is."""
    return ["--no-dashboard", "--dashboard-address", f"[{host}]:0" if ":" in host else f"{host}:0"]


def _own_address(address: str) -> str:
    """This machine's address by which a scheduler reaches it: workers listen there alone.

    Raises `InvalidSetting` for what is no address, and `Unsupported` where it cannot be reached.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or 8786
    except ValueError:
        host = None
    if not host:
        raise InvalidSetting(f"The scheduler's address is one like tls://host:8786, not {shown(address)}.")
    if host in LOOPBACK:
        return "::1" if host == "::1" else "127.0.0.1"
    try:
        family, kind, protocol, _, there = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as place:
            place.connect(there)  # sends nothing: it only chooses the interface
            return str(place.getsockname()[0])
    except (OSError, UnicodeError) as error:
        raise Unsupported(f"The scheduler's host {shown(host)} cannot be reached from this machine: {error}.") from None


def _preloads() -> list[str]:
    from compression.jobs.cluster import preload

    return ["--preload", preload("worker.warm_up"), "--preload-nanny", preload("processes.at_ease")]


def _folder() -> Path:
    from compression.data import user_folder

    folder = user_folder() / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _command(module: str, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _become(module: str, arguments: list[str]) -> None:
    """This process goes on as Dask's command."""
    command = _command(module, arguments)
    os.execv(command[0], command)


def _wait(started: list[subprocess.Popen[bytes]]) -> None:
    """Until one of them ends, or the user says so; then all end. One that failed ends this command with its code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while not (ended := [code for process in started if (code := process.poll()) is not None]):
            time.sleep(POLL_S)
        if failed := [code for code in ended if code]:
            typer.echo(_("A process of the workers failed; ending the others."), err=True)
            raise typer.Exit(failed[0] if failed[0] > 0 else 128 - failed[0])
    except KeyboardInterrupt:
        typer.echo(_("Ending the workers."), err=True)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
