"""A student's loss from settings: the teacher's part and the labels' part, and what of the inside is compared."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from compression.errors import InvalidModel
from compression.network.decisions import every_class
from compression.network.graph import shapes
from compression.steps import Recover
from compression.training import Batch, Teacher, losses, scores
from compression.training.teachers import Watched, embedding, maps, tapped

WATCHING = ("hint", "attention", "relational")
"""Methods that look inside; they take the teacher's answers too."""

ATTENTION, DISTANCES, ANGLES = 1000.0, 25.0, 50.0
"""Weights of the parts beside the teacher's answers, as in the papers."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Teaching:
    """A teacher, the loss, and names of the student's values that the loss wants beside its scores."""

    teacher: Teacher | None
    objective: nn.Module
    watched: list[str] = field(default_factory=list)


def watching(graph: fx.GraphModule, teacher: fx.GraphModule, settings: Recover, shape: Shape, device: str) -> Teaching:
    """For the methods that look inside: feature maps from the last of each size on backwards, or the embedding."""
    ours, theirs = (maps(network, shape) for network in (graph, teacher))
    if settings.method == "attention" and not (ours and theirs):
        raise InvalidModel("recover.method 'attention' needs feature maps, and the network or its teacher has none.")
    if settings.method == "relational" or not (ours and theirs):
        ours, theirs = [embedding(graph)], [embedding(teacher)]
    most = min(len(ours), len(theirs))
    ours, theirs = ours[len(ours) - most :], theirs[len(theirs) - most :]
    hints = None
    if settings.method == "hint":
        known = [[shapes(g, shape)[name][1] for name in names] for g, names in ((graph, ours), (teacher, theirs))]
        hints = losses.Hints(*known)
    return Teaching(Watched(tapped(teacher, theirs), device=device), Objective(settings, hints), ours)


class Objective(nn.Module):
    """The loss as settings say: the teacher's part weighs alpha, the labels' the rest."""

    def __init__(self, settings: Recover, hints: nn.Module | None = None):
        super().__init__()
        self.settings, self.hints = settings, hints

    def forward(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """outputs: scores [n, classes], or (scores, features) where the method watches features."""
        s, answered = self.settings, scores(outputs)
        if s.method == "fine-tune":
            return F.cross_entropy(answered, batch.labels)
        soft = self._soft(answered, outputs, batch)
        if not s.labels:
            return soft
        return s.alpha * soft + (1 - s.alpha) * F.cross_entropy(answered, batch.labels)

    def _soft(self, answered: torch.Tensor, outputs: Any, batch: Batch) -> torch.Tensor:
        s, known = self.settings, scores(batch.answers)
        if s.method == "decoupled":
            target = batch.labels if s.labels else every_class(known, "The teacher")
            return losses.decoupled(answered, known, target, s.temperature)
        soft = losses.response(answered, known, s.temperature)
        if s.method not in WATCHING:
            return soft
        ours, theirs = outputs[1], batch.answers[1]
        if self.hints is not None:
            return soft + self.hints(ours, theirs)
        if s.method == "attention":
            return soft + ATTENTION * torch.stack(list(map(losses.attention, ours, theirs))).sum()
        distance, angle = losses.distance_relation(ours[0], theirs[0]), losses.angle_relation(ours[0], theirs[0])
        return soft + DISTANCES * distance + ANGLES * angle
