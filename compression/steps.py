"""The settings of every technique: bounds, unit, default and help stand here once.

The validator, the sliders, the command line and the documentation read them from these fields. Nothing in this module
imports torch, so a page can draw its controls before the engine is loaded. What a step does is in
`compression.methods`, under the same name.
"""

import types
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from compression import rounding
from compression.errors import InvalidSetting, UnknownName


class Settings(BaseModel):
    """A frozen, validated set of values. Unknown names and values out of bounds raise `InvalidSetting`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str] = "settings"

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _one_sentence(type(self), error) from None


class Channels(Settings):
    """Remove whole channels, filters, neurons and attention heads (Li et al. 2017, Fang et al. 2023)."""

    kind: ClassVar[str] = "channels"
    title: ClassVar[str] = "Remove channels"

    amount: Annotated[
        float,
        Field(
            ge=0.0, le=0.9, title="Removed", json_schema_extra={"unit": "%", "step": 0.01},
            description="Share of the multiply-accumulates (or channels) that goes; at least this much is reached.",
        ),
    ] = 0.5  # fmt: skip
    measure: Annotated[
        Literal["macs", "channels"],
        Field(
            title="Share of",
            description="macs counts the network's multiply-accumulates; channels counts the channels that may go.",
        ),
    ] = "macs"  # fmt: skip
    criterion: Annotated[
        Literal["error", "taylor", "activation", "l1", "l2", "bn_scale", "geometric_median"],
        Field(
            title="Criterion",
            description="Which channels go first: error, those whose loss the next layer makes up for best; taylor, "
            "those whose loss changes the answers least; activation, the quietest; l1, l2, bn_scale and "
            "geometric_median look at the weights alone.",
        ),
    ] = "error"  # fmt: skip
    scope: Annotated[
        Literal["global", "uniform"],
        Field(
            title="Scope",
            description="global takes channels where they are worth least for what they cost; uniform takes the same "
            "share of every layer.",
        ),
    ] = "global"  # fmt: skip
    part: Annotated[
        Literal["inner", "all"],
        Field(
            title="Layers",
            description="inner leaves the channels that shortcuts and concatenations share; all lets them go too.",
        ),
    ] = "inner"  # fmt: skip
    round_to: Annotated[
        Literal[1, 4, 8, 16],
        Field(
            title="Multiple of",
            description="A layer that loses channels keeps a multiple of this many; odd numbers are slow. The default "
            "is chosen by latencies that are measured once on each machine (python -m compression machine).",
        ),
    ] = Field(default_factory=rounding.multiple)  # fmt: skip
    compensate: Annotated[
        bool,
        Field(
            title="Refit the next layer",
            description="Layers that read removed channels are refitted by least squares on calibration images.",
        ),
    ] = True  # fmt: skip

    @field_validator("round_to", mode="before")
    @classmethod
    def _measured(cls, given: Any) -> Any:
        """'measured' is written as the number that it stands for here, so that the recipe is exact elsewhere."""
        return rounding.multiple() if given == "measured" else given


class Factorize(Settings):
    """Replace layers by products of smaller ones (Jaderberg et al. 2014, Zhang et al. 2016, Kim et al. 2016)."""

    kind: ClassVar[str] = "factorize"
    title: ClassVar[str] = "Factorize layers"

    amount: Annotated[
        float,
        Field(
            ge=0.0, le=0.9, title="Removed", json_schema_extra={"unit": "%", "step": 0.01},
            description="Share of the network's multiply-accumulates that goes; at least this much is reached.",
        ),
    ] = 0.33  # fmt: skip
    rank: Annotated[
        Literal["macs", "energy"],
        Field(
            title="Ranks by",
            description="macs: the ranks that lose least in sum while so much of the work goes; energy: for each layer "
            "the cheapest product that keeps so much of its answers' variance.",
        ),
    ] = "macs"  # fmt: skip
    energy: Annotated[
        float,
        Field(
            ge=0.5, le=0.9999, title="Kept energy", json_schema_extra={"step": 0.001},
            description="Share of the variance of a layer's answers that its product keeps; used where ranks go by "
            "energy.",
        ),
    ] = 0.98  # fmt: skip
    form: Annotated[
        Literal["best", "spatial", "channel", "tucker"],
        Field(
            title="Form",
            description="spatial: k×1 and 1×k; channel: k×k and 1×1 in either order; tucker: 1×1, k×k, 1×1; best: in "
            "each layer what loses least for what it saves. Linear and 1×1 layers become two of their kind.",
        ),
    ] = "best"  # fmt: skip
    activation_aware: Annotated[
        bool,
        Field(
            title="Look at activations",
            description="Keep what the layer's answers on calibration images need, not what its weights look like.",
        ),
    ] = True  # fmt: skip
    round_to: Annotated[
        Literal[1, 4, 8, 16],
        Field(title="Multiple of", description="Ranks are multiples of this; odd numbers are slow."),
    ] = 8  # fmt: skip
    refit: Annotated[
        bool,
        Field(
            title="Refit",
            description="Fit all weights to the dense network's answers afterwards (least squares), layer by layer.",
        ),
    ] = True  # fmt: skip


class Prune(Settings):
    """Set the least important weights to zero (unstructured; Han et al. 2015)."""

    kind: ClassVar[str] = "prune"
    title: ClassVar[str] = "Prune weights"

    sparsity: Annotated[
        float,
        Field(
            ge=0.0, le=0.99, title="Sparsity", json_schema_extra={"unit": "%", "step": 0.01},
            description="Share of the weights that become zero. Zeros shrink the file; on a CPU they do not save time.",
        ),
    ] = 0.5  # fmt: skip
    criterion: Annotated[
        Literal["error", "magnitude", "activation", "taylor", "second-order"],
        Field(
            title="Importance",
            description="error: all zeros are chosen together, for the least error of the answers after the refit; "
            "magnitude: the smallest weights go; activation: those that add least to their output; taylor: those the "
            "answers' likelihood depends on least; second-order: those whose loss the others make up for best.",
        ),
    ] = "error"  # fmt: skip
    scope: Annotated[
        Literal["global", "layer"],
        Field(title="Compared", description="All weights of the network together, or each layer's among themselves."),
    ] = "global"
    pattern: Annotated[
        Literal["free", "2:4", "1:4", "4:8", "1x4", "4x1", "kernel"],
        Field(
            title="Pattern",
            description="N:M keeps N of every M neighbours in every layer, and sets the sparsity by itself. Blocks go "
            "as a whole: 1x4, four neighbouring inputs of one output; 4x1, one input of four neighbouring outputs; "
            "kernel, all taps between an input and an output channel.",
        ),
    ] = "free"  # fmt: skip
    refit: Annotated[
        bool,
        Field(title="Refit", description="Fit the weights that stay to the dense network's answers (least squares)."),
    ] = True
    by: Annotated[
        Literal["sparsity", "threshold"],
        Field(
            title="Limit",
            description="sparsity: that share of the weights goes; threshold: all weights below a magnitude go.",
        ),
    ] = "sparsity"  # fmt: skip
    threshold: Annotated[
        float,
        Field(
            ge=0.0, le=1.0, title="Threshold", json_schema_extra={"step": 0.001},
            description="Weights of smaller magnitude go, where the limit is a threshold.",
        ),
    ] = 0.05  # fmt: skip

    @model_validator(mode="after")
    def _a_threshold_is_a_magnitude(self) -> "Prune":
        if self.by == "threshold" and self.criterion != "magnitude":
            raise InvalidSetting(
                "prune.criterion must be magnitude where prune.by is threshold, not "
                f"{self.criterion}: a threshold is compared with the weights themselves."
            )
        if self.by == "threshold" and ":" in self.pattern:
            raise InvalidSetting(
                f"prune.by must be sparsity where prune.pattern is {self.pattern}, not threshold: "
                "the pattern says how many weights go."
            )
        return self


class Share(Settings):
    """Let weights share few values, kept in a codebook (Han et al. 2016)."""

    kind: ClassVar[str] = "share"
    title: ClassVar[str] = "Share weights"

    entries: Annotated[
        int,
        Field(
            ge=2, le=256, title="Codebook entries", json_schema_extra={"unit": "values", "step": 1},
            description="How many different values the weights of a book may take; 16 cost 4 bits a weight. They "
            "are 8-bit whole numbers times a scale per channel, so that integer kernels can compute with them.",
        ),
    ] = 16  # fmt: skip
    channels_per_book: Annotated[
        Literal[0, 8, 16, 32, 64, 128],
        Field(
            title="Channels per book",
            description="Output channels that share a codebook; 0 gives each layer one book. More books, better fit, "
            "more bytes.",
        ),
    ] = 0  # fmt: skip
    weighting: Annotated[
        Literal["hessian", "magnitude", "none"],
        Field(
            title="Weights count by",
            description="What k-means looks at besides closeness: hessian, how much a change of the weight changes the "
            "layer's answers; magnitude, its size.",
        ),
    ] = "hessian"  # fmt: skip
    assignment: Annotated[
        Literal["second-order", "nearest"],
        Field(
            title="Assignment",
            description="second-order lets later weights make up for earlier ones and fits the entries to the answers; "
            "nearest does not look at the data.",
        ),
    ] = "second-order"  # fmt: skip


class Quantize(Settings):
    """Store weights, and optionally compute, with few bits (Krishnamoorthi 2018; Nagel et al. 2021)."""

    kind: ClassVar[str] = "quantize"
    title: ClassVar[str] = "Quantize"

    weight_bits: Annotated[
        Literal[1, 2, 3, 4, 5, 6, 7, 8, 16, 32],
        Field(
            title="Weight bits", json_schema_extra={"unit": "bit"},
            description="Bits per weight; 16 stores half-precision floats, 32 leaves them as they are. ternary and "
            "binary set the bits by themselves.",
        ),
    ] = 8  # fmt: skip
    activation_bits: Annotated[
        Literal[8, 32],
        Field(
            title="Activation bits", json_schema_extra={"unit": "bit"},
            description="8 computes in whole numbers, which is what makes a file faster; 32 computes in float.",
        ),
    ] = 8  # fmt: skip
    scheme: Annotated[
        Literal["linear", "asymmetric", "logarithmic", "ternary", "binary"],
        Field(
            title="Scheme", json_schema_extra={"main": True},
            description="Which values a weight may take: linear, equal steps to both sides of zero; asymmetric, with a "
            "zero-point for each channel; logarithmic, powers of two; ternary, -1, 0 and 1; binary, -1 and 1. "
            "Asymmetric weights of 8 bits make a slower kernel of 8-bit activations; grouped convolutions stay linear "
            "then.",
        ),
    ] = "linear"  # fmt: skip
    granularity: Annotated[
        Literal["tensor", "channel", "group"],
        Field(
            title="One scale per",
            description="tensor: the whole layer; channel: each output channel; group: neighbours among a channel's "
            "inputs, whose scales are whole multiples of the channel's (4 bits each).",
        ),
    ] = "channel"  # fmt: skip
    group_size: Annotated[
        Literal[16, 32, 64, 128],
        Field(title="Weights in a group", description="Only where there is one scale per group."),
    ] = 32
    scale: Annotated[
        Literal["mse", "minmax", "percentile", "entropy"],
        Field(
            title="Weight scale",
            description="mse picks the scale with the least squared rounding error; minmax covers the largest weight; "
            "percentile lets one in a hundred lie outside; entropy keeps the distribution. Ternary and binary weights "
            "always use mse.",
        ),
    ] = "mse"  # fmt: skip
    rounding: Annotated[
        Literal["second-order", "adaptive", "nearest"],
        Field(
            title="Rounding",
            description="second-order lets later weights make up for the rounding of earlier ones (GPTQ and coordinate "
            "descent); adaptive learns which weights go up and which go down (AdaRound; slow); nearest does not look "
            "at the data.",
        ),
    ] = "second-order"  # fmt: skip
    activation_range: Annotated[
        Literal["minmax", "percentile", "mse", "entropy"],
        Field(
            title="Activation range",
            description="Which range the 8 bits between layers cover: everything seen, or without what is rare.",
        ),
    ] = "minmax"
    exempt_ends: Annotated[
        bool,
        Field(title="First and last layer in 8 bits", description="They are few weights and cost most accuracy."),
    ] = False
    allocation: Annotated[
        Literal["even", "mixed"],
        Field(
            title="Bits of the layers",
            description="mixed gives more bits to the layers that need them, with the same number in sum; found on "
            "held-out calibration images, layer by layer.",
        ),
    ] = "even"  # fmt: skip
    layer_bits: Annotated[
        str,
        Field(
            title="Bits of single layers", max_length=20_000,
            description="Overrides, for example conv1=8,fc=4; the names are those of the report on layers.",
        ),
    ] = ""  # fmt: skip
    equalize: Annotated[
        bool,
        Field(
            title="Equalize layers",
            description="Moves scale between the channels of neighbouring layers, so that they share a range better.",
        ),
    ] = False  # fmt: skip
    bias_correction: Annotated[
        bool,
        Field(title="Correct biases", description="Biases make up for what rounding does to the mean of each channel."),
    ] = True
    reduce_range: Annotated[
        Literal["auto", "on", "off"],
        Field(
            title="Seven bits for eight",
            description="x86 processors without VNNI add two 8-bit products in 16 bits and cut off what does not fit. "
            "on: 8-bit weights use seven; auto: on such a processor.",
        ),
    ] = "auto"  # fmt: skip

    @field_validator("layer_bits", mode="before")
    @classmethod
    def _read_layer_bits(cls, given: Any) -> Any:
        """A table {'conv1': 8} or a text 'conv1=8,fc=4' as such a text, in the order of the names."""
        if not isinstance(given, dict | str):
            return given
        pairs = given.items() if isinstance(given, dict) else [p.rpartition("=")[::2] for p in given.split(",") if p]
        found = {str(name).strip(): str(bits).strip() for name, bits in pairs}
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


class Recover(Settings):
    """Train the compressed network to answer like the dense one again (distillation; Hinton et al. 2015)."""

    kind: ClassVar[str] = "recover"
    title: ClassVar[str] = "Recover by training"

    steps: Annotated[
        int,
        Field(
            ge=1, le=1_000_000, title="Steps", json_schema_extra={"unit": "steps"},
            description="Batches to learn from; the app turns your minutes into steps by the speed that it measures.",
        ),
    ] = 500  # fmt: skip
    method: Annotated[
        Literal["distill", "fine-tune", "hint", "attention", "relational", "decoupled"],
        Field(
            title="Learn from",
            description="distill: the teacher's softened answers; fine-tune: the labels alone; hint, attention and "
            "relational: also its feature maps, where it looks, and how images lie to each other; decoupled: answers "
            "about the right class and about the others apart.",
        ),
    ] = "distill"  # fmt: skip
    temperature: Annotated[
        float,
        Field(
            ge=1.0, le=20.0, title="Temperature", json_schema_extra={"step": 0.5},
            description="How far the teacher's answers are softened: 1 leaves them, 20 makes them nearly equal.",
        ),
    ] = 4.0  # fmt: skip
    alpha: Annotated[
        float,
        Field(
            ge=0.0, le=1.0, title="Weight of the teacher", json_schema_extra={"step": 0.05},
            description="Share of the teacher in the loss; the rest are the labels.",
        ),
    ] = 0.9  # fmt: skip
    labels: Annotated[
        bool,
        Field(
            title="Use labels",
            description="Off: no label is looked at, neither to learn from nor to choose by; the teacher's answers "
            "take their place.",
        ),
    ] = True  # fmt: skip
    images: Annotated[
        Literal["training", "calibration"],
        Field(title="Images", description="Learn from all training images, or only from the calibration images."),
    ] = "training"
    teacher: Annotated[
        Literal[
            "self", "resnet56", "resnet20", "resnet20_half", "resnet20_quarter", "resnet8", "vgg11", "mobilenetv2",
            "shufflenetv2", "lenet5", "lenet300",
        ],
        Field(
            title="Teacher",
            description="self is the dense network; the others are networks of the zoo that were trained on the same "
            "dataset.",
        ),
    ] = "self"  # fmt: skip
    assistant: Annotated[
        Literal[
            "none", "resnet56", "resnet20", "resnet20_half", "resnet20_quarter", "resnet8", "vgg11", "mobilenetv2",
            "shufflenetv2", "lenet5", "lenet300",
        ],
        Field(
            title="Assistant",
            description="A network between teacher and student that teaches the first half of the steps "
            "(Mirzadeh et al. 2020).",
        ),
    ] = "none"  # fmt: skip
    batch_size: Annotated[
        int, Field(ge=2, le=4096, title="Batch size", description="Images a step learns from.")
    ] = 128  # fmt: skip
    learning_rate: Annotated[
        float,
        Field(
            ge=1e-6, le=1.0, title="Learning rate", json_schema_extra={"step": 0.0005},
            description="Of Adam at its peak, after a short warm-up; from there it falls to zero along a cosine.",
        ),
    ] = 0.001  # fmt: skip
    schedule: Annotated[
        Literal["none", "cubic", "rewind"],
        Field(
            title="Pruning schedule",
            description="none: pruned at once; cubic: more and more during the first two thirds (Zhu & Gupta 2017), "
            "then rounded or shared; "
            "rewind: pruned at once, then trained on from the dense network's weights (Renda et al. 2020).",
        ),
    ] = "none"  # fmt: skip
    freeze_batch_norm: Annotated[
        Literal["off", "late", "on"],
        Field(
            title="Freeze batch norm",
            description="Keep batch-norm statistics as they are: never, in the last quarter, or all the time.",
        ),
    ] = "off"  # fmt: skip
    learned_steps: Annotated[
        bool,
        Field(title="Learn scales", description="Scales and codebooks learn together with the weights (LSQ)."),
    ] = True  # fmt: skip
    until: Annotated[
        int,
        Field(
            ge=0, le=1_000_000, title="Stop after", json_schema_extra={"step": 1},
            description="Stop after so many of the steps, as if cancelled there, and keep the best network so far; 0 "
            "learns them all.",
        ),
    ] = 0  # fmt: skip

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> "Recover":
        if self.method == "fine-tune" and not self.labels:
            raise InvalidSetting(
                "recover.labels must be true where recover.method is 'fine-tune', not False: without labels there is "
                "nothing to learn from but a teacher."
            )
        return self


def steps_for(minutes: float, seconds_per_step: float) -> int:
    """How many steps fit into a user's minutes at the measured speed: at least 1. The recipe holds these."""
    return max(1, min(1_000_000, int(minutes * 60 / seconds_per_step)))


Step = Channels | Factorize | Prune | Share | Quantize | Recover

STEPS: dict[str, type[Step]] = {
    "channels": Channels, "factorize": Factorize, "prune": Prune, "share": Share, "quantize": Quantize,
    "recover": Recover,
}  # fmt: skip
"""Every step by name, in the order in which the techniques are meant to be applied."""


def step(kind: str, **values: Any) -> Step:
    """The settings of technique `kind`; raises `UnknownName` or `InvalidSetting`."""
    if kind not in STEPS:
        raise UnknownName("step", kind, STEPS)
    return STEPS[kind](**values)


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words: 'a number from 0 to 0.99', 'one of 8, 32'."""
    choices = choices_of(field)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    low, high = bounds_of(field)
    noun = {int: "a whole number", float: "a number", bool: "true or false"}.get(_plain(field.annotation), "text")
    if low is None or high is None:
        return noun
    bounds = [str(b).removesuffix(".0") for b in (low, high)]
    return f"{noun} from {' to '.join(bounds)}"


def choices_of(field: FieldInfo) -> tuple[Any, ...]:
    """The values of a field that has a closed list of them, else ()."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def default_of(field: FieldInfo) -> Any:
    """The value of a field that is not set, on this machine."""
    return field.get_default(call_default_factory=True)


def bounds_of(field: FieldInfo) -> tuple[float | None, float | None]:
    """Lowest and highest value of a numeric field (None where it has no bound)."""
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    return low, high


def parse(settings: type[Settings], name: str, text: str) -> Any:
    """The value that `text` (from a command line or a link) stands for in field `name` of `settings`.

    Raises `UnknownName` for a field that does not exist; the value itself is checked when the settings are built.
    """
    if name not in settings.model_fields:
        raise UnknownName(f"setting of {settings.kind}", name, settings.model_fields)
    for choice in choices_of(settings.model_fields[name]):
        if text == str(choice):
            return choice
    return text


def _plain(annotation: Any) -> Any:
    """`float` from `float | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation


def _one_sentence(settings: type[Settings], error: ValidationError) -> Exception:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return UnknownName(f"setting of {settings.kind}", name, settings.model_fields)
    if name not in settings.model_fields:
        return InvalidSetting(f"{settings.kind}: {first['msg']}.")
    return InvalidSetting(
        f"{settings.kind}.{name} must be {allowed(settings.model_fields[name])}, not {first['input']!r}."
    )
