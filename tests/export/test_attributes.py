"""Every operator with a translation, under values of each setting: the file answers as PyTorch, or it is refused."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from compression.errors import UserError
from compression.export import export
from compression.export.translate import TRANSLATIONS
from compression.host.onnx_runtime import session
from compression.network.lifting import LIFT
from compression.network.rewriting import CASTS, NOTHING, RESHAPES
from compression.network.tracing import trace
from tests.operator_calls import CALLS, SOURCES, No

SHAPE = (1, 6, 6)
CANONICAL = dict.fromkeys(CASTS, "to")
"""What the canonical graph calls operators of other names."""

LAID = {
    "layout", "device", "pin_memory", "memory_format", "non_blocking", "copy", "implicit", "generator", "path",
    "cudnn_enabled", "cudnn_enable", "momentum",
}  # fmt: skip
"""Where and how numbers lie, and what decides nothing at inference."""

ELSEWHERE = {
    "addmm.dtype": "CUDA", "bmm.dtype": "CUDA", "baddbmm.dtype": "CUDA", "where.default": "a length by values",
    "narrow.Tensor": "a number by values", "eq.Tensor_list": "TorchScript", "index.list_Tensor": "TorchScript",
    "index.Tensor_hacked_twin": "TorchScript", "einsum.sublist": "TorchScript", "mT.a": "TorchScript",
    "numpy_T.a": "TorchScript", "to.prim_Device": "TorchScript", "to.prim_dtype": "TorchScript",
    "to.prim_other": "TorchScript",
}  # fmt: skip
"""Overloads that no traced network has: TorchScript's own, those of another device, those without a fixed shape."""
WRITTEN = (set(TRANSLATIONS) | set(LIFT) | NOTHING | CASTS | RESHAPES | {"relu6"}) - {"getitem"}


class Tried(nn.Module):
    """A convolution, and a row for each image of all that is made of its maps."""

    def __init__(self, works):
        super().__init__()
        self.conv, self.works = nn.Conv2d(1, 8, 3, padding=1), works
        self.needed = nn.Conv2d(1, 1, 1)  # where all that is made of the maps is a constant

    def forward(self, x):
        maps = self.conv(x)
        return torch.cat([self.needed(x).flatten(1), *(rows(work(maps), maps) for work in self.works)], 1)


def rows(found, maps):
    """All numbers that were found, image by image; where they belong to none, what they do to the maps."""
    if isinstance(found, tuple | list):
        return torch.cat([rows(each, maps) for each in found], 1)
    count = maps.shape[0]
    axes = [i for i, n in enumerate(found.shape) if isinstance(n, torch.SymInt) or (type(count) is int and n == count)]
    found = found if found.dtype == torch.float32 else found.float()
    if not axes:
        return maps.flatten(1) * found.sum()
    found = found if axes[0] == 0 else found.movedim(axes[0], 0)
    return found.flatten(1) if found.dim() > 1 else found[:, None]


def overload(name):
    packet, kind = name.split(".")
    return getattr(getattr(torch.ops.aten, packet), kind)


def work(name, call, settings):
    """What calls an operator on maps."""

    def run(maps):
        reads, given, named = iter(call.reads), [], {}
        for argument in overload(name)._schema.arguments:
            if argument.name in settings:
                value = settings[argument.name]
                value = SOURCES[value](maps) if "Tensor" in str(argument.type) and isinstance(value, str) else value
            elif "Tensor" in str(argument.type):
                value = read(next(reads, None), maps)
            elif argument.has_default_value():
                continue
            else:
                raise AssertionError(f"{name} needs a value for {argument.name!r}")
            if argument.kwarg_only or named or (given and len(given) < position(name, argument.name)):
                named[argument.name] = value
            else:
                given.append(value)
        found = overload(name)(*given, **named)
        return found if call.take is None else found[call.take]

    return run


def position(name, argument):
    return [a.name for a in overload(name)._schema.arguments].index(argument)


def read(value, maps):
    if isinstance(value, list):
        return [read(each, maps) for each in value]
    return SOURCES[value](maps) if isinstance(value, str) else value


def plain(settings):
    return {name: value.value if isinstance(value, No) else value for name, value in settings.items()}


def check_equal(cases, *, alone=True, near=1e-4):
    """All in one network: cases are overloads, calls and settings."""
    torch.manual_seed(0)
    works = [work(name, call, plain(settings)) for name, call, settings in cases]
    model = Tried(works).eval()
    file = session(export(trace(model, SHAPE), SHAPE).onnx)
    for images in (torch.randn(3, *SHAPE), torch.randn(1 if alone else 2, *SHAPE)):
        found = torch.from_numpy(file.run(None, {"image": images.numpy()})[0])
        with torch.no_grad():
            expected, maps = model(images), model.conv(images)
            widths = [math.prod(SHAPE), *(rows(each(maps), maps).shape[1] for each in works)]
        for case, a, b in zip([None, *cases], found.split(widths, 1), expected.split(widths, 1), strict=True):
            np.testing.assert_allclose(a, b, rtol=near, atol=near / 10, err_msg=str(case and (case[0], case[2])))


def tried(name):
    """Each case of an overload, with its call."""
    return [(name, call, settings) for call in CALLS[name] for settings in call.combinations()]


def is_refused(case):
    _, call, settings = case
    return call.refused or any(isinstance(value, No) for value in settings.values())


def is_possible(case):
    """Whether PyTorch itself takes such a call."""
    name, call, settings = case
    try:
        work(name, call, plain(settings))(torch.randn(3, 8, 6, 6))
    except (RuntimeError, IndexError):
        return not call.every
    return True


TWO_DIMENSIONS_LAST = sorted(CALLS, key=lambda name: "2d" not in name)[::-1]
FIRST = {re.sub(r"[123]d", "", name.split(".")[0]): name for name in TWO_DIMENSIONS_LAST}.values()
"""An overload of each operator, the one for maps of two dimensions if there are others."""


@pytest.mark.parametrize(
    "name", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in CALLS]
)
def test_the_file_heeds_every_setting(name: str) -> None:
    cases = [case for case in tried(name) if is_possible(case)]
    assert {call for _, call, _ in cases} == set(CALLS[name])
    equal = [case for case in cases if not is_refused(case)]
    for (alone, near), of_a_kind in itertools.groupby(equal, lambda case: (case[1].alone, nearness(case[2]))):
        check_equal(list(of_a_kind), alone=alone, near=near)


REFUSED = [case for name in CALLS for case in tried(name) if is_refused(case) and is_possible(case)]


def kind_of(case):
    """The operator, and which of its settings are the reason."""
    name, _, settings = case
    return name.split(".")[0], frozenset(key for key, value in settings.items() if isinstance(value, No))


FIRST_REFUSED = {kind_of(case): id(case) for case in reversed(REFUSED)}.values()
"""A case of each operator and reason."""


@pytest.mark.parametrize(
    "case",
    [case if id(case) in FIRST_REFUSED else pytest.param(case, marks=pytest.mark.slow) for case in REFUSED],
    ids=lambda case: f"{case[0]} {plain(case[2])}",
)
def test_what_an_operator_cannot_be_asked_for_is_refused_by_its_name(case) -> None:
    with pytest.raises(UserError) as error:
        check_equal([case])
    packet = case[0].split(".")[0]
    assert repr(CANONICAL.get(packet, packet)) in str(error.value)


def nearness(settings):
    """How close to PyTorch's the file's answers are: it computes in 32 bits what PyTorch does in 16."""
    return 5e-3 if torch.float16 in settings.values() else 1e-4


def functional(name):
    """The overloads of an operator that give a value and read one."""
    packet = getattr(torch.ops.aten, name)
    found = {f"{name}.{kind}": getattr(packet, kind)._schema for kind in packet.overloads()}
    return {
        kind: schema for kind, schema in found.items()
        if kind not in ELSEWHERE and "Dimname" not in str(schema) and "Tensor" in str(schema.arguments)
        and not any(argument.is_out for argument in schema.arguments)
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_every_setting_of_every_operator_is_tried(name: str) -> None:
    """An operator that gets a translation later gets its calls too."""
    twin = name.removesuffix("_") if name.endswith("_") else name
    for kind, schema in functional(twin).items():
        assert kind in CALLS, f"{kind} is called nowhere in operator_calls"
        for argument in schema.arguments:
            if "Tensor" in str(argument.type) or argument.name in LAID:
                continue
            values = [value for call in CALLS[kind] for value in call.settings.get(argument.name, ())]
            assert len({str(plain({"": value})) for value in values}) > 1, f"{kind}: {argument.name}"
