"""What is uploaded beside networks: archives of pictures, tables of labels and classes, reports, and a team's file."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from tests.damage import WORDS, Rng, damaged_bytes, damaged_text, damaged_value, spelled

NAMES = ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "test/a/2.png", "test/b/2.png")
STRANGE = (
    "../x.png",
    "/tmp/x.png",
    "a\\..\\x.png",
    "A/0.PNG",
    "CON.png",
    "a/0.png/x.png",
    "a/\n.png",
    "a//0.png",
    "./a/0.png",
)
PARTS = ("train", "train", "test")
TABLE = "image,label,split\n" + "".join(f"{name},{name[0]},{PARTS[i % 3]}\n" for i, name in enumerate(NAMES))


class Archives:
    """Zip and tar archives of small pictures, with a table of labels or without."""

    def __init__(self) -> None:
        from PIL import Image

        kept = io.BytesIO()
        Image.new("RGB", (8, 8), (10, 200, 30)).save(kept, "PNG")
        self.picture = kept.getvalue()

    def make(self, rng: Rng, folder: Path) -> Path:
        """An archive with strange entries, or damaged bytes."""
        files = dict.fromkeys(NAMES, self.picture)
        if rng.random() < 0.5:
            files["labels.csv"] = damaged_text(rng, TABLE).encode("utf-8", "surrogatepass")
        for _ in range(rng.choice((0, 0, 1, 2))):
            other = rng.choice((*STRANGE, rng.choice(WORDS)[:300], damaged_text(rng, rng.choice(NAMES))[:300]))
            files[other] = rng.choice((self.picture, damaged_bytes(rng, self.picture), b"", b"\0" * 3_000_000))
        path = folder / rng.choice(("photos.zip", "photos.tar", "photos.tar.gz", "photos"))
        content = rng.choice((_zipped, _tarred))(rng, files)
        content = gzip.compress(content) if rng.random() < 0.2 else content
        path.write_bytes(damaged_bytes(rng, content) if rng.random() < 0.5 else content)
        return path

    def enter(self, path: Path) -> object:
        """As the app and `data add` take it in."""
        from compression import data
        from compression.data.archives import extract

        with path.open("rb") as file:
            found = extract(file, path.name)
        try:
            return data.load(found.dataset).classes
        finally:
            _gone(found.folder)


def _gone(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _zipped(rng: Rng, files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            about = zipfile.ZipInfo(name.replace("\0", "").encode("utf-8", "replace").decode() or "x")
            if rng.random() < 0.05:
                about.external_attr = rng.choice((0o120777, 0o010644, 0o060644, 0o040755)) << 16
            method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            archive.writestr(about, content, method)
    return made.getvalue()


def _tarred(rng: Rng, files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name.replace("\0", "").encode("utf-8", "replace").decode() or "x")
            about.size = len(content)
            if rng.random() < 0.05:
                about.type = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE))
                about.linkname, about.size = rng.choice(("/etc/passwd", "../x", "a/0.png")), 0
            archive.addfile(about, io.BytesIO(content))
    return made.getvalue()


class Tables:
    """Tables of classes that a user hands over."""

    def make(self, rng: Rng, folder: Path) -> Path:
        """A damaged one."""
        path = folder / rng.choice(("classes.csv", "classes.tsv"))
        text = damaged_text(rng, "class,output\ncat,1\ndog,tench\nbird,\n")
        path.write_bytes(damaged_bytes(rng, text.encode("utf-8", "surrogatepass")))
        return path

    def enter(self, path: Path) -> object:
        """As `--corrections` and the page read and match it."""
        from compression.data.class_names.corrections import kept, read_corrections
        from compression.data.class_names.matching import match, rows

        found = read_corrections(path)
        matched = match(("cat", "dog", "bird"), ("cat", "tench", "dog"), found)
        return list(rows(matched)), kept(("cat", "tench"), "folder:x")


class Reports:
    """Reports of probes, which go into a store."""

    def __init__(self, folder: Path) -> None:
        from tests.stranger_rows import Rows, _report

        self.rows, self.plain = Rows(folder), _report().model_dump()

    def make(self, rng: Rng, folder: Path) -> tuple[Path, bytes]:
        """A damaged report, and a store with its run."""
        import shutil

        store = folder / "store.sqlite"
        shutil.copy(self.rows.whole, store)
        if rng.random() < 0.3:
            return store, damaged_bytes(rng, spelled(self.plain).encode())
        return store, spelled(damaged_value(rng, self.plain)).encode()

    def enter(self, about: tuple[Path, bytes]) -> object:
        """As Deploy, the one-time link and `probe add` take it in, and pages show it."""
        from compression.records.probe import read_report
        from compression.store import Store
        from tests.stranger_rows import told

        store = Store.open(f"sqlite:///{about[0]}")
        try:
            return store.probes.add(read_report(about[1])), told(store)
        finally:
            store.close()


class Teams:
    """The file of a team, and what a provider says of who signs in."""

    TEXT = "default: none\nmembers:\n  ann@example.org: admin\nquotas:\n  user: {minutes: 120}\nsign_in_hours: 12\n"
    CLAIMS = {"email": "ann@example.org", "email_verified": True, "sub": "1", "iat": 1e9}  # noqa: RUF012

    def make(self, rng: Rng, folder: Path) -> tuple[str, Any]:
        """Both damaged."""
        text = damaged_text(rng, self.TEXT) if rng.random() < 0.7 else self.TEXT
        return text, damaged_value(rng, self.CLAIMS)

    def enter(self, about: tuple[str, Any]) -> object:
        """As the entrance reads them: nobody gets a role but by the very name and a sign-in that holds."""
        from compression.errors import InvalidSetting
        from compression.records.documents import read_yaml
        from compression.team.members import team_of
        from pages.ui.state.sign_in import name_of

        text, claims = about
        try:
            team = team_of(read_yaml(text))
        except ValueError as error:
            raise InvalidSetting(f"The team's file cannot be used: {error}.") from None
        if not isinstance(claims, dict):
            return None
        found = team.member(name_of(claims)) if team.holds(claims.get("iat"), 1e9 + 60) else None
        if text == self.TEXT and found is not None:
            assert claims["email"].lower() == "ann@example.org" and claims["email_verified"] is True
        return found
