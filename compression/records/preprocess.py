"""What turns a decoded picture into a network's input: resizing, cropping, the order of channels, normalization."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from compression.errors import InvalidSetting

MIN_SIDE, MAX_SIDE = 8, 1024  # pixels

Resize = Literal["shorter", "exact", "letterbox"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["RGB", "BGR", "grey"]
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class Preprocess:
    """How pictures are made into inputs of `height` x `width` pixels.

    `resize`: "shorter" scales the shorter side to `resize_to` pixels, "exact" both sides to (height, width),
    "letterbox" the picture into (height, width) with grey beside it. The centre of height x width is cropped after it.
    Normalization is (x / 255 - mean) / std per channel, in the order of `channels`. `layout` is that of the original
    file's input; what is compressed is always NCHW.

    Raises `InvalidSetting` for sizes and numbers out of bounds.
    """

    height: int
    width: int
    resize: Resize = "shorter"
    resize_to: int | None = None
    interpolation: Interpolation = "bilinear"
    channels: Channels = "RGB"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    layout: Layout = "NCHW"

    def __post_init__(self) -> None:
        for name in ("height", "width", "resize_to"):
            value = getattr(self, name)
            if value is not None and not MIN_SIDE <= value <= MAX_SIDE:
                raise InvalidSetting(f"{name} is {value} pixels; {MIN_SIDE} to {MAX_SIDE} are allowed.")
        if self.resize == "shorter" and (self.resize_to or min(self.height, self.width)) < max(self.height, self.width):
            raise InvalidSetting(
                f"A shorter side of {self.resize_to or min(self.height, self.width)} pixels is less than the crop of "
                f"{self.height}×{self.width}."
            )
        count = 1 if self.channels == "grey" else 3
        if len(self.mean) != count or len(self.std) != count:
            raise InvalidSetting(
                f"mean and std have {len(self.mean)} and {len(self.std)} numbers; {self.channels} images need {count}."
            )
        if not all(abs(value) <= 1000 for value in self.mean) or not all(1e-6 <= value <= 1000 for value in self.std):
            raise InvalidSetting(f"mean {self.mean} and std {self.std} must be finite, std from 0.000001 to 1000.")

    @property
    def hash(self) -> str:
        """Of all fields."""
        return _digest(asdict(self))

    @property
    def pixels_hash(self) -> str:
        """Of what decides the uint8 pixels, which leaves out normalization and layout."""
        return _digest({name: v for name, v in asdict(self).items() if name not in ("mean", "std", "layout")})

    @classmethod
    def from_plain(cls, values: Any) -> "Preprocess":
        """The record that `dataclasses.asdict` and JSON turned into `values`. Raises `InvalidSetting`."""
        try:
            return _ADAPTER.validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "preprocess"
            raise InvalidSetting(f"{where}: {first['msg']}.") from None


_ADAPTER = TypeAdapter(Preprocess)


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
