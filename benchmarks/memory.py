"""Memory of a process that works on more photos than fit into it: decoding them once, and passing over them.

Photos of several sizes are drawn and written as JPEG; names beyond the first `DISTINCT` are links to the same content,
as what a photo shows does not matter here. Memory is read from /proc/self/status while the work is done: what is the
process's own (RssAnon), and what it maps of files (RssFile, RssShmem), which the system takes back when it needs it.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from compression.cli.console import Progress
from compression.data import cache_limit, load, pixel_files
from compression.data.dataset import Dataset
from compression.records.preprocess import Preprocess

DISTINCT, CLASSES, EVERY_S = 200, 10, 0.02


class Watch:
    """The highest RssAnon and RssFile + RssShmem, in MiB, while a block runs, and its seconds."""

    def __enter__(self) -> "Watch":
        self.own = self.mapped = self.seconds = 0.0
        self._stop, self._begin = threading.Event(), time.perf_counter()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._begin

    def _look(self) -> None:
        while True:
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            own, *mapped = (int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile", "RssShmem"))
            self.own, self.mapped = max(self.own, own), max(self.mapped, sum(mapped))
            if self._stop.wait(EVERY_S):
                return


def run(images: int, side: int, progress: Progress) -> str:
    """A line for each kind of work. Everything is written below a temporary folder, and removed."""
    with tempfile.TemporaryDirectory(prefix="compression-memory-") as place:
        root, preprocess = Path(place) / "photos", Preprocess(side, side, resize_to=round(side / 0.875))
        progress(f"Writing {images:,} photos", 0.0)
        _write(root, images, side)
        before = set(cache_limit.folder().glob("*.pixels"))
        try:
            return _measured(f"folder:{root}", images, preprocess, progress)
        finally:
            for made in set(cache_limit.folder().glob(f"folder-*{preprocess.pixels_hash}*.pixels")) - before:
                made.unlink()
            shutil.rmtree(root, ignore_errors=True)


def _measured(name: str, images: int, preprocess: Preprocess, progress: Progress) -> str:
    lines = [f"{images:,} photos, {preprocess.height}×{preprocess.width}: {_gib(images, preprocess):.1f} GiB of pixels"]

    def work(title: str, task: Callable[[], object]) -> None:
        progress(title, 0.5)
        with Watch() as watch:
            task()
        lines.append(f"{title}: own memory {watch.own:,.0f} MiB, mapped {watch.mapped:,.0f} MiB, {watch.seconds:.1f} s")

    with Watch() as idle:
        time.sleep(5 * EVERY_S)
    lines.append(f"Before: own memory {idle.own:,.0f} MiB, mapped {idle.mapped:,.0f} MiB")
    work("Decoding", lambda: load(name, preprocess, progress=progress))
    data = load(name, preprocess)
    work("Opening and its fingerprint", lambda: load(name, preprocess).fingerprint)
    work("A pass over all splits, normalised by batches", lambda: _pass(data))
    work("Calibration images, drawn and normalised", lambda: data.normalize(data.calibration(1024)))
    work("The pixels' own hash", lambda: _without_digests(data).fingerprint)
    return "\n".join(lines)


def _gib(images: int, preprocess: Preprocess) -> float:
    return images * 3 * preprocess.height * preprocess.width / 2**30


def _pass(data: Dataset) -> float:
    """The sum of all normalised pixels, in the order of a training for train and in their own for the others."""
    total, generator = 0.0, torch.Generator().manual_seed(0)
    for indices in torch.randperm(len(data.train), generator=generator).split(64):
        total += float(data.normalize(data.train.pixels(indices)).sum())
    for split in (data.validation, data.test):
        for start in range(0, len(split), 64):
            total += float(data.normalize(split.pixels(slice(start, start + 64))).sum())
    return total


def _without_digests(data: Dataset) -> Dataset:
    from dataclasses import replace

    return replace(data, **{name: replace(getattr(data, name), digest=None) for name in pixel_files.SPLITS})


def _write(root: Path, images: int, side: int) -> None:
    generator = np.random.default_rng(0)
    for i in range(min(images, DISTINCT)):
        path = root / f"class-{i % CLASSES}" / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = side + int(generator.integers(0, side)), side + int(generator.integers(0, side))
        small = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        small.resize((width, height)).save(path, quality=85)
    for i in range(DISTINCT, images):
        folder = root / f"class-{i % CLASSES}"
        (folder / f"{i:06}.jpg").hardlink_to(folder / f"{i % DISTINCT:06}.jpg")
