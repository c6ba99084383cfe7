"""Every technique on every network of the zoo: it does what its report says, in the file too, or it says why it cannot.

A few of them run always; all of them by `make test ARGS="-m slow tests/techniques/test_contract_zoo.py"`.
"""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from compression.data import load
from compression.errors import UserError
from compression.host.onnx_runtime import session
from compression.measure.accuracy import order, predict
from compression.models import load as load_model
from compression.network.graph import layers
from compression.network.parametrizations import Codebook, WeightQuantizer, find
from compression.pipeline.candidate import Candidate, Prepared
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe
from compression.steps import Channels, Factorize, Prune, Quantize, Recover, Share, Step
from compression.techniques import TECHNIQUES

MODELS = ("lenet300", "lenet5", "vgg11", "resnet20", "resnet56", "mobilenetv2", "shufflenetv2")
IMAGES = 64

RECIPES: dict[str, tuple[Step, ...]] = {
    "channels": (Channels(amount=0.3),),
    "channels of all layers": (Channels(amount=0.2, part="all", criterion="l1", compensate=False),),
    "channels by taylor": (Channels(amount=0.25, criterion="taylor", scope="uniform", round_to=4),),
    "channels counted": (Channels(amount=0.25, measure="channels", criterion="activation", round_to=1),),
    "factorize": (Factorize(amount=0.2),),
    "factorize by energy": (Factorize(rank="energy", energy=0.95, form="channel", round_to=4),),
    "tucker": (Factorize(amount=0.15, form="tucker", refit=False),),
    "prune": (Prune(sparsity=0.7),),
    "prune by magnitude": (Prune(sparsity=0.6, criterion="magnitude", scope="layer", refit=False),),
    "prune by taylor": (Prune(sparsity=0.6, criterion="taylor"),),
    "prune by second order": (Prune(sparsity=0.6, criterion="second-order"),),
    "2:4": (Prune(pattern="2:4"),),
    "kernels": (Prune(sparsity=0.3, pattern="kernel"),),
    "threshold": (Prune(by="threshold", threshold=0.02, criterion="magnitude"),),
    "share": (Share(entries=16),),
    "share by channels": (Share(entries=5, channels_per_book=16, weighting="magnitude", assignment="nearest"),),
    "quantize": (Quantize(),),
    "4 bits": (Quantize(weight_bits=4),),
    "2 bits": (Quantize(weight_bits=2),),
    "3 bits weights only": (Quantize(weight_bits=3, activation_bits=32),),
    "half": (Quantize(weight_bits=16, activation_bits=32),),
    "asymmetric": (Quantize(weight_bits=4, scheme="asymmetric"),),
    "asymmetric bytes": (Quantize(weight_bits=8, scheme="asymmetric"),),
    "asymmetric bytes for floats": (Quantize(weight_bits=8, scheme="asymmetric", activation_bits=32),),
    "logarithmic": (Quantize(weight_bits=4, scheme="logarithmic"),),
    "ternary": (Quantize(scheme="ternary"),),
    "binary": (Quantize(scheme="binary", activation_bits=32),),
    "groups": (Quantize(weight_bits=3, granularity="group", group_size=16),),
    "one scale": (Quantize(weight_bits=8, granularity="tensor", rounding="nearest", scale="minmax"),),
    "equalized": (Quantize(weight_bits=6, equalize=True, activation_range="entropy"),),
    "mixed": (Quantize(weight_bits=4, allocation="mixed", exempt_ends=True),),
    "recover": (Quantize(weight_bits=4), Recover(steps=4, batch_size=32)),
    "pruned, shared, rounded": (Prune(sparsity=0.5), Share(entries=16), Quantize()),
    "all": (Channels(amount=0.2), Factorize(amount=0.1), Prune(sparsity=0.5), Quantize(weight_bits=6)),
}
QUICK = {
    ("lenet300", "channels"), ("lenet5", "channels of all layers"), ("lenet5", "channels by taylor"),
    ("lenet5", "factorize"), ("lenet300", "tucker"), ("lenet5", "prune by magnitude"), ("lenet300", "2:4"),
    ("lenet5", "threshold"), ("lenet5", "share"),
    ("lenet300", "share by channels"), ("lenet5", "one scale"), ("lenet5", "2 bits"), ("lenet5", "half"),
    ("lenet5", "asymmetric"), ("lenet5", "logarithmic"), ("lenet300", "ternary"), ("lenet300", "binary"),
    ("lenet5", "groups"), ("lenet5", "mixed"), ("lenet5", "recover"), ("lenet5", "pruned, shared, rounded"),
    ("lenet5", "all"),
}  # fmt: skip
PAIRS = [(model, name) for model in MODELS for name in RECIPES]


@cache
def prepared(model: str) -> Prepared:
    return prepare(load_model(model, "digits"), load("digits"), calibration_images=IMAGES)


def test_every_technique_is_here():
    assert {step.kind for steps in RECIPES.values() for step in steps} == set(TECHNIQUES)
    assert set(PAIRS) >= QUICK


@pytest.mark.parametrize(
    ("model", "name"), [p if p in QUICK else pytest.param(*p, marks=pytest.mark.slow) for p in PAIRS]
)
@pytest.mark.parametrize("quality", ["fast", pytest.param("best", marks=pytest.mark.slow)])
def test_applies_or_refuses(model, name, quality):
    ready = prepared(model)
    dense = {key: value.clone() for key, value in ready.dense.state_dict().items()}
    recipe = Recipe(steps=RECIPES[name], calibration_images=IMAGES, quality=quality)
    try:
        candidate = compress_prepared(ready, recipe)
    except UserError as error:
        return one_clear_sentence(str(error))
    graph = candidate.books.graph
    assert all(torch.equal(value, dense[key]) for key, value in ready.dense.state_dict().items())
    something_happened(graph, candidate, ready)
    counts_are_true(graph, candidate, ready)
    weights_are_as_reported(graph, candidate, recipe)
    file_answers_like_the_network(graph, candidate, recipe, ready)
    assert (
        sum((ledger := candidate.ledger).__dict__[part] for part in PARTS) == len(candidate.onnx) == ledger.size_bytes
    )
    if name != "threshold":  # the one that may ask for nothing
        assert len(candidate.onnx) < len(ready.baseline.onnx)


PARTS = ("payload", "positions", "codebooks", "scales", "biases", "graph", "functions")


def one_clear_sentence(text: str):
    assert text.endswith(".") and "\n" not in text and 20 < len(text) < 300 and text[0].isupper()


def something_happened(graph, candidate, ready):
    """Other layers, other weights, or the same ones stored in fewer bits: the zoo's are half-precision numbers."""
    before, after = layers(ready.dense), layers(graph)
    fewer_bits = any(report.bits < 32 for report in candidate.layers)
    assert (
        fewer_bits
        or before.keys() != after.keys()
        or any(
            layer.weight.shape != before[name].weight.shape or not torch.equal(layer.weight, before[name].weight)
            for name, layer in after.items()
        )
    )


@torch.no_grad()
def counts_are_true(graph, candidate, ready):
    """MACs from what the layers really give, parameters from their tensors, and what steps say that they removed."""
    counted = dict.fromkeys(layers(graph), 0)

    def count(name):
        def hook(module, inputs, output):
            counted[name] += output[0].numel() * module.weight[0].numel()

        return hook

    handles = [layer.register_forward_hook(count(name)) for name, layer in layers(graph).items()]
    graph(torch.zeros(1, *ready.data.input_shape))
    for handle in handles:
        handle.remove()
    assert {report.name: report.macs for report in candidate.layers} == counted
    assert candidate.macs == sum(counted.values()) <= ready.baseline.macs
    assert candidate.parameters == sum(layer.weight.numel() for layer in layers(graph).values())
    for reached in candidate.reached:
        assert reached.requested is None or reached.reached >= reached.requested - 2e-3
    structural = [r for r in candidate.reached if r.measure == "macs"]
    if structural:
        left = float(np.prod([1 - r.reached for r in structural]))
        assert candidate.macs / ready.baseline.macs == pytest.approx(left, rel=1e-6)
        assert candidate.macs < ready.baseline.macs
    if "channels" in graph.meta:
        kept = graph.meta["channels"].kept
        assert all(len(layers(graph)[name].weight) == n for name, n in kept.items() if f"{name}_first" not in counted)


@torch.no_grad()
def weights_are_as_reported(graph, candidate: Candidate, recipe: Recipe):
    for report in candidate.layers:
        layer = layers(graph)[report.name]
        rows = layer.weight.flatten(1)
        assert report.shape == tuple(layer.weight.shape)
        assert float((rows == 0).float().mean()) >= report.sparsity - 1e-6
        different = [len(row.unique()) for row in rows]
        book, quantizer = find(layer, Codebook), find(layer, WeightQuantizer)
        if book is not None:
            spare = int(report.sparsity > 0)  # pruned weights are zero, whether the book has that or not
            assert max(different) <= book.entries.shape[1] + spare and 2 ** (report.bits - 1) <= book.entries.shape[1]
        elif quantizer is not None and quantizer.multipliers is None:
            assert report.bits == quantizer.bits and max(different) <= 2**report.bits + int(report.sparsity > 0)
        if report.product:
            ranks = [int(part.strip(",")) for part in report.product.split()[1:]]
            assert {layer.weight.shape[0], layer.weight.shape[1]} & set(ranks)
    asked = next((step for step in recipe.steps if isinstance(step, Prune)), None)
    if asked and asked.by == "sparsity":
        wanted = {"2:4": 0.5}.get(asked.pattern, asked.sparsity)
        zeros = sum(report.sparsity * report.weights for report in candidate.layers)
        assert zeros / candidate.parameters == pytest.approx(wanted, abs=0.03)


@torch.no_grad()
def file_answers_like_the_network(graph: nn.Module, candidate: Candidate, recipe: Recipe, ready):
    images = ready.data.normalize(ready.data.test.images)
    runner = session(candidate.onnx)
    answers, expected = runner.run(None, {"image": images.numpy()})[0], copy.deepcopy(graph)(images).numpy()
    equal = (answers.argmax(1) == expected.argmax(1)).mean()
    assert equal >= 0.99
    if not any(isinstance(step, Quantize) and step.activation_bits == 8 for step in recipe.steps):
        np.testing.assert_allclose(answers, expected, atol=2e-3 * float(np.abs(expected).max()), rtol=1e-2)
    found = predict(runner, ready.data, order(len(ready.data.test)))
    assert (found.classes == answers.argmax(1)[found.images]).all()
