"""What a setting is where a link leaves it out, by the schema version that the link names.

A link holds what differs from these values, so they never change: where a step's default does, a new version gets a
table of its own, and links of older ones still mean what they meant. A new setting joins the newest table with its
default. One that is missing here stands in every link, as `channels.round_to`, whose default each machine measures.
"""

from typing import Any

Values = dict[str, Any]

DEFAULTS: dict[int, dict[str, Values]] = {
    1: {
        "recipe": {
            "seed": 0, "calibration_images": 512, "quality": "best", "batch_norm": "auto",
        },
        "channels": {
            "amount": 0.5, "measure": "macs", "criterion": "error", "scope": "global", "part": "inner",
            "compensate": True, "exclude": "",
        },
        "factorize": {
            "amount": 0.33, "rank": "macs", "energy": 0.98, "form": "best", "activation_aware": True, "round_to": 8,
            "refit": True, "exclude": "",
        },
        "prune": {
            "sparsity": 0.5, "criterion": "error", "scope": "global", "pattern": "free", "refit": True,
            "by": "sparsity", "threshold": 0.05, "exclude": "",
        },
        "share": {
            "entries": 16, "channels_per_book": 0, "weighting": "hessian", "assignment": "second-order", "exclude": "",
        },
        "quantize": {
            "weight_bits": 8, "activation_bits": 8, "scheme": "linear", "granularity": "channel", "group_size": 32,
            "scale": "mse", "rounding": "second-order", "activation_range": "minmax", "exempt_ends": False,
            "allocation": "even", "layer_bits": "", "equalize": False, "bias_correction": True, "reduce_range": "auto",
            "placement": "measured", "integer_operators": "",
        },
        "recover": {
            "steps": 500, "method": "distill", "temperature": 4.0, "alpha": 0.9, "labels": True, "images": "training",
            "teacher": "self", "assistant": "none", "batch_size": 128, "learning_rate": 0.001, "schedule": "none",
            "freeze_batch_norm": "off", "learned_steps": True, "until": 0,
        },
    },
}  # fmt: skip
"""Version → step, or 'recipe' for what all steps share → setting → value."""

NEWEST = max(DEFAULTS)


def left_out(kind: str, version: int) -> Values:
    """The values of a step's settings that links of a version need not name."""
    return DEFAULTS[version].get(kind, {})
