"""Bytes, text and plain data damaged by chance: what parsers trip over, and code where somebody might run it."""

import json
import random
from collections.abc import Iterator
from typing import Any

Rng = random.Random

MARKER = "ran"
"""The file that a payload makes where it runs, in the folder that is the current one then."""

CODE = f"__import__('os').system('touch {MARKER}')"
WORDS = [
    "", " ", "\0", "\n", "\ud800", "\u202e", "../../../etc/passwd", "/etc/passwd", "a" * 5000, "9" * 5000, "-1", "NaN",
    "-Infinity", "1e999", "0x" + "f" * 5000, "true", "null", "self", "kind", "step", "__class__", "__init__", "%s%n",
    "{0.__class__}", "${jndi:x}", "<script>alert(1)</script>", "![x](http://localhost/)", "'; DROP TABLE x; --", "*?[",
    "~nobody", "folder:", "folder:/", "folder:\0", "folder:~nobody", "resnet20", "own", CODE,
    f"!!python/object/apply:os.system ['touch {MARKER}']", "&a [*a]", "<<: *a", "[" * 2000, "{" * 2000, "- " * 2000,
    "%", "%ff%fe", "&", "=", "a=b", ":", "1:30.5" + ":30" * 200,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**200, 10**400, 0.0, -0.0, 1e308, float("inf"), float("nan"),
    [], {}, [[]], [None], {"": None}, "x", 7.5, [1, 2, 3, 4, 5, 6, 7, 8, 9], {"as_int": -1},
    {"as_expr": {"expr_str": CODE}},
]  # fmt: skip


def damaged_bytes(rng: Rng, content: bytes) -> bytes:
    """A few bytes changed, taken out, put in, doubled, or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 4, 8, 64, 1000)))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:to] = rng.randbytes(to - at)
        elif kind == 2:
            data[at:to] = b""
        elif kind == 3:
            data[at:at] = data[at:to]
        elif kind == 4:
            data[at:to] = rng.choice((b"\0", b"\xff", b"\x7f")) * (to - at)
        elif kind == 5:
            data[at:at] = rng.choice(WORDS)[:200].encode("utf-8", "surrogatepass")
        else:
            del data[at:]
    return bytes(data)


def damaged_text(rng: Rng, text: str) -> str:
    """Parts of the text changed for others, or for what parsers trip over."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.choice((0, 1, 3, 10, 40)))
        new = rng.choice((rng.choice(WORDS), chr(rng.randrange(1, 0x3000)), text[at:to] * 2, text[to : to + 20], ""))
        text = text[:at] + new + text[to:]
    return text


def damaged_value(rng: Rng, value: Any) -> Any:
    """Plain data with one or two places changed: another type, size, name, or one place put into another."""
    for _ in range(rng.choice((1, 1, 2))):
        value = _changed(rng, value, rng.choice(list(places(value))))
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every place in plain data, the whole first; of a list, to its first fifty."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value[:50]):
            yield from places(inner, (*path, i))


def _changed(rng: Rng, value: Any, path: tuple[Any, ...]) -> Any:
    if path:
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[path[0]] = _changed(rng, value[path[0]], path[1:])
        return copy
    kind = rng.randrange(7)
    if kind == 0 and isinstance(value, dict) and value:
        gone = rng.choice(list(value))
        return {k: v for k, v in value.items() if k != gone}
    if kind == 1 and isinstance(value, dict):
        return {**value, rng.choice(WORDS)[:3000]: rng.choice(VALUES)}
    if kind == 2 and isinstance(value, list) and value:
        return rng.choice((value[1:], value + value, [*value, rng.choice(VALUES)], value[::-1]))
    if kind == 3:
        return rng.choice(WORDS)
    if kind == 4 and isinstance(value, str):
        return damaged_text(rng, value)
    if kind == 5 and isinstance(value, int | float):
        return rng.choice((value + 1, -value, value * 10**6, value * 1.5, str(value), [value]))
    if kind == 6 and rng.random() < 0.2:
        for _ in range(rng.choice((3, 50, 900))):
            value = [value]
        return value
    return rng.choice(VALUES)


def spelled(value: Any) -> str:
    """As JSON, in which anything may stand."""
    return json.dumps(value)
