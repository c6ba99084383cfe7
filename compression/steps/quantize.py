"""Settings of quantization."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from compression.errors import InvalidSetting
from compression.steps.settings import Step, choices_of

LIST_LENGTH = 150_000
"""Characters that a list of operators may have: a recipe that is written down has at most 200,000 in all."""


class Quantize(Step):
    """Store weights, and optionally compute, with few bits (Krishnamoorthi 2018; Nagel et al. 2021)."""

    kind: ClassVar[str] = "quantize"
    title: ClassVar[str] = "Quantize"
    goes_first: ClassVar[str] = "training has to see the rounded weights"
    warm_up: ClassVar[Mapping[str, float]] = {"weight_bits": 4}

    weight_bits: Annotated[
        Literal[1, 2, 3, 4, 5, 6, 7, 8, 16, 32],
        Field(
            title="Weight bits", json_schema_extra={"unit": "bit"},
            description="Bits per weight. 16 stores half-precision floats, 32 keeps them unchanged. The schemes "
            "ternary and binary have their own bit width.",
        ),
    ] = 8  # fmt: skip
    activation_bits: Annotated[
        Literal[8, 32],
        Field(
            title="Activation bits", json_schema_extra={"unit": "bit"},
            description="8 computes in integers, which makes the file faster. 32 computes in float.",
        ),
    ] = 8  # fmt: skip
    scheme: Annotated[
        Literal["linear", "asymmetric", "logarithmic", "ternary", "binary"],
        Field(
            title="Scheme", json_schema_extra={"main": True},
            description="Grid of the weights. linear: symmetric, uniform; asymmetric: with a zero point per "
            "channel; logarithmic: powers of two; ternary: -1, 0 and 1; binary: -1 and 1. 8-bit "
            "asymmetric weights use a slower kernel with 8-bit activations; grouped convolutions stay "
            "linear then.",
        ),
    ] = "linear"  # fmt: skip
    granularity: Annotated[
        Literal["tensor", "channel", "group"],
        Field(
            title="Granularity",
            description="Weights that share a scale. tensor: the whole layer; channel: each output channel; group: "
            "neighbouring inputs of a channel, with 4-bit multiples of the channel's scale.",
        ),
    ] = "channel"  # fmt: skip
    group_size: Annotated[
        Literal[16, 32, 64, 128],
        Field(title="Group size", description="Used with one scale per group."),
    ] = 32
    scale: Annotated[
        Literal["mse", "minmax", "percentile", "entropy"],
        Field(
            title="Weight scale",
            description="mse: least squared rounding error. minmax: covers the largest weight. percentile: clips 1% "
            "of the weights. entropy: preserves the distribution. Ternary and binary weights always use "
            "mse.",
        ),
    ] = "mse"  # fmt: skip
    rounding: Annotated[
        Literal["second-order", "adaptive", "nearest"],
        Field(
            title="Rounding",
            description="second-order: later weights compensate for the rounding of earlier ones (GPTQ and "
            "coordinate descent). adaptive: learns to round up or down (AdaRound; slow). nearest: uses "
            "no data.",
        ),
    ] = "second-order"  # fmt: skip
    activation_range: Annotated[
        Literal["minmax", "percentile", "mse", "entropy"],
        Field(
            title="Activation range",
            description="Range of the 8-bit activations: all observed values (minmax), or without outliers.",
        ),
    ] = "minmax"
    placement: Annotated[
        Literal["measured", "everywhere", "listed"],
        Field(
            title="Integer operators",
            description="Which operators compute on 8-bit activations. measured: the fastest choice on this "
            "machine; everywhere: all that can; listed: the integer operators below.",
        ),
    ] = "measured"  # fmt: skip
    integer_operators: Annotated[
        str,
        Field(
            title="List of integer operators", max_length=LIST_LENGTH,
            description="Used when integer operators are listed: operator names, comma-separated, as in a result.",
        ),
    ] = ""  # fmt: skip
    exempt_ends: Annotated[
        bool,
        Field(
            title="First and last layer in 8 bits",
            description="They have few weights and are the most sensitive to low bit widths.",
        ),
    ] = False
    allocation: Annotated[
        Literal["even", "mixed"],
        Field(
            title="Bit allocation",
            description="even: the same bit width everywhere. mixed: more bits for sensitive layers with the same "
            "total, found on held-out calibration images.",
        ),
    ] = "even"  # fmt: skip
    layer_bits: Annotated[
        str,
        Field(
            title="Bits per layer", max_length=20_000,
            description="Overrides for single layers, for example conv1=8,fc=4. The names are those on the page "
            "Layers.",
        ),
    ] = ""  # fmt: skip
    equalize: Annotated[
        bool,
        Field(
            title="Equalize layers",
            description="Balances the channel ranges of neighbouring layers (cross-layer equalization).",
        ),
    ] = False  # fmt: skip
    bias_correction: Annotated[
        bool,
        Field(
            title="Correct biases",
            description="Adjusts biases to keep each channel's mean output unchanged by rounding.",
        ),
    ] = True
    reduce_range: Annotated[
        Literal["auto", "on", "off"],
        Field(
            title="Reduce range (7 bits)",
            description="x86 processors without VNNI add two 8-bit products in 16 bits, which can saturate. on: "
            "8-bit weights use seven bits, asymmetric ones become linear. auto: on for such processors.",
        ),
    ] = "auto"  # fmt: skip

    @field_validator("layer_bits", mode="before")
    @classmethod
    def _read_layer_bits(cls, given: Any) -> Any:
        """A table {'conv1': 8} or a text 'conv1=8,fc=4' as such a text, in the order of the names."""
        if not isinstance(given, dict | str):
            return given
        pairs = given.items() if isinstance(given, dict) else [p.rpartition("=")[::2] for p in given.split(",") if p]
        named = [str(name).strip() for name, _ in pairs]
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise InvalidSetting(f"quantize.layer_bits gives the layer {twice!r} bits twice; once is allowed.")
        found = {name: str(bits).strip() for name, (_, bits) in zip(named, pairs, strict=True)}
        for name, bits in found.items():
            if not name or "," in name or bits not in map(str, cls.bits_choices()):
                raise InvalidSetting(
                    f"quantize.layer_bits takes LAYER=BITS, comma-separated, with bits of "
                    f"{', '.join(map(str, cls.bits_choices()))}, not {name}={bits}."
                )
        return ",".join(f"{name}={bits}" for name, bits in sorted(found.items()))

    @classmethod
    def bits_choices(cls) -> tuple[int, ...]:
        """The bits that a layer may have."""
        return choices_of(cls.model_fields["weight_bits"])

    @property
    def bits(self) -> int:
        """Bits per weight of the layers that have no bits of their own."""
        return {"ternary": 2, "binary": 1}.get(self.scheme, self.weight_bits)

    @property
    def placed(self) -> frozenset[str]:
        """`integer_operators` as a set."""
        return frozenset(name.strip() for name in self.integer_operators.split(",") if name.strip())

    @property
    def overrides(self) -> dict[str, int]:
        """`layer_bits` as a table."""
        pairs = [pair.rpartition("=") for pair in self.layer_bits.split(",") if pair]
        return {name: int(bits) for name, _, bits in pairs}

    def with_bits(self, bits: int) -> "Quantize":
        """The settings of one layer with its own bits, linear where the scheme has no grid of so many."""
        values = self.model_dump(exclude={"layer_bits"}) | {"weight_bits": bits, "allocation": "even"}
        if bits == self.bits:
            return Quantize(**values | {"weight_bits": self.weight_bits})
        if bits >= 16:
            return Quantize(**values | {"scheme": "linear", "activation_bits": 32, "granularity": "channel"})
        fine = SCHEME_BITS[self.scheme]
        if bits not in fine or (self.scheme == "asymmetric" and bits == 8 and self.activation_bits == 8):
            values["scheme"] = "linear"
        if self.granularity == "group" and bits > 7:
            values["granularity"] = "channel"
        return Quantize(**values)

    @model_validator(mode="after")
    def _goes_together(self) -> "Quantize":
        for wrong, sentence in self._conflicts():
            if wrong:
                raise InvalidSetting(sentence)
        return self

    @property
    def asymmetric_bytes(self) -> bool:
        """Whether kernels that compute in 8 bits must take zero-points of weights."""
        return self.scheme == "asymmetric" and self.bits == 8 and self.activation_bits == 8

    def _conflicts(self) -> list[tuple[bool, str]]:
        bits, rounded = self.bits, self.bits < 16
        allowed_bits = ", ".join(map(str, SCHEME_BITS[self.scheme]))
        return [
            (
                not rounded and self.activation_bits == 8,
                f"quantize.activation_bits must be 32 where weight_bits is {bits}, not 8: "
                "ONNX Runtime has no kernel for 8-bit activations with float weights.",
            ),
            (
                rounded and self.scheme == "logarithmic" and bits not in SCHEME_BITS[self.scheme],
                f"quantize.weight_bits must be one of {allowed_bits} where the scheme is logarithmic, not {bits}: "
                "more bits would only add values below 1/64 of the largest weight.",
            ),
            (
                rounded and self.scheme == "asymmetric" and bits not in SCHEME_BITS[self.scheme],
                f"quantize.weight_bits must be one of {allowed_bits} where the scheme is asymmetric, not {bits}: "
                "with one bit, every weight would be zero or of one sign; binary has both signs.",
            ),
            (
                rounded and self.granularity == "group" and self.scheme == "asymmetric",
                "quantize.granularity must be channel or tensor where the scheme is asymmetric, not group: each "
                "channel has one zero-point.",
            ),
            (
                rounded and self.granularity == "group" and (bits == 8 or (self.scheme == "logarithmic" and bits == 4)),
                f"quantize.granularity must be channel or tensor for {self.scheme} weights of {bits} bits, not group: "
                "their codes fill the byte, and groups multiply codes.",
            ),
            (
                rounded and self.allocation == "mixed" and self.scheme not in ("linear", "asymmetric"),
                f"quantize.allocation must be even where the scheme is {self.scheme}, not mixed: only linear and "
                "asymmetric weights come in any number of bits.",
            ),
            (
                rounded and self.scheme == "logarithmic" and self.rounding == "adaptive",
                "quantize.rounding must be second-order or nearest where the scheme is logarithmic, not adaptive: "
                "it learns which of two equal steps to take.",
            ),
        ]


SCHEME_BITS: dict[str, tuple[int, ...]] = {
    "linear": (1, 2, 3, 4, 5, 6, 7, 8), "asymmetric": (2, 3, 4, 5, 6, 7, 8), "logarithmic": (2, 3, 4),
    "ternary": (2,), "binary": (1,),
}  # fmt: skip
"""Bits that the grids of each scheme may have."""
