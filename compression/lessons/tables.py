"""What the lessons want measured: recipes as plain data, which may name steps that this version does not have."""

from dataclasses import dataclass
from typing import Any

from compression.language import N_


@dataclass(frozen=True)
class Planned:
    """One row: its name in the table, the recipe as `Recipe.from_dict` reads it, and on what it is measured."""

    name: str
    recipe: dict[str, Any]
    model: str = "resnet20"
    dataset: str = "fashion-mnist"


def _recipe(*steps: dict[str, Any], **shared: Any) -> dict[str, Any]:
    return {"steps": list(steps), **shared}


def _prune(sparsity: float, **values: Any) -> dict[str, Any]:
    return {"step": "prune", "sparsity": sparsity, "criterion": "magnitude", **values}


def _quantize(bits: int, activations: int = 8, **values: Any) -> dict[str, Any]:
    return {"step": "quantize", "weight_bits": bits, "activation_bits": activations, **values}


def _channels(amount: float, **values: Any) -> dict[str, Any]:
    return {"step": "channels", "amount": amount, **values}


def _share(entries: int, **values: Any) -> dict[str, Any]:
    return {"step": "share", "entries": entries, **values}


def _factorize(amount: float, **values: Any) -> dict[str, Any]:
    return {"step": "factorize", "amount": amount, **values}


def _recover(steps: int) -> dict[str, Any]:
    return {"step": "recover", "steps": steps}


LENET300 = ("lenet300", "digits")
NAIVE = {"batch_norm": "keep"}
PLAIN: dict[str, Any] = {"rounding": "nearest", "bias_correction": False}

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
BITS = {8: N_("8 bits"), 6: N_("6 bits"), 4: N_("4 bits"), 3: N_("3 bits"), 2: N_("2 bits")}
IMAGES = {16: N_("16 images"), 64: N_("64 images"), 256: N_("256 images"), 1024: N_("1024 images")}

TABLES: dict[str, tuple[Planned, ...]] = {
    "sparsity": (
        *(Planned(f"{s:.0%} of the weights", _recipe(_prune(s))) for s in SPARSITIES),
    ),
    "sparsity-naive": (
        *(Planned(f"{s:.0%} of the weights", _recipe(_prune(s, refit=False), **NAIVE)) for s in SPARSITIES),
    ),
    "patterns": (
        Planned("Single weights, 50%", _recipe(_prune(0.5))),
        Planned("2 of every 4", _recipe(_prune(0.5, pattern="2:4"))),
        Planned("4 of every 8", _recipe(_prune(0.5, pattern="4:8"))),
        Planned("Single weights, 90%", _recipe(_prune(0.9))),
        Planned("Channels, half the MACs", _recipe(_channels(0.5))),
    ),
    "allocation": (
        Planned("Together, by magnitude", _recipe(_prune(0.8))),
        Planned("Each layer, by magnitude", _recipe(_prune(0.8, scope="layer"))),
        Planned("Together, by activation", _recipe(_prune(0.8, criterion="activation"))),
        Planned("Each layer, by activation", _recipe(_prune(0.8, criterion="activation", scope="layer"))),
    ),
    "bits": (
        *(Planned(name, _recipe(_quantize(bits))) for bits, name in BITS.items()),
    ),
    "bits-naive": (
        *(Planned(name, _recipe(_quantize(b, scale="minmax", **PLAIN), **NAIVE)) for b, name in BITS.items()),
    ),
    "ladder": (
        Planned("Nearest, one scale a tensor",
                _recipe(_quantize(3, granularity="tensor", scale="minmax", **PLAIN), **NAIVE)),
        Planned("One scale a channel", _recipe(_quantize(3, scale="minmax", **PLAIN), **NAIVE)),
        Planned("Scale of least error", _recipe(_quantize(3, scale="mse", **PLAIN), **NAIVE)),
        Planned("Biases corrected", _recipe(_quantize(3, scale="mse", rounding="nearest"), **NAIVE)),
        Planned("Batch norm re-estimated",
                _recipe(_quantize(3, scale="mse", **PLAIN), batch_norm="reestimate")),
        Planned("GPTQ on the dense inputs", _recipe(_quantize(3), quality="fast", **NAIVE)),
        Planned("Layer by layer, batch norm", _recipe(_quantize(3))),
        Planned("Nearest, then trained in place",
                _recipe(_quantize(3, scale="mse", **PLAIN), _recover(150), batch_norm="reestimate")),
    ),
    "story-bytes": (
        Planned("8-bit weights", _recipe(_quantize(8))),
        Planned("4-bit weights", _recipe(_quantize(4))),
        Planned("80% sparsity, 4-bit weights", _recipe(_prune(0.8), _quantize(4))),
    ),
    "story-zeros": (
        Planned(N_("50% sparsity"), _recipe(_prune(0.5))),
        Planned(N_("90% sparsity"), _recipe(_prune(0.9))),
        Planned("Half the MACs, channels removed", _recipe(_channels(0.5))),
        Planned("8-bit weights and activations", _recipe(_quantize(8))),
    ),
    "deep": (
        Planned("Pruned 80%", _recipe(_prune(0.8)), *LENET300),
        Planned("Pruned 80%, 16 values", _recipe(_prune(0.8), _share(16)), *LENET300),
        Planned("Pruned 90%, 16 values", _recipe(_prune(0.9), _share(16)), *LENET300),
        Planned("16 values, nothing pruned", _recipe(_share(16)), *LENET300),
    ),
    "lowrank": (
        Planned("Low rank, a third of the MACs", _recipe(_factorize(0.33))),
        Planned("Low rank, half the MACs", _recipe(_factorize(0.5))),
        Planned("Channels, a third of the MACs", _recipe(_channels(0.33))),
        Planned("Channels, half the MACs", _recipe(_channels(0.5))),
    ),
    "axes": (
        Planned("80% sparsity", _recipe(_prune(0.8))),
        Planned("Half the MACs, channels", _recipe(_channels(0.5))),
        Planned("8 bits", _recipe(_quantize(8))),
        Planned(N_("4 bits"), _recipe(_quantize(4))),
        Planned("4 bits, float activations", _recipe(_quantize(4, 32))),
        Planned("80% sparsity and 4 bits", _recipe(_prune(0.8), _quantize(4))),
        Planned("Half the MACs and 4 bits", _recipe(_channels(0.5), _quantize(4))),
    ),
    "calibration": (
        *(Planned(name, _recipe(_quantize(3), calibration_images=n)) for n, name in IMAGES.items()),
    ),
    "batch-norm": (
        Planned("90% sparsity, statistics kept", _recipe(_prune(0.9, refit=False), batch_norm="keep")),
        Planned("90% sparsity, re-estimated", _recipe(_prune(0.9, refit=False), batch_norm="reestimate")),
    ),
    "ends": (
        Planned("2 bits everywhere", _recipe(_quantize(2))),
        Planned("First and last layer 8 bits", _recipe(_quantize(2, exempt_ends=True))),
    ),
    "zoo": (
        Planned("ResNet-20", _recipe(), "resnet20", "digits"),
        Planned("ResNet-20, half the MACs", _recipe(_channels(0.5)), "resnet20", "digits"),
        Planned("ResNet-20, half the MACs, 8 bits", _recipe(_channels(0.5), _quantize(8)), "resnet20", "digits"),
        Planned("MobileNetV2 ×0.5", _recipe(), "mobilenetv2", "digits"),
        Planned(N_("MobileNetV2 ×0.5, 8 bits"), _recipe(_quantize(8)), "mobilenetv2", "digits"),
        Planned("ShuffleNetV2 ×0.5", _recipe(), "shufflenetv2", "digits"),
        Planned(N_("ShuffleNetV2 ×0.5, 8 bits"), _recipe(_quantize(8)), "shufflenetv2", "digits"),
    ),
}  # fmt: skip
