"""Where the named datasets come from: scikit-learn, a copy on this machine, or a download by torchvision."""

import gzip
import struct
import tempfile
from pathlib import Path

import numpy as np
import torch

from compression.data.cache import Decoded
from compression.data.catalog import DATASETS
from compression.data.dataset import split_off
from compression.data.library_downloads import Progress, Stop, heard
from compression.errors import DataUnavailable, InvalidFile
from compression.host.folders import user_folder

SYSTEM_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
DIGITS_TEST_IMAGES = 360
_IDX_PARTS = {"train": "train", "test": "t10k"}
_IDX_LIMIT_BYTES = 1 << 30
_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def obtain(name: str, progress: Progress, stop: Stop) -> Decoded:
    """The named dataset from the nearest source that has it. Raises DataUnavailable where none has, and Cancelled."""
    if name == "digits":
        return _digits()
    if name == "fashion-mnist" and SYSTEM_FASHION_MNIST.is_dir():
        return _fashion_mnist_from(SYSTEM_FASHION_MNIST)
    return _from_torchvision(name, progress, stop)


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in a gzipped IDX file (LeCun's MNIST format). Raises InvalidFile where it is none."""
    try:
        with gzip.open(path) as file:
            zeros, kind, dimensions = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = int(np.prod(shape, dtype=np.uint64))
            if zeros or kind != 8 or not 1 <= dimensions <= 3 or size > _IDX_LIMIT_BYTES:
                raise InvalidFile(f"{path} is not an IDX file of bytes with one to three dimensions.")
            data = file.read(size + 1)
    except (OSError, EOFError, struct.error) as error:
        raise InvalidFile(f"{path} cannot be read as a gzipped IDX file: {error}.") from error
    if len(data) != size:
        raise InvalidFile(f"{path} promises {size} bytes for its shape {shape} and does not hold exactly as many.")
    return np.frombuffer(bytearray(data), dtype=np.uint8).reshape(shape)


def _fashion_mnist_from(folder: Path) -> Decoded:
    tensors = {}
    for part, prefix in _IDX_PARTS.items():
        images = torch.from_numpy(read_idx(folder / f"{prefix}-images-idx3-ubyte.gz"))  # [n, 28, 28]
        labels = torch.from_numpy(read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz"))  # [n]
        tensors[f"{part}_images"], tensors[f"{part}_labels"] = images.unsqueeze(1), labels.long()
    return Decoded(**tensors, classes=_FASHION_CLASSES, source=f"Fashion-MNIST from the system's copy in {folder}.")


def _digits() -> Decoded:
    """1,797 scans of handwritten digits, 8×8 with values 0-16, scaled to bytes; a seeded fifth is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)  # [n, 1, 8, 8]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = split_off(labels, DIGITS_TEST_IMAGES)
    return Decoded(
        images[train], labels[train], images[test], labels[test],
        classes=tuple(map(str, bunch.target_names)), source="Digits as they come with scikit-learn.",
    )  # fmt: skip


def _from_torchvision(name: str, progress: Progress, stop: Stop) -> Decoded:
    """A copy in the user's folder of datasets, else a download into a folder of its own that is not kept."""
    kept = user_folder() / "datasets"
    try:
        return _read_torchvision(name, kept, download=False, source=f"{DATASETS[name].title} from the copy in {kept}.")
    except RuntimeError:  # torchvision's answer to "not there, or damaged"
        pass
    try:
        title = DATASETS[name].title
        with tempfile.TemporaryDirectory(prefix="compression-download-") as folder, heard(title, progress, stop):
            source = f"{title}, downloaded by torchvision."
            return _read_torchvision(name, Path(folder), download=True, source=source)
    except (OSError, RuntimeError) as error:  # no network, a server's refusal, or a file that fails its checksum
        raise DataUnavailable(unreachable(name, kept)) from error


def unreachable(name: str, kept: Path) -> str:
    """The sentence for a dataset that no source gave."""
    title, places = DATASETS[name].title, f"there is no copy of it in {kept}"
    if name == "fashion-mnist":
        places += f" or {SYSTEM_FASHION_MNIST} (Debian and Ubuntu: apt install dataset-fashion-mnist)"
    return f"{title} could not be downloaded and {places}; the dataset 'digits' always works, without a network."


def _read_torchvision(name: str, root: Path, *, download: bool, source: str) -> Decoded:
    from torchvision import datasets

    if name in ("svhn", "stl10"):
        return _read_by_split(name, root, download=download, source=source)
    kind = {
        "fashion-mnist": datasets.FashionMNIST, "mnist": datasets.MNIST,
        "cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100,
    }[name]  # fmt: skip
    parts = [kind(str(root), train=train, download=download) for train in (True, False)]
    pixels = [_channels_first(torch.as_tensor(part.data)) for part in parts]
    labels = [torch.as_tensor(part.targets, dtype=torch.int64) for part in parts]
    return Decoded(pixels[0], labels[0], pixels[1], labels[1], classes=tuple(parts[0].classes), source=source)


def _read_by_split(name: str, root: Path, *, download: bool, source: str) -> Decoded:
    """Those that torchvision has as arrays [n, 3, H, W] by the name of the part."""
    from torchvision import datasets

    kind = {"svhn": datasets.SVHN, "stl10": datasets.STL10}[name]
    parts = [kind(str(root), split=split, download=download) for split in ("train", "test")]
    pixels = [torch.from_numpy(np.ascontiguousarray(part.data)) for part in parts]
    labels = [torch.as_tensor(np.asarray(part.labels), dtype=torch.int64) for part in parts]
    classes = tuple(getattr(parts[0], "classes", map(str, range(DATASETS[name].classes))))
    return Decoded(pixels[0], labels[0], pixels[1], labels[1], classes=classes, source=source)


def _channels_first(images: torch.Tensor) -> torch.Tensor:
    """uint8 [n, H, W] or [n, H, W, 3] → [n, C, H, W]."""
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
