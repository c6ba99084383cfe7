"""Each operator's form in a `.tflite` file: LiteRT's scores are the ONNX file's, and TFLM has the kernels."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn
from torch.nn import functional as F

from compression.analysis.tflm_kernels import KERNELS
from compression.boards import ADDS
from compression.data import load
from compression.errors import Unsupported
from compression.export.tflite import export
from compression.measure import tflite_runs
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe
from compression.steps import Quantize

EIGHT_BITS = Quantize(weight_bits=8, activation_bits=8, placement="everywhere", reduce_range="off")
RECIPE = Recipe(steps=(EIGHT_BITS,), quality="fast")


class Around(nn.Module):
    """An operator between two layers: on maps of 8 channels, 8 x 8."""

    def __init__(self, operator: Callable[..., torch.Tensor]):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 10)
        self.gate, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        nn.init.uniform_(self.norm.get_buffer("running_mean"), -0.2, 0.2)
        nn.init.uniform_(self.norm.get_buffer("running_var"), 0.05, 0.2)
        self.norm.weight.data.uniform_(-1, 1)
        self.norm.weight.data[0], self.norm.bias.data[0] = 0.0, 0.5  # a channel that no longer looks
        self.grouped = nn.Conv2d(8, 8, 3, groups=2, padding=(0, 1))
        self.dense, self.even, self.groups = nn.Linear(8, 8), nn.LayerNorm(8), nn.GroupNorm(2, 8)
        self.turns, self.places = nn.Linear(8, 24), nn.Parameter(torch.randn(1, 64, 8) / 3)
        nn.init.uniform_(self.even.weight, 0.5, 2)
        nn.init.uniform_(self.even.bias, -0.5, 0.5)
        self.operator = operator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of images."""
        return self.last(self.operator(self, self.first(x)).mean((2, 3)))


def excite(gate: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Squeeze and excite."""
    return lambda n, x: x * gate(n.gate(x.mean((2, 3), keepdim=True)))


def tokens(of: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """On tokens [n, 64, 8], as transformers have them."""
    return lambda n, x: of(n, x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (8, 8))


def attention(n: Around, x: torch.Tensor, **more: object) -> torch.Tensor:
    """Two heads."""
    q, k, v = n.turns(n.even(x)).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4).unbind(0)
    found = F.scaled_dot_product_attention(q, k, v, **more)  # type: ignore[arg-type]
    return x + n.dense(found.transpose(1, 2).flatten(2))


OPERATORS: dict[str, tuple[Callable[..., torch.Tensor], str]] = {
    "average pool": (lambda n, x: F.avg_pool2d(F.relu(x), 2), "AVERAGE_POOL_2D"),
    "average pool, padded": (lambda n, x: F.avg_pool2d(x, 3, 2, 1), "PAD"),
    "adaptive average": (lambda n, x: F.adaptive_avg_pool2d(x, 4), "AVERAGE_POOL_2D"),
    "max pool, padded": (lambda n, x: F.max_pool2d(x, 3, 2, 1), "PADV2"),
    "max pool, rounded up": (lambda n, x: F.max_pool2d(F.relu(x), 3, 2, ceil_mode=True), "MAX_POOL_2D"),
    "sigmoid": (excite(torch.sigmoid), "LOGISTIC"),
    "hard sigmoid": (excite(F.hardsigmoid), "MUL"),
    "silu": (lambda n, x: F.silu(x), "LOGISTIC"),
    "hard swish": (lambda n, x: F.hardswish(x), "HARD_SWISH"),
    "leaky": (lambda n, x: F.leaky_relu(x, 0.1), "LEAKY_RELU"),
    "batch norm": (lambda n, x: F.relu(n.norm(F.relu(x))), "DEPTHWISE_CONV_2D"),
    "groups": (lambda n, x: F.relu6(n.grouped(F.relu(x))), "CONV_2D"),
    "squeezed": (lambda n, x: x * x.mean((2, 3)).unsqueeze(2).unsqueeze(3), "MUL"),
    "uneven": (lambda n, x: torch.cat([F.relu(x).chunk(3, 1)[2]] * 4, 1), "STRIDED_SLICE"),
    "gelu": (lambda n, x: F.gelu(n.gate(x)), "GELU"),
    "elu": (lambda n, x: F.elu(n.gate(x)), "ELU"),
    "quotient": (lambda n, x: x / (1 + x.abs()), "DIV"),
    "stored": (tokens(lambda n, x: x * 0.5 - n.places), "SUB"),
    "every second": (lambda n, x: F.pad(x, (0, 0, 1, 0))[:, :, 1::2, 2:], "STRIDED_SLICE"),
    "first row": (lambda n, x: x[:, :, 0].unsqueeze(3), "STRIDED_SLICE"),
    "rolled": (lambda n, x: x + x.roll((1, -3), (2, 1)), "CONCATENATION"),
    "softmax": (lambda n, x: x * x.softmax(3), "SOFTMAX"),
    "largest": (lambda n, x: x * x.amax((2, 3), keepdim=True), "REDUCE_MAX"),
    "linear layer of maps": (lambda n, x: n.dense(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), "FULLY_CONNECTED"),
    "layer norm": (lambda n, x: n.even(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), "RSQRT"),
    "group norm": (lambda n, x: n.groups(x), "RSQRT"),
    "mixer": (lambda n, x: x @ n.gate(x).softmax(3), "BATCH_MATMUL"),
    "attention": (tokens(attention), "BATCH_MATMUL"),
    "attention, causal": (tokens(lambda n, x: attention(n, x, is_causal=True)), "BATCH_MATMUL"),
    "joined": (lambda n, x: torch.cat([n.gate(x), x], 1).chunk(2, 1)[0] + x, "CONCATENATION"),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_litert_computes_the_scores_of_the_simulated_network(name):
    operator, kernel = OPERATORS[name]
    data = load("digits")
    prepared = prepare(Around(operator).eval(), data, calibration_images=64)
    candidate = compress_prepared(prepared, RECIPE)
    content = export(candidate.books.graph, (1, 8, 8), prepared.calibration.images)
    about = tflite_runs.about(content, (1, 8, 8))
    assert kernel in about.kernels and set(about.kernels) - {"GELU"} <= set(KERNELS) == set(ADDS)
    images = prepared.calibration.images[:64]  # within the ranges
    with torch.no_grad():
        expected = candidate.books.graph(images).numpy()  # as ONNX Runtime where no sum is cut off at 16 bits
    found = np.concatenate([scores(content, image) for image in images.numpy()])
    assert about.score_type == "int16" and np.abs(found - expected).max() <= 3 * np.ptp(expected) / 255
    if tflite_runs.COUNTS_ARENAS:
        found_in = tflite_runs.arena(content)
        assert found_in.size_bytes or (kernel, found_in.reason) == ("GELU", "it has no kernel for GELU")


def scores(content: bytes, image: np.ndarray) -> np.ndarray:
    run = Interpreter(model_content=content, num_threads=1)
    run.allocate_tensors()
    takes, gives = run.get_input_details()[0], run.get_output_details()[0]
    scale, zero = takes["quantization"]
    codes = np.clip(np.round(image.transpose(1, 2, 0) / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    run.set_tensor(takes["index"], codes[None])
    run.invoke()
    scale, zero = gives["quantization"]
    return (run.get_tensor(gives["index"]).astype(np.float32) - zero) * scale


@pytest.mark.parametrize(("operator", "named"), [
    (lambda n, x: F.softplus(x), "softplus"), (lambda n, x: F.adaptive_avg_pool2d(x, 3), "adaptive_avg_pool2d"),
    (lambda n, x: F.elu(x, 0.5), "elu"), (lambda n, x: F.pad(x, (1, 1, 1, 1), "reflect"), "pad"),
])  # fmt: skip
def test_an_operator_without_a_form_is_named(operator, named):
    prepared = prepare(Around(operator).eval(), load("digits"), calibration_images=64)
    with pytest.raises(Unsupported, match=named):
        export(compress_prepared(prepared, RECIPE).books.graph, (1, 8, 8), prepared.calibration.images)
