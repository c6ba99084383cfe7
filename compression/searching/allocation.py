"""How many bits each layer gets for a number on average: the allocation that costs the answers least.

A problem of resource allocation with falling gains (Fox 1966; Shoham & Gersho 1988): each layer's harm by its bits is
known, bits are bought where harm falls most for what they cost. `harms` are found once for a network.
"""

from dataclasses import dataclass

from compression.recipe.bit_allocation import cheapest


@dataclass(frozen=True)
class Harms:
    """harm[layer][bits], in nats of divergence of the network's answers, and each layer's number of weights."""

    harm: dict[str, dict[int, float]]
    sizes: dict[str, int]

    @classmethod
    def from_plain(cls, values: dict) -> "Harms":
        """From what JSON keeps of it, where keys are texts."""
        harm = values["harm"].items()
        by_bits = {name: {int(bits): float(each) for bits, each in found.items()} for name, found in harm}
        return cls(by_bits, {name: int(size) for name, size in values["sizes"].items()})


def allocated(harms: Harms, bits: float) -> dict[str, int]:
    """Bits of each layer, at least 2, that cost at most `bits` on average per weight."""
    above = {name: {b: found[b] for b in _falling(found)} for name, found in harms.harm.items()}
    return cheapest(above, harms.sizes, int(bits * sum(harms.sizes.values())))


def _falling(found: dict[int, float]) -> list[int]:
    """The bits from 2 on that are in question."""
    return [bits for bits in sorted(found) if bits >= 2]


def layer_bits(harms: Harms, bits: float, usual: int) -> str:
    """What `quantize.layer_bits` says where the layers have `usual` bits but for those that it names."""
    found = allocated(harms, bits)
    return ",".join(f"{name}={b}" for name, b in found.items() if b != usual)
