"""What a library tells about one of its classifiers before anything is built or downloaded."""

from dataclasses import dataclass

from compression.records.preprocess import Preprocess


@dataclass(frozen=True)
class Remote:
    """A file of weights elsewhere. `sha256` is the beginning of its digest where that is known, else ''."""

    url: str
    name: str
    sha256: str = ""


@dataclass(frozen=True)
class Entry:
    """Weights of one architecture. What the library does not know is None or ''.

    `macs` are multiply-accumulates of one image, `accuracy` is that on ImageNet-1k as its authors publish it, in
    [0, 1].
    """

    library: str
    name: str
    tag: str
    is_default: bool
    classes: int
    preprocess: Preprocess
    parameters: int | None = None
    macs: int | None = None
    accuracy: float | None = None
    licence: str = ""
    size_bytes: int | None = None
    remotes: tuple[Remote, ...] = ()

    @property
    def source(self) -> str:
        """How a user names it: 'timm:resnet18.a1_in1k'."""
        return f"{self.library}:{self.name}{'.' if self.tag else ''}{self.tag}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what it takes."""
        return 1 if self.preprocess.channels == "grey" else 3, self.preprocess.height, self.preprocess.width
