"""In-place operators and views, alone and together: the file answers as PyTorch does, and no layer is missing."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compression.errors import Unsupported
from compression.export import export
from compression.host.onnx_runtime import session
from compression.network.graph import layers, operator_name
from compression.network.tracing import trace

SHAPE = (1, 6, 6)


class Writes(nn.Module):
    """A convolution, what is written into its maps [n, 8, 6, 6], and a linear layer."""

    def __init__(self, write):
        super().__init__()
        self.conv, self.inner, self.last = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(288, 10),
        )
        self.write = write

    def forward(self, x):
        x = self.conv(x)
        return self.last(self.write(self, x).flatten(1))


def check(write, *, program=lambda network: network, atol: float = 1e-4) -> set[str]:
    """The traced network and its file answer as `write` says; the names of the layers in it."""
    torch.manual_seed(0)
    network = Writes(write).eval()
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        expected = network(images)
    graph = trace(program(network), SHAPE)
    assert not [n for n in graph.graph.nodes if operator_name(n).endswith("_")]
    torch.testing.assert_close(graph(images), expected, rtol=1e-3, atol=atol)
    for count in (5, 1):
        (scores,) = session(export(graph, SHAPE).onnx).run(None, {"image": images[:count].numpy()})
        np.testing.assert_allclose(scores, expected[:count].numpy(), rtol=1e-3, atol=atol)
    return set(layers(graph))


def exported(network: nn.Module) -> torch.export.ExportedProgram:
    """As `.pt2` files hold it."""
    return torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=({0: torch.export.Dim("batch")},))


def exported_for_one(network: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(network, (torch.zeros(1, *SHAPE),))


def decomposed(network: nn.Module) -> torch.export.ExportedProgram:
    return exported(network).run_decompositions()


FORMS = [
    pytest.param(lambda network: network, id="module"),
    pytest.param(exported, id="program", marks=pytest.mark.slow),
    pytest.param(exported_for_one, id="for one image"),
]


def slice_through_conv(s, x):
    x[:, :4] = s.inner(x[:, :4])
    return x


def zero_channel(s, x):
    x[:, 0] = 0
    return x


def narrow(s, x):
    x.narrow(1, 2, 3).mul_(2.5)
    return x


def flattened(s, x):
    x.flatten(1).relu_()
    return x


def mask_by_slices(s, x):
    mask = torch.zeros(6, 6)
    mask[1:3, 2:4] = 1
    mask[4:, :] = mask[:2, :] + 0.5
    return x * mask


def mask_for_each_image(s, x):
    mask = torch.zeros(x.shape[0], 8, 6, 6)
    mask[:, 2:5] = 1.0
    mask[:, :, 1:3, ::2] = 0.5
    return x * mask


def mask_like(s, x):
    mask = torch.ones_like(x)
    mask[:, 3] = 0
    return x / (mask + 1)


def augmented(s, x):
    x[:, ::2] += 1
    x[..., 1:-1, 2] *= x[..., 1:-1, 3]
    return x


def listed(s, x):
    x[:, [0, 5, 2]] = x[:, [1, 1, 7]] * 3
    x[:, [3]] = 5.0
    return x


def compared(s, x):
    x[x < 0] = 0.25
    return x


def parts(s, x):
    with torch.no_grad():
        a, b = x.chunk(2, 1)
        a.relu_()
        b[:, 1:3] = s.inner(a)[:, :2]
        c, d, e = x.split([1, 2, 5], 1)
        e.neg_()
        rows = x.unbind(2)
        rows[3].fill_(0.5)
        return x + torch.cat([d, c, e], 1)


def read_before(s, x):
    seen = x.view(x.shape[0], 8, 36)
    copy = x.clone()
    x.relu_()
    return (seen.view_as(x) - 0.3) * copy


def nested(s, x):
    x.transpose(1, 2)[:, 1:3].permute(0, 3, 1, 2)[:, 2].mul_(-2)
    return x


def through_a_copy(s, x):
    flat = x.transpose(1, 3).reshape(x.shape[0], -1)  # no view: what is written there stays there
    flat.zero_()
    return x + flat[:, :1, None, None]


def diagonal(s, x):
    x.diagonal(0, 2, 3).copy_(x.diagonal(1, 2, 3).sum(-1, keepdim=True))
    return x


def through_the_same_part_twice(s, x):
    first, second = x[:, 2:6], x[:, 4:]
    first.mul_(2)
    second.add_(first[:, :1])
    first.sub_(second.clone())
    return x


def dropped(s, x):
    y = F.dropout(x, 0.5, training=False)
    y[:, 1] = 2
    z = x.contiguous()
    z[:, 2] = y[:, 3]
    return x.to(torch.float32).mul_(1.5)


def renamed(s, x):
    y = x[:, 3]
    y.unsqueeze_(1)
    y.mul_(2)
    x.transpose_(1, 2)
    return x.contiguous()


def from_another(s, x):
    z = x.new_zeros(x.shape[0], 10, 8, 8)
    z[:, 1:9, 1:7, 1:7] = x
    z[:, :, 0] = z[:, :, 2]
    return z[:, 1:9, :6, 1:7]


def filled_by_index(s, x):
    x.index_fill_(1, torch.tensor([1, 4]), 0.5)
    x.index_copy_(2, torch.tensor([0, 3]), x[:, :, 1:3].clone())
    x.masked_fill_(x > 1, 1.0)
    x[:, torch.tensor([True, False] * 4)] = 2.0
    return x


def squeezed(s, x):
    x[:, 1:2].squeeze(1).clamp_(0, 0.5)
    x.unflatten(1, (2, 4))[:, 1, 2].fill_(3.0)
    x.movedim(1, -1)[..., 0].add_(x.movedim(1, -1)[..., 1])
    return x


def stored_there(s, x):
    bias = s.conv.bias.detach().clone()
    bias[2:4] = 1
    return x + bias.view(1, 8, 1, 1)


def result_read_later(s, x):
    y = x.add_(1)
    x.mul_(3)
    return y


def truth(s, x):
    mask = x > 0
    mask[:, :2] = False
    mask &= x < 1
    return torch.where(mask, x, -x)


def input_of_layer(s, x):
    y = x[:, 4:].mul_(0.5)
    return torch.cat([s.inner(y), x[:, 4:]], 1)


def mask_of_windows(s, x):
    mask = x.new_zeros((6, 6))
    count = 0
    for rows in ((0, -4), (-4, -2), (-2, None)):
        for columns in ((0, -4), (-4, None)):
            mask[rows[0] : rows[1], columns[0] : columns[1]] = count
            count += 1
    return x * (mask.unsqueeze(1) - mask.unsqueeze(2)).masked_fill(mask.unsqueeze(0) > 2, -1.0)[0]


def everything(s, x):
    x[:] = x * 2
    x[:, :, :, :].add_(1)
    x[...] = 1 - x
    return x


WRITES = [
    slice_through_conv, zero_channel, narrow, flattened, mask_by_slices, mask_for_each_image, mask_like, augmented,
    listed, compared, parts,
    read_before, nested, through_a_copy, diagonal, through_the_same_part_twice, dropped, renamed,
    from_another, filled_by_index, squeezed, stored_there, result_read_later, truth, input_of_layer, everything,
    mask_of_windows,
]  # fmt: skip


EACH_KIND = (slice_through_conv, parts, mask_by_slices, nested, through_the_same_part_twice, from_another, everything)
"""Of parts, masks, views of views, stored tensors and whole maps one each."""


@pytest.mark.parametrize(
    "write",
    [write if write in EACH_KIND else pytest.param(write, marks=pytest.mark.slow) for write in WRITES],
    ids=lambda write: write.__name__,
)
def test_what_a_decomposed_network_writes_through_views_is_read(write) -> None:
    test_what_is_written_through_views_is_read(write, decomposed)


@pytest.mark.parametrize("program", FORMS)
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_what_is_written_through_views_is_read(write, program) -> None:
    used = check(write, program=program)
    assert used >= {"conv", "last"}
    assert ("inner" in used) == (write in (slice_through_conv, parts, input_of_layer))


VIEWS = {
    "select": lambda x: x[:, 1], "select last": lambda x: x[..., -1], "slice": lambda x: x[:, 2:5],
    "steps": lambda x: x[:, 1::3], "rows": lambda x: x[:, :, -2:], "narrow": lambda x: x.narrow(2, 1, 3),
    "view": lambda x: x.view(-1, 4, 2, 6, 6), "reshape": lambda x: x.reshape(-1, 8, 36),
    "flatten": lambda x: x.flatten(2),
    "transpose": lambda x: x.transpose(1, 3), "permute": lambda x: x.permute(0, 2, 3, 1), "mT": lambda x: x.mT,
    "squeeze": lambda x: x[:, :1].squeeze(1), "unsqueeze": lambda x: x.unsqueeze(2),
    "expand": lambda x: x.expand(-1, 8, 6, 6), "diagonal": lambda x: x.diagonal(dim1=2, dim2=3),
    "split": lambda x: x.split(3, 1)[2], "chunk": lambda x: x.chunk(3, 2)[1], "unbind": lambda x: x.unbind(1)[5],
    "tensor_split": lambda x: x.tensor_split(3, 1)[1], "swapaxes": lambda x: x.swapaxes(1, 2),
    "movedim": lambda x: x.movedim(1, 2), "detach": lambda x: x.detach(), "unflatten": lambda x: x.unflatten(1, (4, 2)),
    "contiguous": lambda x: x.contiguous(), "view_as": lambda x: x.view_as(x),
    "dropout": lambda x: F.dropout(x, 0.1, False),
    "to": lambda x: x.to(torch.float32), "hsplit": lambda x: x.hsplit(2)[1], "dsplit": lambda x: x.dsplit(2)[0],
    "chain": lambda x: x.flatten(2)[:, 1:4].transpose(1, 2)[:, 3:9],
    "reshaped columns": lambda x: x.permute(0, 2, 3, 1).unflatten(-1, (2, 4))[..., 1, :],
}  # fmt: skip

UNARY = [
    "relu", "abs", "neg", "sigmoid", "tanh", "exp", "square", "sin", "cos", "floor", "ceil", "round", "sign",
    "zero", "hardswish", "silu", "relu6", "hardsigmoid", "leaky_relu", "elu", "hardtanh", "mish", "selu", "celu",
]  # fmt: skip

BINARY = {
    "add": lambda x: x.add_(0.5), "sub": lambda x: x.sub_(0.5), "mul": lambda x: x.mul_(x.detach().clone()),
    "div": lambda x: x.div_(2), "pow": lambda x: x.pow_(2), "clamp": lambda x: x.clamp_(-0.2, 0.3),
    "clamp_min": lambda x: x.clamp_min_(0.1), "fill": lambda x: x.fill_(0.7),
    "addcmul": lambda x: x.addcmul_(x * 2, x, value=0.5),
    "masked_fill": lambda x: x.masked_fill_(x > 0.2, -1.0), "copy": lambda x: x.copy_(x * 2 + 1),
    "copy of one": lambda x: x.copy_(torch.tensor(0.3)), "gt": lambda x: x.gt_(0.1),
    "clamp_max": lambda x: x.clamp_max_(0.2),
    "threshold": lambda x: F.threshold(x, 0.1, 0.5, inplace=True),
}  # fmt: skip


def in_place(name: str):
    functional = getattr(F, f"{name}_", None) or (lambda x: getattr(F, name)(x, inplace=True))
    return lambda x: getattr(x, f"{name}_")() if hasattr(x, f"{name}_") else functional(x)


@pytest.mark.parametrize("view", VIEWS)
def test_any_view_can_be_written_through(view: str) -> None:
    def write(s, x):
        y = x.sigmoid()
        with torch.no_grad():  # gradients forbid to write into one of several parts
            VIEWS[view](y).mul_(3).sub_(0.5)
        z = VIEWS[view](y)
        return (
            torch.cat([y[:, 4:], x[:, :4] * z.sum()], 1)
            if z.dim() < 1
            else y + z.flatten(1).max(1)[0].view(-1, 1, 1, 1)
        )

    check(write)


@pytest.mark.parametrize("change", [*UNARY, *BINARY])
def test_any_operator_can_write_into_a_view(change: str) -> None:
    work = BINARY.get(change) or in_place(change)

    def write(s, x):
        work(x.transpose(1, 2)[:, 1:4])
        return x * 2

    check(write)


@pytest.mark.parametrize(("write", "sentence"), [
    (lambda x: x[0].zero_(), "The network writes into one image of a batch; all are answered alike here."),
    (lambda x: x[:1].zero_(), "The network writes into some images of a batch; all are answered alike here."),
    (lambda x: x.unfold(2, 2, 2).zero_(),
     "The network writes through a view made by 'unfold'; slices and reshapes are possible."),
    (lambda x: x.bernoulli_(0.5),
     "The network draws random numbers by 'bernoulli_'; a fixed answer for each image is needed."),
])  # fmt: skip
def test_what_cannot_be_followed_is_refused_with_a_sentence(write, sentence: str) -> None:
    def forward(s, x):
        write(x)
        return x

    with pytest.raises(Unsupported) as refused:
        trace(Writes(forward).eval(), SHAPE)
    assert str(refused.value) == sentence
