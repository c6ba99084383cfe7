"""The techniques: a folder each, and one table of all."""

from collections.abc import Iterator
from contextlib import contextmanager

from compression import steps
from compression.recipe import Recipe
from compression.steps import Channels, Factorize, Prune, Quantize, Recover, Share, Step
from compression.techniques.channels.remove_channels import channels_reached, remove_channels_
from compression.techniques.lowrank.factorize import factorize_, factorize_reached, reference_for, refit_layer_
from compression.techniques.pruning.prune import prune_, prune_reached, refit_kept_weights_
from compression.techniques.quantization.activations import quantize_activations_
from compression.techniques.quantization.bit_widths import layer_bit_widths
from compression.techniques.quantization.equalization import equalized_if_asked
from compression.techniques.quantization.quantize import quantize_layer_
from compression.techniques.recovery.recover import recover_
from compression.techniques.sharing.share import share_layer_
from compression.techniques.technique import Technique

TECHNIQUES: dict[str, Technique] = {
    row.settings.kind: row
    for row in (
        Technique(settings=Channels, apply_=remove_channels_, reshapes=True, reached=channels_reached),
        Technique(
            settings=Factorize, apply_=factorize_, reshapes=True, reference_for=reference_for,
            solve_layer_=refit_layer_, reached=factorize_reached,
        ),
        Technique(settings=Prune, apply_=prune_, solve_layer_=refit_kept_weights_, reached=prune_reached),
        Technique(settings=Share, solve_layer_=share_layer_),
        Technique(
            settings=Quantize, prepare=equalized_if_asked, of_layers=layer_bit_widths, solve_layer_=quantize_layer_,
            finish_=quantize_activations_,
        ),
        Technique(settings=Recover, train_=recover_),
    )
}  # fmt: skip
"""Every technique under its step's name, in the order of `compression.steps.STEPS`, which has the settings."""


def techniques_of(recipe: Recipe) -> list[tuple[Technique, Step]]:
    """The techniques of a recipe with their settings, in the order of its steps."""
    return [(TECHNIQUES[step.kind], step) for step in recipe.steps]


@contextmanager
def registered(technique: Technique, *, after: str) -> Iterator[None]:
    """One technique more, behind `after` in rank, for as long as the context lasts; in this process alone.

    Forms, the command line, links, recipes and the pipeline have it meanwhile. Raises `UnknownName` for `after`.
    """
    kind = technique.settings.kind
    with steps.registered(technique.settings, after=after), steps.inserted(TECHNIQUES, kind, technique, after=after):
        yield
