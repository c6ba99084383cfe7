"""The sessions of `compression.runtime`, under the name by which this package's readers know them."""

from compression.runtime import optimized, session

__all__ = ["optimized", "session"]
