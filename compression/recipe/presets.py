"""Recipes to start from, each for one wish; the same for every network.

No result has chosen them but `nano33`: it removes the least, of 0, 30, 50 and 70%, with which the networks of
docs/FORMATS.md fit the board.

They are ordinary recipes: what they give is measured like everything else. `choosing` finds one for a network.

PRESETS["8-bit"].recipe
"""

from dataclasses import dataclass

from compression.recipe import Recipe
from compression.steps import Channels, Prune, Quantize, Recover, Share


@dataclass(frozen=True)
class Preset:
    """A recipe with a title and one sentence on what it is for."""

    title: str
    about: str
    recipe: Recipe


PRESETS: dict[str, Preset] = {
    "8-bit": Preset(
        "8-bit everywhere",
        "8-bit weights and activations: about 4× smaller, with integer computation.",
        Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),)),
    ),
    "fast": Preset(
        "Fast on CPU",
        "Removes channels for half the MACs and computes the rest in 8-bit integers.",
        Recipe(steps=(Channels(amount=0.5), Quantize(weight_bits=8, activation_bits=8))),
    ),
    "nano33": Preset(
        "Fits an Arduino Nano 33 BLE",
        "30% of the multiply-accumulates removed as whole channels, all operators in 8 bits: LeNet-5 and MobileNetV2 "
        "×0.5 fit as .tflite files, by their measured size and arena.",
        Recipe(
            steps=(Channels(amount=0.3), Quantize(weight_bits=8, activation_bits=8, placement="everywhere")),
        ),
    ),
    "deep-compression": Preset(
        "Deep Compression",
        "Prunes 94% of the weights and shares 16 values during training (Han et al. 2016). Takes minutes.",
        Recipe(
            steps=(
                Prune(sparsity=0.94),
                Share(entries=16),
                Recover(steps=20_000, learning_rate=0.003, schedule="cubic"),
            )
        ),
    ),
}
"""Every preset by the name that the command line uses."""
