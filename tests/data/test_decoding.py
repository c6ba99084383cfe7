"""One picture at a time: the pixels of torchvision's transforms on Pillow, files of every kind, hostile ones."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from compression.data import decoding
from compression.data.decoding import LETTERBOX_GREY, decode
from compression.errors import InvalidData
from compression.records.preprocess import Preprocess

SIZES = [(57, 40), (40, 57), (64, 64), (31, 200), (9, 8), (300, 257)]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    noise = generator.integers(0, 30, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(np.asarray(small.resize((width, height))) // 2 + noise)


def first(array: Image.Image) -> np.ndarray:
    """uint8 [C, H, W] of a picture."""
    pixels = np.asarray(array)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_pixels_are_those_of_torchvision(tmp_path: Path, size: tuple[int, int], interpolation: str) -> None:
    path = tmp_path / "a.png"
    picture(*size).save(path)
    mode = transforms.InterpolationMode(interpolation)
    opened = Image.open(path).convert("RGB")
    shorter = transforms.Compose([transforms.Resize(37, mode), transforms.CenterCrop((32, 28))])
    found = decode(str(path), Preprocess(32, 28, resize_to=37, interpolation=interpolation))  # type: ignore[arg-type]
    assert np.array_equal(found, first(shorter(opened)))
    exact = transforms.Resize((32, 28), mode)
    found = decode(str(path), Preprocess(32, 28, "exact", interpolation=interpolation))  # type: ignore[arg-type]
    assert np.array_equal(found, first(exact(opened)))


def test_letterbox_scales_into_the_frame_and_leaves_grey_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(80, 40).save(path)
    found = decode(str(path), Preprocess(32, 32, "letterbox"))
    inner = Image.open(path).resize((32, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(found[:, 8:24], first(inner))
    assert (found[:, :8] == LETTERBOX_GREY).all() and (found[:, 24:] == LETTERBOX_GREY).all()


def test_channels_are_in_the_order_asked_for(tmp_path: Path) -> None:
    path, numbers = tmp_path / "a.png", {"mean": (0.5,), "std": (0.5,)}
    picture(40, 40).save(path)
    colours = decode(str(path), Preprocess(32, 32))
    assert np.array_equal(decode(str(path), Preprocess(32, 32, channels="BGR")), colours[::-1])
    grey = transforms.Resize(32)(Image.open(path).convert("L"))
    assert np.array_equal(decode(str(path), Preprocess(32, 32, channels="grey", **numbers)), first(grey))  # type: ignore[arg-type]


EXACT = Preprocess(24, 32, "exact")


def saved(path: Path, image: Image.Image, **options: Any) -> str:
    image.save(path, **options)
    return str(path)


KINDS: dict[str, Callable[[Path], str]] = {
    "grey": lambda p: saved(p / "a.png", picture(32, 24).convert("L")),
    "bits": lambda p: saved(p / "a.png", picture(32, 24).convert("1")),
    "palette": lambda p: saved(p / "a.png", picture(32, 24).quantize(16)),
    "transparent": lambda p: saved(p / "a.png", picture(32, 24).convert("RGBA")),
    "grey, transparent": lambda p: saved(p / "a.png", picture(32, 24).convert("LA")),
    "CMYK": lambda p: saved(p / "a.jpg", picture(32, 24).convert("CMYK")),
    "progressive": lambda p: saved(p / "a.jpg", picture(32, 24), progressive=True),
    "webp": lambda p: saved(p / "a.webp", picture(32, 24), lossless=True),
    "tiff": lambda p: saved(p / "a.tif", picture(32, 24), compression="tiff_lzw"),
    "bmp": lambda p: saved(p / "a.bmp", picture(32, 24)),
    "gif": lambda p: saved(p / "a.gif", picture(32, 24), save_all=True, append_images=[picture(32, 24, 1)]),
    "animated": lambda p: saved(p / "a.webp", picture(32, 24), save_all=True, append_images=[picture(32, 24, 1)]),
    "another ending": lambda p: saved(p / "a.jpg", picture(32, 24), format="PNG"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_pillow_converts_to_colours(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    assert np.array_equal(decode(path, EXACT), first(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    upright = picture(32, 24)
    lying = upright if orientation in (1, 2, 3, 4) else upright.transpose(Image.Transpose.TRANSPOSE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", lying, exif=exif)
    from PIL import ImageOps

    expected = ImageOps.exif_transpose(Image.open(path))
    assert np.array_equal(decode(path, EXACT), first(expected))


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    path = saved(tmp_path / "a.jpg", picture(32, 24), exif=exif)
    assert np.array_equal(decode(path, EXACT), first(Image.open(path)))


def test_sixteen_bits_are_their_upper_eight(tmp_path: Path) -> None:
    values = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 80
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert np.array_equal(decode(str(tmp_path / name), EXACT), np.broadcast_to((values >> 8)[None], (3, 24, 32)))


def test_arrays_are_prepared_like_files(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", picture(57, 40))
    assert np.array_equal(decode(np.asarray(Image.open(path)), EXACT), decode(path, EXACT))


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of a few bytes that claims to be a greyscale picture of that size."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *chunks,
        (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""),
    ]  # fmt: skip
    written = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


HOSTILE = {
    "gigantic": (png(2**31 - 1, 2**31 - 1), "cannot be read as an image"),
    "large": (png(20_000, 15_000), "20000×15000 pixels; 200,000,000 are allowed"),
    "thin": (png(1, 60_000), "cannot be read as an image|too long and thin"),
    "text bomb": (png(12, 10, (b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 200_000_000))), "cannot be read as an image"),
    "cut": (png(12, 10)[:-30], "cannot be read as an image"),
    "empty": (b"", "cannot be read as an image"),
    "another program's": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 10\n%%EndComments\n", "cannot be read"),
    "long": (png(12, 10) + b"\0" * (64 << 20), "64.0 MiB; 64 MiB are allowed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bombs_and_what_is_no_picture_are_refused(tmp_path: Path, name: str) -> None:
    content, words = HOSTILE[name]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InvalidData, match=words):
        decode(str(tmp_path / "a.png"), Preprocess(224, 224))


def test_a_long_thin_picture_is_refused_before_it_is_resized(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (1, 20_000)))
    with pytest.raises(InvalidData, match="1×20000 pixels, too long and thin"):
        decode(path, Preprocess(224, 224))
    assert decode(path, EXACT).shape == (3, 24, 32)


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.jpg", picture(32, 24), progressive=True)
    monkeypatch.setattr(decoding, "MAX_SCANS", 3)
    with pytest.raises(InvalidData, match="more than 3 scans"):
        decode(path, EXACT)


def test_a_photo_of_many_megapixels_is_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (6_000, 4_000), (10, 200, 30)))
    found = decode(path, Preprocess(224, 224, resize_to=256))
    assert found.shape == (3, 224, 224) and abs(int(found[1].mean()) - 200) < 3


def test_heic_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    with pytest.raises(InvalidData, match="save HEIC photos as JPEG"):
        decode(str(tmp_path / "a.heic"), EXACT)
