"""Weights as few bytes as possible.

| encoding | payload                                                                            | decodes to |
| plain    | the values themselves                                                              | int8 or float32 |
| dense    | b-bit codes, b = 1 … 7                                                             | int8 |
| mask     | one bit per weight + b-bit or float values of those that are not zero              | int8 or float32 |
| delta    | d-bit distances between those, d = 1 … 8 (Han et al. 2016, §2) + the same values   | int8 or float32 |

`decoders` writes the standard ONNX operators that turn them back; `decode` here does the same in NumPy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DISTANCE_BITS = range(1, 9)


@dataclass(frozen=True)
class Encoding:
    """One weight tensor as stored. `tensors` holds what says where the values stand, if anything, then the values.

    `distance_bits` is the width of one distance of the delta encoding, else 0. `zero` says whether zero is a level of
    the grid (`parametrizations.WeightQuantizer`).
    """

    kind: str
    bits: int
    shape: tuple[int, ...]
    tensors: tuple[np.ndarray, ...]
    distance_bits: int = 0
    zero: bool = True

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
    zero: bool = True


def gain(bits: int, zero: bool = True) -> int:
    """What codes are multiplied by when they are decoded: as much as fits seven bits, 1 for floats.

    The bias is rounded in steps of input scale · weight scale; codes that fill the byte make those steps finer. Seven
    bits, not eight, so that pairs of products never saturate on processors without VNNI.
    """
    return 2 ** max(0, 7 - bits if zero else 6 - bits)


def line(bits: int, zero: bool) -> tuple[int, int]:
    """(factor, offset) that turn unsigned codes u into decoded ones: factor · u - offset."""
    g = gain(bits, zero)
    return (g, g * 2 ** (bits - 1)) if zero else (2 * g, g * (2**bits - 1))


def options(values: np.ndarray, bits: int, zero: bool = True) -> list[Option]:
    """All encodings that can hold `values`: int8 codes of a grid with `bits`, or float32 with bits = 32.

    Codes are within ±(2^(bits-1)-1) where zero is a level; else odd and within ±(2^bits-1), with 0 for pruned weights:
    then zeros cannot be stored densely.
    """
    flat = values.ravel()
    places = np.flatnonzero(flat)
    width = bits if values.dtype == np.int8 else 32

    def option(kind: str, payload: tuple[int, ...], distance_bits: int = 0) -> Option:
        return Option(kind, bits, values.shape, payload, distance_bits, zero)

    found = [option("plain", (values.nbytes,))]
    if width < 8 and (zero or len(places) == flat.size):
        found.append(option("dense", (_bytes(flat.size, width),)))
    found.append(option("mask", (_bytes(flat.size, 1), _bytes(max(1, len(places)), width))))
    gaps = np.diff(places, prepend=-1) - 1
    for d in DISTANCE_BITS:
        count = max(1, len(places) + int((gaps // (2**d - 1)).sum()))
        found.append(option("delta", (_bytes(count, d), _bytes(max(1, len(places)), width)), d))
    return found


def encode(values: np.ndarray, option: Option) -> Encoding:
    """`values` in the encoding that `option` names. Codes that do not fit its bits are a broken invariant."""
    tensors = _ENCODERS[option.kind](values, option)
    assert tuple(t.nbytes for t in tensors) == option.payload
    return Encoding(option.kind, option.bits, option.shape, tensors, option.distance_bits, option.zero)


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
    values = np.zeros(size, np.float32 if encoding.bits == 32 else np.int8)
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
    return (values * values.dtype.type(gain(option.bits, option.zero)),)


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
    bits, wide = option.bits, codes.astype(np.int16)
    shifted = wide + 2 ** (bits - 1) if option.zero else (wide + 2**bits - 1) // 2
    assert shifted.min() >= 0 and shifted.max() < 2**bits, f"codes outside {bits} bits"
    return shifted.astype(np.uint8)


def _signed(codes: np.ndarray, encoding: Encoding) -> np.ndarray:
    factor, offset = line(encoding.bits, encoding.zero)
    return (codes.astype(np.int16) * factor - offset).astype(np.int8)
