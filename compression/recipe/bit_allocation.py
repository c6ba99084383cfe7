"""Bits spent on layers where they help most: a resource allocation with falling gains (Fox 1966)."""


def cheapest(harm: dict[str, dict[int, float]], sizes: dict[str, int], budget: int) -> dict[str, int]:
    """Bits by layer that spend at most `budget` bits; each more goes where harm falls most per bit of the file.

    harm[layer][bits] falls with the bits. Every layer has the fewest that there are, even where that is over budget.
    """
    bits = {name: min(found) for name, found in harm.items()}
    left = budget - sum(bits[name] * sizes[name] for name in bits)
    while True:
        gains = {
            name: (harm[name][b] - harm[name][b + 1]) / sizes[name]
            for name, b in bits.items() if b + 1 in harm[name] and sizes[name] <= left
        }  # fmt: skip
        if not gains:
            return bits
        best = max(gains, key=lambda name: gains[name])
        bits[best] += 1
        left -= sizes[best]
