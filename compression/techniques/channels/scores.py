"""What each channel is worth: the criteria of structured pruning."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from compression.calibration import Calibration
from compression.network.batches import are_large, batch_of
from compression.network.capture import captured
from compression.network.graph import answering, channel_axis
from compression.solvers import patches
from compression.solvers.moments import levelled
from compression.techniques.channels.allocation import Order
from compression.techniques.channels.coupling import Group
from compression.techniques.channels.elimination import Elimination
from compression.techniques.channels.following import THROUGH
from compression.techniques.channels.refit import Rows, enough

TAYLOR_IMAGES = 256


def orders(
    graph: fx.GraphModule, groups: tuple[Group, ...], criterion: str, calibration: Calibration, rows: Mapping[str, Rows]
) -> list[Order]:
    """For each group, its units from the least to the most worth.

    'error' and 'taylor' mean the same in every group; the other criteria are divided by their mean over the group.
    rows: inputs and outputs of every reader in the dense network.
    """
    if criterion == "error":
        known = fisher(graph, groups, calibration)
        return [by_error(group, rows, known) for group in groups]
    if criterion == "taylor":
        return [_ascending(values) for values in taylor(graph, groups, calibration)]
    found = []
    for group in groups:
        values = _activation(group, rows) if criterion == "activation" else _by_weights(graph, group, criterion)
        found.append(_ascending(values / values.mean().clamp_min(1e-12)))
    return found


def by_error(
    group: Group, rows: Mapping[str, Rows], fisher_of: dict[str, torch.Tensor], damping: float = 0.01
) -> Order:
    """Backward elimination: always the unit whose loss, once its readers are refitted, changes their outputs least.

    Block form of the optimal brain surgeon (Hassibi & Stork 1993, eq. 5): with A = (XᵀX/n + λI)⁻¹ over a reader's
    centred inputs and S the inputs of one unit, the refitted error of the outputs is the diagonal of W_S (A_SS)⁻¹ W_Sᵀ,
    summed over them and over the readers; then W and A are brought up to date. Each error counts as the geometric mean
    of its share of the outputs' variance and of the Fisher information that it touches, `fisher_of` each reader: the
    share alone does not see which layers matter, and the other holds for small errors only.
    """
    readers = [Elimination(rows[m.name], m, fisher_of[m.name], damping) for m in group.readers()]
    left, units, costs = torch.ones(group.units, dtype=torch.bool), [], []
    for _ in range(group.units):
        loss = torch.stack([reader.losses() for reader in readers]).sum(0).where(left, torch.inf)
        units.append(int(loss.argmin()))
        costs.append(float(loss[units[-1]]))
        left[units[-1]] = False
        for reader in readers:
            reader.remove_(units[-1])
    return Order(torch.tensor(units), torch.tensor(costs).cummax(0).values)


def fisher(graph: fx.GraphModule, groups: tuple[Group, ...], calibration: Calibration) -> dict[str, torch.Tensor]:
    """Fisher information of each reader's outputs, summed over the places of an image: [out], by name; `levelled`."""
    total, images = dict[str, torch.Tensor](), 0
    for seed, part in enumerate(_batches(calibration.images)):
        _, gradients, count = _gradients(graph, groups, part, of="outputs", seed=seed)
        images += count
        for name, gradient in gradients.items():
            squares = patches.flat(graph.get_submodule(name), gradient).square().sum(0)
            total[name] = total[name] + squares if name in total else squares
    last = answering(graph)
    return {name: levelled(squares / images, images, answers=name in last) for name, squares in total.items()}


def _batches(images: torch.Tensor) -> list[torch.Tensor]:
    """Those that are looked at; of large images few at once, as what a network gives has to stay for its gradients."""
    looked_at = images[:TAYLOR_IMAGES]
    return list(looked_at.split(batch_of(images) if are_large(images) else len(enough(looked_at))))


def taylor(graph: fx.GraphModule, groups: tuple[Group, ...], calibration: Calibration) -> list[torch.Tensor]:
    """Mean over images of (Σ activation · gradient)² for each unit: [units] per group.

    First order in a gate on the channel (Molchanov et al. 2019, section 3).
    """
    images_at_once = enough(calibration.images[:TAYLOR_IMAGES])
    read, gradients, images = _gradients(graph, groups, images_at_once, of="inputs")
    products = {name: (read[name] * gradient).detach() for name, gradient in gradients.items()}
    last = {name: g.movedim(channel_axis(graph.get_submodule(name)), -1) for name, g in products.items()}
    mixed = _tokens_first(graph, [name for name, product in last.items() if len(product) != images], calibration)
    last = {name: _by_image(product, images, tokens_first=name in mixed) for name, product in last.items()}
    return [_squared(group, last, images) for group in groups]


def _tokens_first(graph: fx.GraphModule, names: list[str], calibration: Calibration) -> set[str]:
    """Those of the layers `names` that read all images' first tokens before their second ones.

    Their first rows change with the second image, and the rows in the middle with the first.
    """
    if not names:
        return set()
    both = torch.cat([calibration.images[:1], calibration.images[:1]])
    other = torch.cat([calibration.images[:1], calibration.images[:1].flip(0) + 1])
    read = []
    for images in (both, other):
        with captured(graph, names, lambda module, inputs, y: inputs[0].flatten(0, -2)) as found:
            graph(images)
        read.append({name: values[-1] for name, values in found.items()})
    return {name for name in names if bool((read[0][name] != read[1][name])[: len(read[0][name]) // 2].any())}


def _by_image(product: torch.Tensor, images: int, *, tokens_first: bool) -> torch.Tensor:
    """What a layer reads, in any order of rows, as [images, places, in]."""
    inputs = product.shape[-1]
    if tokens_first:
        return product.reshape(-1, images, inputs).movedim(1, 0)
    return product.reshape(images, -1, inputs)


@torch.enable_grad()
def _gradients(
    graph: fx.GraphModule, groups: tuple[Group, ...], images: torch.Tensor, *, of: Literal["inputs", "outputs"],
    seed: int = 0,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], int]:  # fmt: skip
    """What the readers read or give, by name, its gradient, and for how many images.

    The gradient is that of the cross-entropy with labels drawn from the network's own answers, so that its mean square
    estimates the Fisher information (Theis et al. 2018).
    """
    names = sorted({m.name for group in groups for m in group.readers()})
    with captured(graph, names, lambda module, inputs, y: inputs[0] if of == "inputs" else y) as found:
        scores = graph(images.to(memory_format=torch.channels_last))
    seen: dict[str, torch.Tensor] = {name: values[-1] for name, values in found.items()}
    labels = torch.multinomial(scores.softmax(1), 1, generator=torch.Generator().manual_seed(seed))[:, 0]
    loss = F.cross_entropy(scores, labels, reduction="sum")
    return seen, dict(zip(seen, torch.autograd.grad(loss, list(seen.values())), strict=True)), len(scores)


def _squared(group: Group, products: dict[str, torch.Tensor], images: int) -> torch.Tensor:
    """From what each reader reads times its gradient, [images, places, in]: [units]."""
    total = torch.zeros(images, group.units)
    for member in group.readers():
        product = products[member.name].sum(1)
        total.index_add_(1, member.unit, product[:, member.index])
    return total.square().mean(0)


def _ascending(values: torch.Tensor) -> Order:
    units = values.argsort(stable=True)
    return Order(units, values[units])


def _by_weights(graph: fx.GraphModule, group: Group, criterion: str) -> torch.Tensor:
    values = torch.zeros(group.units)
    for member in group.makers():
        module = graph.get_submodule(member.name)
        worth = _worth(module, criterion)
        if worth is not None:
            values.index_add_(0, member.unit, worth[member.index])
    return values


def _worth(module: nn.Module, criterion: str) -> torch.Tensor | None:
    """One number for each output channel [out]; None where the criterion has nothing to say about the module."""
    weight = module.weight.detach()  # type: ignore[operator]
    if isinstance(module, THROUGH):
        return weight.abs() if criterion == "bn_scale" and isinstance(module, nn.BatchNorm2d) else None
    filters = weight.flatten(1)  # [out, in·kh·kw]
    if criterion == "l1":
        return filters.abs().sum(1)
    if criterion == "l2":
        return filters.norm(dim=1)
    if criterion == "geometric_median":  # He et al. 2019, eq. 7
        return torch.cdist(filters, filters).sum(1)
    return None


def _activation(group: Group, rows: Mapping[str, Rows]) -> torch.Tensor:
    """Root mean square of what the readers see of each unit."""
    values = torch.zeros(group.units)
    for member in group.readers():
        seen = rows[member.name]
        power = seen.power.reshape(seen.width, -1).mean(1)  # [in]
        values.index_add_(0, member.unit, power[member.index])
    return values.sqrt()
