"""Recovery: the compressed network is trained, as it is, to answer like the dense one again.

Masks stay, and grids and codebooks stay grids and codebooks: the parametrizations train with straight-through
gradients, so that quantization-aware training, sparse fine-tuning and training after channels were removed are one
thing. Knowledge distillation after Hinton et al. 2015; `training.losses` has the other ways to learn from a teacher.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from compression import models, training
from compression.calibration import Calibration, divergence
from compression.calibration.batch_norm import reestimate_batch_norm_
from compression.data import Augmentation, Dataset, Split
from compression.errors import InvalidModel, Unsupported
from compression.network.graph import layers, macs
from compression.network.parametrizations import Mask, find, fix_values_, learn_values_, original
from compression.network.tracing import trace
from compression.recipe import Recipe
from compression.solvers import moments as solve
from compression.steps import Prune, Recover
from compression.techniques.recovery import cubic_schedule
from compression.techniques.technique import TrainingContext
from compression.training import Setting, TrainingConfig
from compression.training.distillation import WATCHING, Objective, Teaching, watching
from compression.training.teachers import Chain, scores_of, tapped, unlabelled

EVALUATIONS = 8
NEARER = 0.5  # share of the way to the border: from all the way, too many codes flip at once to make up for each other
AVERAGED = 0.02  # horizon of the average of weights, as a share of all steps
VARIANTS = 4
BFLOAT16_MACS = 10_000_000  # smaller networks gain nothing from it


def check_end(recipe: Recipe) -> None:
    """Raises Unsupported where the recipe's training would end while its masks still close."""
    settings = recipe.get("recover")
    if not isinstance(settings, Recover) or settings.schedule != "cubic":
        return
    closed = cubic_schedule.last_step(settings.steps)
    if settings.end <= closed:
        raise Unsupported(
            f"Until step {closed:,} more and more weights go, so there is no network to keep after "
            f"{settings.end:,} steps."
        )


def recover_(graph: fx.GraphModule, reference: fx.GraphModule, settings: Recover, context: TrainingContext) -> None:
    """Trains the weights, batch norms and scales of `graph`; masks, grids and shapes stay.

    `reference` has the weights from before pruning and rounding; `context.dense` is the teacher called self. Where the
    network is better on validation images as it is at the start, it stays so. Without labels it learns from its teacher
    alone. Raises Cancelled, and UserError where the teacher does not fit, `check_end` says no, or it has nothing to
    learn from.
    """
    check_end(context.recipe)
    settings = _without_labels(settings, context.data)
    learn = context.learn
    teaching, start = _teaching(graph, settings, context), copy.deepcopy(graph)
    before_step = _schedule_(graph, reference, context, settings)
    learner = copy.deepcopy(graph)
    start_between_(learner, reference, NEARER)
    if before_step:
        before_step(learner, 0, settings.steps)  # ranges of values as they are at the start
    context.finish_(learner)
    for dropout in (m for m in learner.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0  # noise would only blur what the teacher says
    (learn_values_ if settings.learned_steps else fix_values_)(learner)
    data = _images(settings, context)
    trained = training.train(
        tapped(learner, teaching.watched) if teaching.watched else learner,
        data,
        _config(graph, settings, data),
        seed=context.recipe.seed,
        device=training.device(),
        setting=_setting(teaching, before_step, settings, context),
        progress=(lambda now: learn(now.point)) if learn else None,
        stop=context.stop,
        checkpoint=context.checkpoint,
    )
    known = trained.model.state_dict()
    graph.load_state_dict({name: known[name] for name in graph.state_dict()})
    store_what_is_computed_(graph)
    if settings.freeze_batch_norm != "on":
        _settle_batch_norm_(graph, context)
    if _accuracy(graph, data, context.finish_) < _accuracy(start, data, context.finish_):
        graph.load_state_dict(start.state_dict())


def _without_labels(settings: Recover, data: Dataset) -> Recover:
    """The settings that hold for images without labels, where `data` has none."""
    if data.labelled:
        return settings
    if settings.method == "fine-tune":
        raise Unsupported(
            f"{data.title} has no labels, which recover.method 'fine-tune' learns from; 'distill' needs none."
        )
    return settings.model_copy(update={"labels": False})


def _setting(
    teaching: Teaching,
    before_step: Callable[[nn.Module, int, int], None] | None,
    settings: Recover,
    context: TrainingContext,
) -> Setting:
    """The start may win where nothing is scheduled, and where masks close, only what comes after."""
    closed = cubic_schedule.last_step(settings.steps)
    return Setting(
        teaching.objective, teaching.teacher, before_step, context.purpose,
        keep_start=before_step is None and settings.schedule == "none",
        eligible=(closed + 0.5) / settings.steps if before_step else 0.0,
    )  # fmt: skip


def _accuracy(graph: fx.GraphModule, data: Dataset, finish_: Callable[[fx.GraphModule], None]) -> float:
    """On validation images, computed as the file will."""
    copied = copy.deepcopy(graph)
    finish_(copied)
    with parametrize.cached():
        return training.accuracy(copied.eval(), data, data.validation)


@torch.no_grad()
def start_between_(graph: nn.Module, reference: nn.Module, nearer: float) -> None:
    """Moves stored weights towards `reference`'s, `nearer` of the way on which the computed ones stay what they are.

    Solvers leave stored weights on grid points, the middle of what rounds there; from near the dense weight a gradient
    soon finds the border that matters. The share of the way is found by bisection, for each weight by itself.
    """
    for name, layer in layers(graph).items():
        if not parametrize.is_parametrized(layer):
            continue
        stored, target = original(layer), layers(reference)[name].weight
        chain = layer.parametrizations.weight  # type: ignore[union-attr]
        start, computed = stored.clone(), layer.weight.clone()
        share, width = torch.ones_like(stored), 0.5
        for _ in range(8):
            same = _shaped(chain, start + share * (target - start)) == computed
            share = torch.where(same, (share + width).clamp_max(1.0), share - width)
            width /= 2
        there = start + nearer * share * (target - start)
        stored.copy_(torch.where(_shaped(chain, there) == computed, there, start))


@torch.no_grad()
def store_what_is_computed_(graph: nn.Module) -> None:
    """Stored weights become the computed ones: on grid points, where the rounding of scales cannot move them."""
    for layer in layers(graph).values():
        if parametrize.is_parametrized(layer):
            original(layer).copy_(layer.weight)


def _shaped(chain: Any, weight: torch.Tensor) -> torch.Tensor:
    """What the parametrizations make of stored weights."""
    for parametrization in chain:
        weight = parametrization(weight)
    return weight


def _teaching(graph: fx.GraphModule, settings: Recover, context: TrainingContext) -> Teaching:
    """Teacher, loss and watched values, as settings say."""
    if settings.method == "fine-tune":
        return Teaching(None, Objective(settings))
    teacher, device = named(settings.teacher, context.dense, context.data), training.device()
    if settings.method in WATCHING:
        return watching(graph, teacher, settings, context.data.input_shape, device)
    varied = _augmentation(graph, context.data)
    taught: Any = scores_of(teacher, context.data, varied, device=device)
    if settings.assistant != "none":
        assistant = named(settings.assistant, context.dense, context.data)
        taught = Chain(scores_of(assistant, context.data, varied, device=device), taught)
    return Teaching(taught, Objective(settings))


def named(name: str, dense: fx.GraphModule, data: Dataset) -> fx.GraphModule:
    """The teacher of that name, `self` for a copy of `dense`.

    Raises Unsupported where the zoo has no weights of it for the dataset, InvalidModel where it sees other images.
    """
    if name == "self":
        return copy.deepcopy(dense)
    card = models.card(name, data.name)
    if (card.mean, card.std) != (data.mean, data.std):
        raise InvalidModel(f"The teacher {name!r} was trained on images that were normalised in another way.")
    return trace(models.load(name, data.name), data.input_shape)


def _images(settings: Recover, context: TrainingContext) -> Dataset:
    """What the step may see: all training images or the calibration images, with labels or without."""
    data = context.data
    if settings.images == "calibration":
        generator = torch.Generator().manual_seed(context.recipe.seed)
        drawn = torch.randperm(len(data.train), generator=generator)[: context.recipe.calibration_images]
        data = replace(data, train=Split(data.train.images[drawn], data.train.labels[drawn]))
    return data if settings.labels else unlabelled(data, named(settings.teacher, context.dense, data))


def _augmentation(graph: fx.GraphModule, data: Dataset) -> Augmentation:
    """Mirrored where that keeps the class; what convolutions read is shifted a little too."""
    convolutions = any(isinstance(m, nn.Conv2d) for m in graph.modules())
    return Augmentation(flip=data.mirror, shift=min(data.input_shape[1:]) // 28 if convolutions else 0)


def _config(graph: fx.GraphModule, settings: Recover, data: Dataset) -> TrainingConfig:
    per_epoch = math.ceil(len(data.train) / settings.batch_size)
    big = sum(macs(graph, data.input_shape).values()) >= BFLOAT16_MACS
    grouped = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in graph.modules())
    return TrainingConfig(
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup=0.05,
        weight_decay=0.0,
        label_smoothing=0.0,
        average_epochs=AVERAGED * settings.steps / per_epoch,
        bfloat16=big and not grouped,
        augmentation=_augmentation(graph, data),
        steps=settings.steps,
        until=settings.until,
        evaluate_every=math.ceil(settings.steps / EVALUATIONS),
        optimizer="adam",
        freeze_batch_norm={"off": 1.0, "late": 0.75, "on": 0.0}[settings.freeze_batch_norm],
        variants=VARIANTS,
    )


@torch.no_grad()
def _schedule_(
    graph: fx.GraphModule, reference: fx.GraphModule, context: TrainingContext, settings: Recover
) -> Callable[[nn.Module, int, int], None] | None:
    """Takes weights back to the reference's where the schedule starts there; what is done to masks before each step."""
    prune = context.recipe.get("prune")
    if settings.schedule == "none" or not isinstance(prune, Prune):
        return None
    for name, layer in layers(graph).items():
        if find(layer, Mask) is not None:
            original(layer).copy_(layers(reference)[name].weight)
    if settings.schedule == "rewind":
        return None
    known, ours = dict(reference.named_buffers()) | dict(reference.named_parameters()), graph.state_dict()
    for name in ours.keys() & known.keys():  # biases and batch norms, which were settled for the weights that stay
        ours[name].copy_(known[name])
    return cubic_schedule.Cubic(graph, prune.pattern == "free", _power(reference, context.calibration))


def _power(reference: fx.GraphModule, calibration: Calibration) -> dict[str, torch.Tensor]:
    """Root mean squares of what each weight of `reference` is multiplied with, by layer, in the weight's shape."""
    moments = calibration.moments(reference)
    return {
        name: solve.grouped(layer, torch.ones_like(layer.weight))  # [g, out/g, d]
        .mul(moments[name].h.diagonal(dim1=1, dim2=2)[:, None].clamp_min(0).sqrt())
        .reshape(layer.weight.shape)
        for name, layer in layers(reference).items()
    }


@torch.no_grad()
def _settle_batch_norm_(graph: fx.GraphModule, context: TrainingContext) -> None:
    """Batch-norm statistics as training left them, or of the calibration images, as the recipe asks.

    auto takes those that move the answers on held-out images less from the dense network's.
    """
    norms = [m for m in graph.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms or context.recipe.batch_norm == "keep":
        return
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]  # type: ignore[union-attr]
    distance = divergence(graph, context.calibration)
    reestimate_batch_norm_(graph, context.calibration.images)
    if context.recipe.batch_norm == "auto" and divergence(graph, context.calibration) > distance:
        for norm, (mean, variance) in zip(norms, before, strict=True):
            norm.running_mean, norm.running_var = mean, variance
