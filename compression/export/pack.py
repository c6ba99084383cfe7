"""Weights as few bytes as possible.

| encoding | payload                                                                            | decodes to |
| plain    | the values themselves                                                              | int8 or floats |
| dense    | b-bit codes, b = 1 … 7 (8 for unsigned ones)                                       | int8 |
| mask     | one bit per weight + b-bit or float values of those that are not zero              | int8 or floats |
| delta    | d-bit distances between those, d = 1 … 8 (Han et al. 2016, §2) + the same values   | int8 or floats |

Where few values occur, dense, mask and delta have a twin with a codebook in front: codebook-dense, … store the values
that occur as int8, one row for each of `books` runs of output channels, and codes as narrow as their number allows.

`decoders` writes the standard ONNX operators that turn them back; `decode` here does the same in NumPy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compression.network.integer_grids import Kind, gain, largest

DISTANCE_BITS = range(1, 9)

CODEBOOK = "codebook-"
"""What the kinds of encodings with codebooks begin with."""


@dataclass(frozen=True)
class Encoding:
    """One weight tensor as stored. `tensors` holds what says where the values stand, if anything, then the values.

    `distance_bits` is the width of one distance of the delta encoding, else 0. `grid` says which codes there are
    (`network.integer_grids`); those of 'shifted' are stored modulo 2^bits, so that zero stays and none is negative.
    `books` is the number of codebooks, which stand last, [books, K] and for mask and delta with 0 as each one's first;
    `bits` is the width of their codes then.
    """

    kind: str
    bits: int
    shape: tuple[int, ...]
    tensors: tuple[np.ndarray, ...]
    distance_bits: int = 0
    grid: Kind = "zero"
    books: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(t.nbytes for t in self.tensors)

    @property
    def join(self) -> str:
        """How values or codes get their places: 'plain', 'dense', 'mask' or 'delta'."""
        return self.kind.removeprefix(CODEBOOK)

    @property
    def roles(self) -> tuple[str, ...]:
        """The role of each tensor in the ledger: 'positions', 'payload' or 'codebooks'."""
        last = ("payload", "codebooks") if self.books else ("payload",)
        return ("positions",) * (len(self.tensors) - len(last)) + last


@dataclass(frozen=True)
class Option:
    """An encoding that could be made: its payload's bytes, one number per tensor, before anything is packed."""

    kind: str
    bits: int
    shape: tuple[int, ...]
    payload: tuple[int, ...]
    distance_bits: int = 0
    grid: Kind = "zero"
    books: int = 0

    @property
    def join(self) -> str:
        """How values or codes get their places: 'plain', 'dense', 'mask' or 'delta'."""
        return self.kind.removeprefix(CODEBOOK)


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


def plain(values: np.ndarray, bits: int, grid: Kind = "zero") -> Option:
    """The encoding that stores each of `values` by itself, in a byte or as a float."""
    return Option("plain", bits, values.shape, (values.nbytes,), 0, grid)


def options(values: np.ndarray, bits: int, grid: Kind = "zero", books: int = 0) -> list[Option]:
    """All encodings that can hold `values`: int8 codes of a `grid` with `bits`, or floats (bits = 16 or 32).

    uint8 codes of a grid of the kind 'shifted' come modulo 2^bits. Where a grid has no zero, 0 stands for pruned
    weights; then zeros cannot be stored densely. Where the others are all ±1, masks and distances need their sign only.
    `books` is the number of runs of output channels that had a codebook each.
    """
    found = [plain(values, bits, grid)]
    if bits == 8 and grid == "shifted":
        return found
    placings = _placings(values.ravel())
    for placing in placings:
        if placing.join == "dense" and (bits >= 8 or (grid == "odd" and not values.all())):
            continue
        sign = placing.join != "dense" and largest(bits, grid) == 1
        width, kind = (1, "odd") if sign else (bits, grid)
        payload = (*placing.positions, _bytes(placing.count, width))
        found.append(Option(placing.join, width, values.shape, payload, placing.distance_bits, kind))  # type: ignore[arg-type]
    if values.dtype == np.int8 and gain(bits, grid) == 1:
        for count in sorted({1, books or 1}):
            found += _with_codebooks(placings, values, bits, count)
    return found


def encode(values: np.ndarray, option: Option) -> Encoding:
    """`values` in the encoding that `option` names. Codes that do not fit its bits are a broken invariant."""
    if option.join == "plain":
        tensors = _plain(values, option)
    else:
        coded = _coded(values, option) if option.books else (_packed_values(_kept(values, values, option), option),)
        tensors = (*_POSITIONS[option.join](values.ravel(), option), *coded)
    assert tuple(t.nbytes for t in tensors) == option.payload
    return Encoding(option.kind, option.bits, option.shape, tensors, option.distance_bits, option.grid, option.books)


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
    if encoding.join == "plain":
        return encoding.tensors[0]
    size = int(np.prod(encoding.shape))
    places = _PLACES[encoding.join](encoding, size)
    stored = encoding.tensors[len(encoding.tensors) - 1 - bool(encoding.books)]
    kept = stored[: len(places)] if encoding.bits >= 8 else unpack_bits(stored, encoding.bits, len(places))
    if encoding.books:
        codes = np.zeros(size, np.int64)
        codes[places] = kept.astype(np.int64) + (encoding.join != "dense")
        return np.take_along_axis(encoding.tensors[-1], codes.reshape(encoding.books, -1), 1).reshape(encoding.shape)
    values = np.zeros(size, _type(encoding))
    values[places] = kept if encoding.bits >= 8 else _signed(kept, encoding)
    return values.reshape(encoding.shape)


@dataclass(frozen=True)
class _Placing:
    """A way to say where values stand: bytes that it takes, and how many values there are then."""

    join: str
    positions: tuple[int, ...]
    count: int
    distance_bits: int = 0


def _plain(values: np.ndarray, option: Option) -> tuple[np.ndarray, ...]:
    return (values if option.grid == "shifted" else values * values.dtype.type(gain(option.bits, option.grid)),)


def _placings(flat: np.ndarray) -> list[_Placing]:
    places = np.flatnonzero(flat)
    count = max(1, len(places))  # a Gather needs something to gather from
    gaps = np.diff(places, prepend=-1) - 1
    found = [_Placing("dense", (), flat.size), _Placing("mask", (_bytes(flat.size, 1),), count)]
    for d in DISTANCE_BITS:
        distances = max(1, len(places) + int((gaps // (2**d - 1)).sum()))
        found.append(_Placing("delta", (_bytes(distances, d),), count, d))
    return found


def _with_codebooks(placings: list[_Placing], values: np.ndarray, width: int, books: int) -> list[Option]:
    """The encodings with so many codebooks whose codes are narrower than `width`."""
    found = []
    columns = {join: _book(values, books, join).shape[1] for join in ("dense", "mask", "delta")}
    for placing in placings:
        entries = columns[placing.join] - (placing.join != "dense")
        bits = max(1, (entries - 1).bit_length())
        if bits < width or books > 1:
            payload = (*placing.positions, _bytes(placing.count, bits), books * columns[placing.join])
            kind = CODEBOOK + placing.join
            found.append(Option(kind, bits, values.shape, payload, placing.distance_bits, books=books))
    return found


def _book(values: np.ndarray, books: int, join: str) -> np.ndarray:
    """The values that occur in each run of output channels, ascending, int8 [books, K].

    Shorter codebooks repeat their last value. Where zeros have no codes, 0 stands in front of the others.
    """
    rows = [np.unique(row if join == "dense" else row[row != 0]) for row in values.reshape(books, -1)]
    longest = max(1, *(len(row) for row in rows))
    book = np.stack([np.pad(row, (0, longest - len(row)), "edge" if len(row) else "constant") for row in rows])
    return book if join == "dense" else np.pad(book, ((0, 0), (1, 0)))


def _coded(values: np.ndarray, option: Option) -> tuple[np.ndarray, np.ndarray]:
    """Packed codes, and the codebooks that they index."""
    book = _book(values, option.books, option.join)
    first = option.join != "dense"
    rows = zip(book[:, first:], values.reshape(option.books, -1), strict=True)
    codes = np.concatenate([np.searchsorted(entries, row) for entries, row in rows])
    kept = np.minimum(_kept(codes, values, option), book.shape[1] - first - 1).astype(np.uint8)
    return kept if option.bits >= 8 else pack_bits(kept, option.bits), book


def _kept(items: np.ndarray, values: np.ndarray, option: Option) -> np.ndarray:
    """Those of `items`, one for each of `values`, that are stored: all, or where a value is not zero; at least one."""
    kept = items.ravel() if option.join == "dense" else items.ravel()[values.ravel() != 0]
    return kept if len(kept) else np.ones(1, items.dtype)


def _mask(flat: np.ndarray, option: Option) -> tuple[np.ndarray, ...]:
    return (np.packbits(flat != 0, bitorder="little"),)


def _distances(flat: np.ndarray, option: Option) -> tuple[np.ndarray, ...]:
    """How many zeros stand before each value. The largest code M = 2^d - 1 bridges M zeros and has no value.

    The padding of the last byte is such bridges too, so that the number of values need not be stored. Han et al. store
    a zero with each bridge; without it, grids that have no zero can be stored as well.
    """
    bridge = 2**option.distance_bits - 1
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    last = np.cumsum(gaps // bridge + 1) - 1  # where each value's own code stands among all codes
    distances = np.full(8 * option.payload[0] // option.distance_bits, bridge, np.uint8)
    distances[last] = gaps % bridge
    return (pack_bits(distances, option.distance_bits),)


_POSITIONS: dict[str, Callable[[np.ndarray, Option], tuple[np.ndarray, ...]]] = {
    "dense": lambda flat, option: (), "mask": _mask, "delta": _distances,
}  # fmt: skip


def _places_of_mask(encoding: Encoding, size: int) -> np.ndarray:
    return np.flatnonzero(unpack_bits(encoding.tensors[0], 1, size))


def _places_of_distances(encoding: Encoding, size: int) -> np.ndarray:
    d, stored = encoding.distance_bits, encoding.tensors[0]
    codes = unpack_bits(stored, d, 8 * stored.nbytes // d).astype(np.int64)
    bridge = codes == 2**d - 1
    return (np.cumsum(codes + ~bridge) - 1)[~bridge]


_PLACES: dict[str, Callable[[Encoding, int], np.ndarray]] = {
    "dense": lambda encoding, size: np.arange(size), "mask": _places_of_mask, "delta": _places_of_distances,
}  # fmt: skip


def _packed_values(values: np.ndarray, option: Option) -> np.ndarray:
    return values if option.bits >= 8 else pack_bits(_unsigned(values, option), option.bits)


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
