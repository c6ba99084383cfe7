"""What stands between a layer's stored weights and the weights it computes with.

Each is a `torch.nn.utils.parametrize` parametrization: they stack in recipe order, train with straight-through
gradients, and the exporter reads masks, codes and scales back off them.
"""

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from compression.network import integer_grids
from compression.network.integer_grids import Kind
from compression.network.stored_layer import HALF_LEAST, StoredLayer, short

P = TypeVar("P", bound=nn.Module)

FEW = 32
"""Books of so many entries keep to 7 bits, whose products never saturate on processors without VNNI."""


class Mask(nn.Module):
    """Keeps the weights where `keep` (bool, the weight's shape) is true; the others are zero."""

    keep: torch.Tensor

    def __init__(self, keep: torch.Tensor):
        super().__init__()
        self.register_buffer("keep", keep)

    @property
    def sparsity(self) -> float:
        """The share of the weights that is zero."""
        return float(1 - self.keep.float().mean())

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight of any shape to the same shape."""
        return weight * self.keep


class Values(nn.Module):
    """A parametrization that decides which values weights take, and so what a file stores of the layer.

    weight [out, …] are the stored weights under what stands below, as a mask; gain and shift [out] are those of the
    batch norm that is folded into the layer: norm(layer(x)) = gain · (weight ∗ x) + shift.
    """

    @property
    def value_bits(self) -> int | None:
        """Bits that tell the values apart; None where they are floats, whose bits the file says."""
        raise NotImplementedError

    def stored(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """What the layer becomes in a file."""
        raise NotImplementedError

    def settle_(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """Rounds its own numbers to those of the file, which it returns."""
        raise NotImplementedError


class WeightQuantizer(Values):
    """Rounds to a grid of 2^bits levels at most (`integer_grids`) with a scale for each output channel.

    weight = scale · code, or scale · multiplier · code where each `group` neighbours among the inputs of a channel have
    a multiplier of their own. Where a mask stands below, its zeros stay zero. The gradient passes straight through to
    the weights (Bengio et al. 2013) and, where it learns, to the scale (Esser et al. 2020, equation 3). While it is
    `open` nothing is rounded.

    scale [out], positive, all equal where channels stand `together`; zero_point [out], of grids of the kind 'shifted';
    multipliers [out, ⌈d/group⌉], from 1 up.
    """

    learned = ("scale",)
    scale: torch.Tensor
    keep: torch.Tensor | None
    zero_point: torch.Tensor | None
    multipliers: torch.Tensor | None
    open: torch.Tensor

    def __init__(
        self,
        scale: torch.Tensor,
        bits: int,
        *,
        kind: Kind = "zero",
        keep: torch.Tensor | None = None,
        zero_point: torch.Tensor | None = None,
        multipliers: torch.Tensor | None = None,
        group: int = 0,
        together: bool = False,
    ):
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("keep", keep)
        self.register_buffer("zero_point", zero_point)
        self.register_buffer("multipliers", multipliers)
        self.register_buffer("open", torch.tensor(False))
        self.bits, self.kind, self.group, self.together = bits, kind, group, together

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """Integer codes as floats of the weight's shape; 0 where a mask prunes."""
        zero = None if self.zero_point is None else per_channel(self.zero_point, weight)
        found = integer_grids.nearest(weight / self.worth(weight), self.bits, self.kind, zero)
        return found if self.keep is None else found * self.keep

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight [out, …] to grid points, same shape."""
        return weight if self.open else _OnGrid.apply(weight, self.scale, self)

    def slope(self, steps: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """How a weight's grid point moves with its step, in codes, for weights in units of it (LSQ, equation 3)."""
        top = integer_grids.largest(self.bits, self.kind)
        zero = 0.0 if self.zero_point is None else per_channel(self.zero_point, steps)
        inside = (steps > (-zero if self.kind == "shifted" else -top)) & (steps < top - zero)
        return torch.where(inside, codes - steps, codes)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """values [out, …] summed up for each scale: [out]."""
        found = values.flatten(1).sum(1)
        return found.sum().expand_as(found) if self.together else found

    def worth(self, weight: torch.Tensor) -> torch.Tensor:
        """What one code is worth, broadcasting to the weight."""
        steps = per_channel(self.scale, weight)
        if self.multipliers is None:
            return steps
        wide = self.multipliers.repeat_interleave(self.group, 1)[:, : weight[0].numel()]  # [out, d]
        return steps * wide.reshape(weight.shape)

    @property
    def value_bits(self) -> int:
        """Those of the grid."""
        return self.bits

    def stored(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """Codes that have the sign of the gain, and scales times its magnitude."""
        codes = self.codes(weight) * per_channel(torch.where(gain < 0, -1.0, 1.0), weight)
        if self.kind != "odd":
            codes = codes * per_channel(gain != 0, weight)
        silent = (gain == 0) | ~codes.flatten(1).any(1)  # such a channel is its bias: its scale is next to nothing
        found = StoredLayer(
            codes.to(torch.int8).numpy(), None, short(shift).numpy(), self.bits, self.kind, group=self.group
        )
        if self.multipliers is not None:
            found = replace(found, multipliers=self.multipliers.to(torch.uint8).numpy())
        if self.zero_point is not None:
            limits = torch.where(gain < 0, self.zero_point, 2**self.bits - 1 - self.zero_point)
            wrapped = (codes % 2**self.bits).to(torch.uint8).numpy()
            found = replace(found, values=wrapped, limits=limits.to(torch.uint8).numpy())
        scale = self.scale * gain.abs() / found.gain
        scale = torch.where(silent, HALF_LEAST, short(torch.where(silent, 1.0, scale)))
        return replace(found, scale=scale.numpy())

    def settle_(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """Its scales become those of the file, without the gain."""
        exact = self.stored(weight, gain, shift)
        assert exact.scale is not None
        settled = torch.from_numpy(exact.scale * exact.gain) / gain.abs()
        self.scale.copy_(torch.where(gain == 0, self.scale, settled))
        return exact


class Half(Values):
    """Rounds to half precision what a file stores: the weight times the `gain` [out] of the batch norm behind it."""

    gain: torch.Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("gain", torch.ones(channels))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight [out, …] to the same shape; what half precision cannot hold stays as it is."""
        gain = per_channel(self.gain, weight)
        short = (weight * gain).half().float()
        rounded = torch.where(short.isfinite(), short / gain, weight)
        return weight + (rounded - weight).detach() if weight.requires_grad else rounded

    @property
    def value_bits(self) -> None:
        """Floats, of 16 bits or of 32 where those do not hold them."""
        return

    def stored(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """Weights in 16 bits, or in 32 where they do not fit."""
        weights = (self(weight) * per_channel(gain, weight)).float()
        if bool(weights.half().isfinite().all()):
            return StoredLayer(weights.half().numpy(), None, short(shift).numpy(), 16)
        return StoredLayer(weights.numpy().copy(), None, shift.numpy(), 32)

    def settle_(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """It rounds what the batch norm's gain makes of the weights."""
        self.gain.copy_(torch.where(gain == 0, 1.0, gain))
        return self.stored(weight, gain, shift)


class Codebook(Values):
    """Every weight becomes one of the entries of its channel's book, times the channel's scale (Han et al. 2016).

    weight = scale · entries[book][k],  entries whole numbers in [-top, top]

    Output channels share the books in runs of equal length. Whole numbers are what the integer kernels take; that they
    are 8 bits wide costs next to nothing. Entries and stored weights both learn: the gradient passes straight through
    the choice of k. entries [books, K] ascending; scale [out], negative where a batch norm's scale is, so that folding
    leaves the entries alone; keep: of a mask below, or None; narrow: any number keeps to 7 bits. While it is `open`
    nothing is shared.
    """

    bits = 8
    learned = ("entries", "scale")
    scale: torch.Tensor
    keep: torch.Tensor | None
    open: torch.Tensor

    def __init__(
        self, entries: torch.Tensor, scale: torch.Tensor, *, keep: torch.Tensor | None = None, narrow: bool = False
    ):
        super().__init__()
        self.entries = nn.Parameter(entries)
        self.register_buffer("scale", scale)
        self.register_buffer("keep", keep)
        self.register_buffer("open", torch.tensor(False))
        self.narrow = narrow

    @staticmethod
    def top_of(entries: torch.Tensor, narrow: bool) -> int:
        """How large the entries of such books may be: [books, K]."""
        return 63 if narrow or entries.shape[1] <= FEW else 127

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """The entry nearest to each weight [out, …] in units of its channel's scale, same shape; 0 where pruned."""
        top = self.top_of(self.entries, self.narrow)
        book = self.entries.round().clamp(-top, top)
        book = self.entries + (book - self.entries).detach()
        book = book.sort(1).values.repeat_interleave(len(weight) // len(book), 0)  # [out, K]
        steps = (weight.detach() / per_channel(self.scale, weight)).flatten(1)  # [out, d]
        middles = ((book[:, 1:] + book[:, :-1]) / 2).detach().contiguous()
        found = book.gather(1, torch.searchsorted(middles, steps)).reshape(weight.shape)
        return found if self.keep is None else found * self.keep

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight [out, …] to entries, same shape."""
        if self.open:
            return weight
        shared = self.codes(weight) * per_channel(self.scale, weight)
        return shared + (weight - weight.detach()) if weight.requires_grad else shared

    @property
    def value_bits(self) -> int:
        """Those of an entry's number in its book."""
        return max(1, (self.entries.shape[1] - 1).bit_length())

    def stored(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """Entries of the books, turned round only where training has turned the sign of a batch norm's scale."""
        folded = self.scale * gain
        codes = self.codes(weight) * per_channel(torch.where(folded < 0, -1.0, 1.0), weight)
        silent = (gain == 0) | ~codes.flatten(1).any(1)
        scale = torch.where(silent, HALF_LEAST, short(torch.where(silent, 1.0, folded.abs())))
        return StoredLayer(
            codes.to(torch.int8).numpy(), scale.numpy(), short(shift).numpy(), self.bits, books=len(self.entries)
        )

    def settle_(self, weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> StoredLayer:
        """Its scales become those of the file, without the gain and with the sign that they had."""
        exact = self.stored(weight, gain, shift)
        assert exact.scale is not None
        settled = torch.from_numpy(exact.scale) / gain.abs() * self.scale.sign()
        self.scale.copy_(torch.where(gain == 0, self.scale, settled))
        return exact


QUANTIZER = "quantizer_"
"""What the names of `ActivationQuantizer`s in a graph begin with; the name of the value that they round follows."""


class ActivationQuantizer(nn.Module):
    """Rounds a value to uint8: scale · (clamp(round(x / scale) + zero_point, 0, 255) - zero_point)."""

    scale: torch.Tensor

    def __init__(self, scale: float, zero_point: int):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.zero_point = zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same shape; the gradient passes straight through where the value was in range."""
        return _Rounded.apply(x, self.scale, self.zero_point)


class HardSigmoidQuantizer(ActivationQuantizer):
    """The hard sigmoid of a value, rounded to uint8 codes of 1/256.

    hardsigmoid(x) = clamp(x / 6 + 1/2, 0, 1): the value itself, in steps of 3/128 around code 128, has its codes.
    """

    STEP, MIDDLE, PART = 3 / 128, 128, 1 / 256

    def __init__(self) -> None:
        super().__init__(self.PART, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same shape; the gradient passes straight through where the value was in range."""
        step = torch.tensor(self.STEP, dtype=torch.float32)
        return _Rounded.apply(x, step, self.MIDDLE) / 6 + 0.5


class _OnGrid(torch.autograd.Function):
    """Rounding to a quantizer's grid as one node: in tensor operators it takes as long as a small layer's products."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, scale: torch.Tensor, quantizer: WeightQuantizer) -> torch.Tensor:
        """weight [out, …] to grid points."""
        codes, worth = quantizer.codes(weight), quantizer.worth(weight)
        ctx.save_for_backward(weight, scale, codes, worth)
        ctx.quantizer = quantizer
        return codes * worth

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """The gradient itself for the weights; for the scale divided by √(weights · top): as fast as they learn."""
        if not ctx.needs_input_grad[1]:
            return gradient, None, None
        (weight, scale, codes, worth), quantizer = ctx.saved_tensors, ctx.quantizer
        slope = gradient * quantizer.slope(weight / worth, codes) * worth
        found, weights = quantizer.sums(slope) / scale, weight.numel() if quantizer.together else weight[0].numel()
        return gradient, found * (weights * integer_grids.largest(quantizer.bits, quantizer.kind)) ** -0.5, None


class _Rounded(torch.autograd.Function):
    """uint8 rounding as one node: written out in tensor operators its backward pass takes five times as long."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero_point: int) -> torch.Tensor:
        """x of any shape to the nearest points of the grid."""
        ctx.save_for_backward(x)
        ctx.ends = ((-zero_point - 0.5) * float(scale), (255.5 - zero_point) * float(scale))
        return (x / scale).round_().clamp_(-zero_point, 255 - zero_point).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient where x was in range, else zero."""
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.ends), None, None


def per_channel(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """values [out] shaped to multiply weight [out, …]."""
    return values.reshape(-1, *[1] * (weight.dim() - 1))


def learn_values_(model: nn.Module) -> None:
    """Scales and codebooks become parameters that train: those buffers that a parametrization lists in `learned`."""
    for module, name in _learnable(model):
        value = getattr(module, name)
        if not isinstance(value, nn.Parameter):
            delattr(module, name)
            module.register_parameter(name, nn.Parameter(value))


def fix_values_(model: nn.Module) -> None:
    """Scales and codebooks stay as they are while weights train."""
    for value in learned_values(model):
        value.requires_grad_(False)


def learned_values(model: nn.Module, *, only: str = "") -> list[nn.Parameter]:
    """The scales and codebooks that train, or only those of one name."""
    found = [getattr(module, name) for module, name in _learnable(model) if only in ("", name)]
    return [value for value in found if isinstance(value, nn.Parameter) and value.requires_grad]


def _learnable(model: nn.Module) -> list[tuple[nn.Module, str]]:
    return [(module, name) for module in model.modules() for name in getattr(type(module), "learned", ())]


def attach(layer: nn.Module, parametrization: nn.Module) -> None:
    """Puts `parametrization` on top of what already shapes `layer.weight`."""
    parametrize.register_parametrization(layer, "weight", parametrization, unsafe=True)


def original(layer: nn.Module) -> nn.Parameter:
    """The stored weight under all parametrizations: what solvers write and optimizers train."""
    return layer.parametrizations.weight.original if parametrize.is_parametrized(layer) else layer.weight  # type: ignore[union-attr,return-value]


def find(layer: nn.Module, kind: type[P]) -> P | None:
    """The layer's parametrization of that kind, or None."""
    if not parametrize.is_parametrized(layer):
        return None
    return next((p for p in layer.parametrizations.weight if isinstance(p, kind)), None)  # type: ignore[union-attr]
