"""The ready story of colour photographs: ResNet-20 on CIFAR-10, told of the reference results of the app."""

from collections.abc import Callable, Sequence

from compression.analysis.comparison import Comparison
from compression.language import N_, _
from compression.recipe import Recipe
from compression.records.measurement import Measurement
from compression.reference import Sweep
from compression.steps import Prune, Quantize, Step
from pages.ui.model import wording
from pages.ui.model.subject import Subject, reference_images, reference_sweep
from pages.ui.ship import run_story
from pages.ui.ship.stories import Slide, Story, measured_on, price

SUBJECT = Subject("resnet20", "cifar10", "cifar10")
STEPS: tuple[tuple[Step, ...], ...] = (
    (Quantize(weight_bits=8),),
    (Quantize(weight_bits=4),),
    (Prune(sparsity=0.8), Quantize(weight_bits=4)),
)
"""Of the story's files, from the largest to the smallest."""
NAMES = (N_("8-bit weights"), N_("4-bit weights"), N_("80% sparsity, 4-bit weights"))
MISSING = N_("The photographs do not come with the app: measure this recipe on CIFAR-10 on Explore to see them here.")


def story(changed: Callable[[Recipe], Comparison | str | None]) -> Story | None:
    """The story, or None where its results are not stored.

    changed: a recipe's predictions beside the fp32 file's, where the user has measured both; asked when shown.
    """
    sweep = reference_sweep(SUBJECT)
    found = _results(sweep) if sweep else []
    if sweep is None or len(found) < len(STEPS):
        return None
    recipe, last = found[-1]
    named = [(_(name), measured) for name, (_recipe, measured) in zip(NAMES, found, strict=True)]
    return Story(
        _("Colour photographs: {times:.0f}× smaller, {price}", times=last.size_ratio, price=price(last)),
        run_story.told(SUBJECT.title, named, lambda: _changes(changed(recipe))),
        wording.in_a_row(measured_on(sweep.machine, sweep.made), reference_images(SUBJECT)),
    )


def _results(sweep: Sweep) -> Sequence[tuple[Recipe, Measurement]]:
    by_steps = {recipe.steps: (recipe, measured) for recipe, measured in sweep.points}
    return [by_steps[steps] for steps in STEPS if steps in by_steps]


def _changes(found: Comparison | str | None) -> Slide:
    return run_story.changes(
        MISSING if found is None else found, _("These are the images of CIFAR-10 on this machine.")
    )
