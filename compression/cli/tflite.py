"""`compress --out NAME.tflite`: the int8 file for LiteRT and microcontrollers, and what was measured on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression.cli.console import Row, write_file
from compression.errors import InvalidSetting
from compression.recipe import Recipe

if TYPE_CHECKING:
    from compression.pipeline.candidate import Candidate, Prepared
    from compression.pipeline.tflite_file import TfliteMeasurement


def in_integers(recipe: Recipe) -> Recipe:
    """The recipe with all that can compute on codes doing so. Raises `InvalidSetting` where activations are floats."""
    quantize = recipe.get("quantize")
    if quantize is None or quantize.activation_bits != 8:  # type: ignore[attr-defined]
        raise InvalidSetting(
            "A .tflite file computes in whole numbers: it needs --set quantize.activation_bits=8, and "
            "quantize.weight_bits of at most 8."
        )
    return recipe.with_setting("quantize.placement", "everywhere")


def write_tflite(out: Path, candidate: "Candidate", prepared: "Prepared") -> "TfliteMeasurement":
    """Writes the file of a compressed network once it is measured."""
    from compression.pipeline.tflite_file import measured

    content, found = measured(candidate, prepared)
    write_file(out, content)
    return found


def tflite_rows(found: dict[str, Any]) -> list[Row]:
    """A measurement as (name, value, remark); see `TfliteMeasurement`."""
    from compression.pipeline.tflite_file import COUNTS_ARENAS

    arena = found["arena_bytes"]
    none = "refused by its kernels" if COUNTS_ARENAS else "not measured: TensorFlow Lite Micro is not installed"
    told = f"{arena / 1000:,.1f} KB" if arena else none
    right = found["accuracy"]
    return [
        (".tflite", f"{found['size_bytes'] / 1000:,.1f} KB", "; the lines above are of the .onnx file of this recipe"),
        ("LiteRT", f"{right:.2%} right" if right is not None else "no labels",
         f"{found['equal']:.2%} of {found['n_test']:,} answers as the .onnx file's"),
        ("TFLM arena", told, "what TensorFlow Lite Micro took for an image, by its own count"),
    ]  # fmt: skip
