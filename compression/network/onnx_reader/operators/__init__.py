"""The operators that a file may call: `(node, *values) -> value or tuple of values`, by domain and name."""

from collections.abc import Callable
from typing import Any

from compression.network.onnx_reader.operators import layers, moves, pointwise, products

OPERATORS: dict[tuple[str, str], Callable[..., Any]] = {
    **{("", name): call for table in (pointwise.POINTWISE, layers.LAYERS, products.PRODUCTS, moves.MOVES)
       for name, call in table.items()},
    **{("com.microsoft", name): call for table in (pointwise, layers, products)
       for name, call in table.OF_MICROSOFT.items()},
}  # fmt: skip
