"""The part of the command line about pictures of one's own: folders, archives, and what decoded pictures take."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from compression.cli.console import JsonOption, Row, print_json, print_table, working
from compression.cli.inputs import check_dataset
from compression.cli.zoo import data_app
from compression.language import _


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(metavar="folder:PATH", help="Image folder.")],
    as_json: JsonOption = False,
) -> None:
    """Say how a folder's pictures are understood, before any is decoded."""
    check_dataset(name, folders=True)
    from compression.data import layouts
    from compression.data.loading import path_of

    listing = layouts.list_folder(path_of(name))
    counts = {part: len(found) for part, found in layouts.in_splits(listing).items()}
    if as_json:
        return print_json({"dataset": name, "classes": listing.classes, **counts, "left_out": listing.skipped})
    rows: list[Row] = [
        ("pictures", ", ".join(f"{n:,} {part}" for part, n in counts.items())),
        (
            "classes",
            f"{len(listing.classes):,}: {', '.join(listing.classes[:5])}…" if listing.classes else _("no labels"),
        ),
    ]
    rows += [(_("left out"), sentence) for sentence in listing.skipped[:20]]
    print_table(rows)


@data_app.command("add")
def data_add(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="Archive of images (.zip, .tar, .tar.gz).")],
    as_json: JsonOption = False,
) -> None:
    """Unpack an archive of pictures into your folder, and print the name of the dataset that it is now."""
    with working() as progress:
        from compression.data.archives import extract

        found = extract(archive, progress=progress)
    if as_json:
        return print_json({"dataset": found.dataset, "pictures": found.pictures, "ignored": found.ignored})
    print_table(
        [("dataset", found.dataset), ("pictures", f"{found.pictures:,}"), (_("no pictures"), f"{found.ignored:,}")]
    )


@data_app.command("cache")
def data_cache(
    limit: Annotated[float | None, typer.Option(help="Maximum size of the image cache, in GiB.")] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Clear the cache; images are decoded again when needed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what decoded pictures take on the disk; limit or remove them."""
    from compression.data import cache_limit

    if limit is not None:
        cache_limit.set_limit(int(min(max(limit, -1), 1e9) * 2**30))
    removed = cache_limit.clean() if clear else 0
    now = cache_limit.usage()
    if as_json:
        return print_json(dataclasses.asdict(now) | {"removed_bytes": removed, "folder": str(cache_limit.folder())})
    rows: list[Row] = [
        (
            _("decoded pictures"),
            _("{size_bytes:.2f} GiB in {files} files", size_bytes=now.size_bytes / 2**30, files=now.files),
        ),
        ("limit", _("{limit_bytes:g} GiB", limit_bytes=now.limit_bytes / 2**30)),
        ("folder", str(cache_limit.folder())),
    ]
    print_table([*rows, ("removed", _("{removed:.2f} GiB", removed=removed / 2**30))] if clear else rows)
