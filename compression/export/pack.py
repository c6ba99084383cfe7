"""Weights as few bytes as possible.

| encoding | payload                                                                            | decodes to |
| plain    | the values themselves                                                              | int8 or floats |
| dense    | b-bit codes, b = 1 … 7 (8 for unsigned ones)                                       | int8 |
| mask     | one bit per weight + b-bit or float values of those that are not zero              | int8 or floats |
| delta    | d-bit distances between those, d = 1 … 8 (Han et al. 2016, §2) + the same values   | int8 or floats |

`decoders` writes the standard ONNX operators that turn them back; `decode` here does the same in NumPy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compression.grids import Kind, largest

DISTANCE_BITS = range(1, 9)


@dataclass(frozen=True)
class Encoding:
    """One weight tensor as stored. `tensors` holds what says where the values stand, if anything, then the values.

    `distance_bits` is the width of one distance of the delta encoding, else 0. `grid` says which codes there are
    (`compression.grids`); those of 'shifted' are stored modulo 2^bits, so that zero stays zero and none is negative.
    """

    kind: str
    bits: int
    shape: tuple[int, ...]
    tensors: tuple[np.ndarray, ...]
    distance_bits: int = 0
    grid: Kind = "zero"

    @property
    def size_bytes(self) -> int:
        """Bytes of the payload."""
        return sum(t.nbytes for t in self.tensors)


@dataclass(frozen=True)
class Option:
    """An encoding that could be made: its payload's bytes, one number per tensor, before anything is packed."""

    kind: str
    bits: int
    shape: tuple[int, ...]
    payload: tuple[int, ...]
    distance_bits: int = 0
    grid: Kind = "zero"


def gain(bits: int, grid: Kind = "zero") -> int:
    """What codes are multiplied by when they are decoded: as much as fits seven bits, 1 for floats.

    The bias is rounded in steps of input scale · weight scale; codes that fill the byte make those steps finer. Seven
    bits, not eight, so that pairs of products never saturate on processors without VNNI.
    """
    return 1 if bits >= 16 else 2 ** max(0, 6 - largest(bits, grid).bit_length())


def table(bits: int, grid: Kind) -> np.ndarray:
    """What the unsigned codes 0 … 2^bits - 1 decode to, `gain` included ('shifted': modulo 2^bits): int32 [2^bits]."""
    codes = np.arange(2**bits, dtype=np.int32)
    if grid == "shifted":
        return codes
    if grid == "odd":
        return gain(bits, grid) * (2 * codes - 2**bits + 1)
    signed = codes - 2 ** (bits - 1)
    if grid == "powers":
        signed = np.sign(signed) * 2 ** np.maximum(np.abs(signed) - 1, 0)
        signed[0] = 0  # one code more than there are levels
    return gain(bits, grid) * signed


def line(bits: int, grid: Kind) -> tuple[int, int] | None:
    """(factor, offset) with which unsigned codes u decode to factor · u - offset; None where no line does."""
    values = table(bits, grid)
    factor, offset = int(values[-1] - values[-2]), -int(values[0])
    return (factor, offset) if grid != "powers" else None


def options(values: np.ndarray, bits: int, grid: Kind = "zero") -> list[Option]:
    """All encodings that can hold `values`: int8 codes of a `grid` with `bits`, or floats (bits = 16 or 32).

    uint8 codes of a grid of the kind 'shifted' come modulo 2^bits. Where a grid has no zero, 0 stands for pruned
    weights; then zeros cannot be stored densely. Where the others are all ±1, masks and distances need their sign only.
    """
    flat = values.ravel()
    places = np.flatnonzero(flat)

    def option(kind: str, payload: tuple[int, ...], distance_bits: int = 0) -> Option:
        return Option(kind, bits, values.shape, payload, distance_bits, grid)

    found = [option("plain", (values.nbytes,))]
    if bits == 8 and grid == "shifted":
        return found
    if bits < 8 and (grid != "odd" or len(places) == flat.size):
        found.append(option("dense", (_bytes(flat.size, bits),)))
    if largest(bits, grid) == 1:
        bits, grid = 1, "odd"
    kept = _bytes(max(1, len(places)), bits)
    found.append(option("mask", (_bytes(flat.size, 1), kept)))
    gaps = np.diff(places, prepend=-1) - 1
    for d in DISTANCE_BITS:
        count = max(1, len(places) + int((gaps // (2**d - 1)).sum()))
        found.append(option("delta", (_bytes(count, d), kept), d))
    return found


def encode(values: np.ndarray, option: Option) -> Encoding:
    """`values` in the encoding that `option` names. Codes that do not fit its bits are a broken invariant."""
    tensors = _ENCODERS[option.kind](values, option)
    assert tuple(t.nbytes for t in tensors) == option.payload
    return Encoding(option.kind, option.bits, option.shape, tensors, option.distance_bits, option.grid)


def choose(
    layers: Sequence[Sequence[Option]], cost: Callable[[Option], int], functions: Callable[[Option], dict[str, int]]
) -> list[Option]:
    """One option per layer with the least bytes in sum: `cost` of each, and each function's bytes once.

    Starts with everything allowed and gives up functions one by one as long as the sum falls.
    """
    priced = [[(cost(option), functions(option), option) for option in layer] for layer in layers]
    sizes = {name: size for layer in priced for _, needed, _ in layer for name, size in needed.items()}

    def pick(allowed: frozenset[str]) -> tuple[int, list[Option], set[str]]:
        best = [min((o for o in layer if allowed.issuperset(o[1])), key=lambda o: o[0]) for layer in priced]
        used = {name for _, needed, _ in best for name in needed}
        return sum(o[0] for o in best) + sum(sizes[name] for name in used), [o[2] for o in best], used

    total, chosen, used = pick(frozenset(sizes))
    while used:
        fewer = [pick(frozenset(used - {name})) for name in sorted(used)]
        least = min(fewer, key=lambda found: found[0])
        if least[0] >= total:
            break
        total, chosen, used = least
    return chosen


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned codes [n] below 2^bits into bytes [⌈n·bits/8⌉], lowest bit first, the last byte padded with zeros."""
    spread = (codes[:, None] >> np.arange(bits, dtype=np.uint8)) & 1  # [n, bits]
    return np.packbits(spread.astype(np.uint8).ravel(), bitorder="little")


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The inverse of `pack_bits` for the first `count` codes."""
    spread = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return (spread << np.arange(bits, dtype=np.uint8)).sum(1).astype(np.uint8)


def decode(encoding: Encoding) -> np.ndarray:
    """What the file's operators compute, in NumPy: `gain` times the values that were encoded."""
    size = int(np.prod(encoding.shape))
    stored = encoding.tensors[-1]
    if encoding.kind == "plain":
        return stored
    if encoding.kind == "dense":
        return _signed(unpack_bits(stored, encoding.bits, size), encoding).reshape(encoding.shape)
    values = np.zeros(size, _type(encoding))
    where, d = encoding.tensors[0], encoding.distance_bits
    if encoding.kind == "mask":
        places = np.flatnonzero(unpack_bits(where, 1, size))
    else:
        codes = unpack_bits(where, d, 8 * where.nbytes // d).astype(np.int64)
        bridge = codes == 2**d - 1
        places = (np.cumsum(codes + ~bridge) - 1)[~bridge]
    count = len(places)
    kept = stored[:count] if encoding.bits >= 8 else _signed(unpack_bits(stored, encoding.bits, count), encoding)
    values[places] = kept
    return values.reshape(encoding.shape)


def _plain(values: np.ndarray, option: Option) -> tuple[np.ndarray, ...]:
    return (values if option.grid == "shifted" else values * values.dtype.type(gain(option.bits, option.grid)),)


def _dense(values: np.ndarray, option: Option) -> tuple[np.ndarray, ...]:
    return (pack_bits(_unsigned(values.ravel(), option), option.bits),)


def _mask(values: np.ndarray, option: Option) -> tuple[np.ndarray, ...]:
    keep = values.ravel() != 0
    kept = _at_least_one(values.ravel()[keep])
    return np.packbits(keep, bitorder="little"), _packed_values(kept, option)


def _delta(values: np.ndarray, option: Option) -> tuple[np.ndarray, ...]:
    """How many zeros stand before each value. The largest code M = 2^d - 1 bridges M zeros and has no value.

    The padding of the last byte is such bridges too, so that the number of values need not be stored. Han et al. store
    a zero with each bridge; without it, grids that have no zero can be stored as well.
    """
    flat, bridge = values.ravel(), 2**option.distance_bits - 1
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    last = np.cumsum(gaps // bridge + 1) - 1  # where each value's own code stands among all codes
    distances = np.full(8 * option.payload[0] // option.distance_bits, bridge, np.uint8)
    distances[last] = gaps % bridge
    return pack_bits(distances, option.distance_bits), _packed_values(_at_least_one(flat[places]), option)


def _at_least_one(values: np.ndarray) -> np.ndarray:
    """A Gather needs something to gather from."""
    return values if len(values) else np.ones(1, values.dtype)


def _packed_values(values: np.ndarray, option: Option) -> np.ndarray:
    return values if option.bits >= 8 else pack_bits(_unsigned(values, option), option.bits)


_ENCODERS: dict[str, Callable[[np.ndarray, Option], tuple[np.ndarray, ...]]] = {
    "plain": _plain, "dense": _dense, "mask": _mask, "delta": _delta,
}  # fmt: skip


def _bytes(count: int, bits: int) -> int:
    return -(-count * bits // 8)


def _unsigned(codes: np.ndarray, option: Option) -> np.ndarray:
    """The index of each code in `table`."""
    values = table(option.bits, option.grid)
    order = values.argsort(kind="stable")
    wanted = codes.astype(np.int32) * (1 if option.grid == "shifted" else gain(option.bits, option.grid))
    found = order[np.searchsorted(values[order], wanted).clip(max=len(order) - 1)]
    assert np.array_equal(values[found], wanted), f"codes outside {option.bits} bits"
    return found.astype(np.uint8)


def _signed(codes: np.ndarray, encoding: Encoding) -> np.ndarray:
    return table(encoding.bits, encoding.grid)[codes].astype(_type(encoding))


def _type(encoding: Encoding) -> type[np.generic]:
    """What values are before they are decoded further."""
    floats: dict[int, type[np.generic]] = {16: np.float16, 32: np.float32}
    return floats.get(encoding.bits, np.uint8 if encoding.grid == "shifted" else np.int8)
