"""What a technique is to the engine: one row of functions, of which each has those that it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx

from compression.calibration import Calibration
from compression.data import Dataset
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint, Reached
from compression.steps import Step
from compression.techniques.layer_weights import LayerFit


@dataclass(frozen=True)
class TrainingContext:
    """What a training needs besides the network.

    `dense` is the network before compression; `purpose` an identity for checkpoints; `finish_` makes a copy compute as
    the file will, with rounded activations; `learn` hears of points of the learning curve; a training that was cut off
    goes on from the file `checkpoint`.
    """

    recipe: Recipe
    dense: fx.GraphModule
    data: Dataset
    calibration: Calibration
    purpose: str
    finish_: Callable[[fx.GraphModule], None]
    learn: Callable[[LearningPoint], None] | None = None
    stop: Callable[[], bool] | None = None
    checkpoint: Path | None = None


Say = Callable[[str, float], None]
Prepare = Callable[[fx.GraphModule, Any, torch.Tensor, Say], fx.GraphModule]
Apply = Callable[[fx.GraphModule, Any, Calibration], None]
ReferenceFor = Callable[[fx.GraphModule, fx.GraphModule], fx.GraphModule]
OfLayers = Callable[[fx.GraphModule, Any, Calibration], dict[str, Any]]
SolveLayer = Callable[[LayerFit, Any], None]
Train = Callable[[fx.GraphModule, fx.GraphModule, Any, TrainingContext], None]
Report = Callable[[fx.GraphModule, Any], Reached | None]


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One technique. The pipeline calls these functions, each for all steps of a recipe in order, in this order.

    prepare(dense, settings, images, say): the network to compress, which gives the same answers as `dense`; most return
        `dense` itself.
    apply_(graph, settings, calibration): decides where weights may lie, by shapes of layers and masks. `reshapes` tells
        that there are other layers after it, or layers of another shape.
    reference_for(reference, graph): for a technique that reshapes, from the network that was to be answered like before
        it, one with the nodes of `graph` to be answered like after it. Without one, that is the network it left.
    of_layers(graph, settings, calibration): settings of each layer, by name, where layers have their own.
    solve_layer_(fit, settings): chooses the values of one layer's weights (`LayerFit`).
    train_(graph, weights, settings, context): trains the network; `weights` has those from before masks and rounding.
    finish_(graph, settings, calibration): acts when values, batch norm and scales are settled.
    reached(graph, settings): what a step that removes something was asked for and did.
    """

    settings: type[Step]
    prepare: Prepare | None = None
    apply_: Apply | None = None
    reshapes: bool = False
    reference_for: ReferenceFor | None = None
    of_layers: OfLayers | None = None
    solve_layer_: SolveLayer | None = None
    train_: Train | None = None
    finish_: Apply | None = None
    reached: Report | None = None
