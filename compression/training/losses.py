"""What a student can learn from a teacher: losses as plain functions of tensors.

Scores are [n, classes]; feature maps [n, C, H, W] or vectors [n, d]. Every function returns a scalar, a mean over the
batch.
"""

import torch
import torch.nn.functional as F
from torch import nn

RELATED = 256
"""Images of a batch that are set in relation to each other: what that takes grows with their cube."""


def response(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)) (Hinton et al. 2015).

    The square keeps the size of the gradient, which otherwise falls with 1 / T².
    """
    log_q, log_p = (student / temperature).log_softmax(1), (teacher / temperature).log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


def decoupled(
    student: torch.Tensor,
    teacher: torch.Tensor,
    target: torch.Tensor,
    temperature: float,
    *,
    target_weight: float = 1.0,
    others_weight: float = 8.0,
) -> torch.Tensor:
    """DKD (Zhao et al. 2022, equation 7): the target class against all others, and the others among themselves.

    T² · (α KL(bᵗ ‖ bˢ) + β KL(rᵗ ‖ rˢ)), b = (p_target, 1 - p_target), r = softmax over the other classes. With
    α = 1 and β = 1 - pᵗ_target it is `response`. target int64 [n].
    """
    log_q, log_p = (student / temperature).log_softmax(1), (teacher / temperature).log_softmax(1)
    hit = F.one_hot(target, student.shape[1]).bool()
    kl = {"reduction": "batchmean", "log_target": True}
    target_part = F.kl_div(_two(log_q, hit), _two(log_p, hit), **kl)  # type: ignore[arg-type]
    rest = [log.masked_fill(hit, -torch.inf).log_softmax(1).masked_fill(hit, 0.0) for log in (log_q, log_p)]
    others_part = F.kl_div(rest[0], rest[1].masked_fill(hit, -1e9), **kl)  # type: ignore[arg-type]
    return (target_weight * target_part + others_weight * others_part) * temperature**2


def _two(log: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
    """Log probabilities [n, classes] to those of the target and of all others together, [n, 2]."""
    return torch.stack([log[hit], log.masked_fill(hit, -torch.inf).logsumexp(1)], 1)


def attention(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the attention maps (Zagoruyko & Komodakis 2017, equation 2).

    A map is the mean over channels of squares, flattened and scaled to length one. Channels may differ; the larger map
    is averaged down to the smaller one's size.
    """
    ours, theirs = student.square().mean(1, keepdim=True), teacher.square().mean(1, keepdim=True)
    height, width = (min(a, b) for a, b in zip(ours.shape[2:], theirs.shape[2:], strict=True))
    maps = [F.normalize(F.adaptive_avg_pool2d(x, (height, width)).flatten(1)) for x in (ours, theirs)]
    return (maps[0] - maps[1]).square().mean()


def distance_relation(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """RKD-D (Park et al. 2019, equation 5): distances between pairs of `RELATED` images, in units of their mean."""
    ours, theirs = (_distances(x[:RELATED].flatten(1)) for x in (student, teacher))
    return F.smooth_l1_loss(ours, theirs)


def angle_relation(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """RKD-A (Park et al. 2019, equation 7): cosines of the angles in triplets of `RELATED` images; Huber loss."""
    ours, theirs = (_cosines(x[:RELATED].flatten(1)) for x in (student, teacher))
    return F.smooth_l1_loss(ours, theirs)


def _distances(x: torch.Tensor) -> torch.Tensor:
    """x [n, d] to distances [n, n] over the mean of those that are not zero."""
    squares = (x[:, None] - x[None]).square().sum(2)
    found = squares.clamp_min(1e-12).sqrt() * (squares > 0)
    return found / (found.sum() / (found > 0).sum().clamp_min(1)).clamp_min(1e-12)


def _cosines(x: torch.Tensor) -> torch.Tensor:
    """x [n, d] to the cosines between x_i - x_j and x_k - x_j: [j, i, k]."""
    differences = F.normalize(x[None] - x[:, None], dim=2)  # [j, i, d]
    return differences @ differences.mT


class Hints(nn.Module):
    """Mean squared error of feature maps behind a linear map that learns with the student (FitNets; Romero 2015).

    The map brings the student's channels to the teacher's; where their numbers agree it starts as the identity. The
    error is in units of the teacher's mean square, so that layers weigh alike.
    """

    def __init__(self, student_channels: list[int], teacher_channels: list[int]):
        super().__init__()
        pairs = zip(student_channels, teacher_channels, strict=True)
        self.maps = nn.ParameterList(nn.Parameter(_near_identity(theirs, ours)) for ours, theirs in pairs)

    def forward(self, student: list[torch.Tensor], teacher: list[torch.Tensor]) -> torch.Tensor:
        """Features [n, C, …] of both, layer by layer."""
        found = []
        for linear, ours, theirs in zip(self.maps, student, teacher, strict=True):
            if ours.dim() != theirs.dim():  # embeddings, one of them with positions
                ours, theirs = (x.flatten(2).mean(2) if x.dim() > 2 else x for x in (ours, theirs))
            guess = torch.einsum("tc,nc...->nt...", linear, _sized(ours, theirs))
            found.append((guess - theirs).square().mean() / theirs.square().mean().clamp_min(1e-12))
        return torch.stack(found).mean()


def _sized(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    same = ours.dim() < 4 or ours.shape[2:] == theirs.shape[2:]
    return ours if same else F.adaptive_avg_pool2d(ours, (theirs.shape[2], theirs.shape[3]))


def _near_identity(rows: int, columns: int) -> torch.Tensor:
    """An orthogonal map [rows, columns]; the identity where that is square."""
    return torch.eye(rows, columns)
