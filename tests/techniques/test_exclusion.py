"""Layers that a step excludes keep their weights, the others give what is asked for, and the file says the same."""

import numpy as np
import pytest
import torch

from compression.data import load
from compression.errors import InvalidRecipe, InvalidSetting, UnknownName, Unsupported
from compression.export import export
from compression.host.onnx_runtime import session
from compression.network.graph import layers
from compression.network.parametrizations import original
from compression.pipeline.compress import prepare, simulate
from compression.recipe import Recipe
from compression.steps import STEPS, Channels, Factorize, Prune, Quantize, Share, Step
from compression.techniques.channels.coupling import groups
from compression.techniques.channels.lengths import Masked
from tests.networks import tiny


@pytest.fixture(scope="module")
def prepared():
    torch.manual_seed(0)
    return prepare(tiny().eval(), load("digits"), calibration_images=64)


@pytest.mark.parametrize("quality", ["fast", "best"])
@pytest.mark.parametrize("step", [
    Prune(exclude="left,head"), Prune(criterion="magnitude", exclude="left,head"), Share(exclude="left,head"),
    Prune(pattern="2:4", refit=False, exclude="left,head"), Factorize(amount=0.05, round_to=1, exclude="left,head"),
])  # fmt: skip
def test_excluded_layers_keep_their_weights(prepared, step, quality):
    graph, before = simulate(prepared, Recipe(steps=(step,), quality=quality)), layers(prepared.dense)
    found = {name: layer.weight.detach() for name, layer in layers(graph).items()}
    for name in ("left", "head"):
        assert torch.equal(found[name], original(before[name]))
    same = {n for n, w in found.items() if n in before and torch.equal(w, original(before[n]))}
    assert set(before) - same, "no other layer was changed"
    image = prepared.calibration.images[:4]
    run = session(export(graph, (1, 8, 8)).onnx)
    np.testing.assert_allclose(run.run(None, {"image": image.numpy()})[0], graph(image).detach(), atol=1e-4)


def test_the_share_of_zeros_is_that_of_the_other_layers(prepared):
    graph = simulate(prepared, Recipe(steps=(Prune(sparsity=0.6, exclude="right"),), quality="fast"))
    others = [layer.weight for name, layer in layers(graph).items() if name != "right"]
    zeros = sum(int((w == 0).sum()) for w in others) / sum(w.numel() for w in others)
    assert zeros == pytest.approx(0.6, abs=0.01)
    everything = ",".join(layers(prepared.dense))
    whole = simulate(prepared, Recipe(steps=(Prune(exclude=everything),), quality="fast"))
    assert all(bool((layer.weight != 0).all()) for layer in layers(whole).values())


def test_an_excluded_layer_is_quantized_where_the_recipe_says_so(prepared):
    recipe = Recipe(steps=(Prune(exclude="head"), Share(entries=4, exclude="head"), Quantize()), quality="fast")
    weights = layers(simulate(prepared, recipe))["head"].weight.detach()
    assert (weights != 0).float().mean() > 0.9 and len(weights.unique()) > 4


def test_an_excluded_layer_of_a_network_with_codebooks_takes_fewer_bits(prepared):
    steps = Share(entries=64, exclude="head"), Quantize(layer_bits="head=3")
    weights = layers(simulate(prepared, Recipe(steps=steps, quality="fast")))["head"].weight.detach()
    assert all(len(row.unique()) <= 2**3 for row in weights)
    with pytest.raises(InvalidRecipe, match="layer_bits for left must be 8 or more"):
        Recipe(steps=(Share(entries=64, exclude="head"), Quantize(layer_bits="left=3")))


def test_a_product_is_excluded_as_a_whole(prepared):
    first = Factorize(amount=0.05, round_to=1)
    split = [n for n in layers(simulate(prepared, Recipe(steps=(first,), quality="fast"))) if n.endswith("_first")]
    name = split[0].removesuffix("_first")
    graph = simulate(prepared, Recipe(steps=(first, Prune(sparsity=0.5, exclude=name)), quality="fast"))
    assert all(bool((layers(graph)[part].weight != 0).all()) for part in (name, f"{name}_first"))


@pytest.mark.parametrize(("out", "keep"), [
    ("left", {"left"}), ("stem.0", {"stem.0", "depthwise.0"}), ("depthwise.0", {"stem.0", "depthwise.0"}),
])  # fmt: skip
def test_an_excluded_layer_keeps_its_channels_with_those_that_go_together(prepared, out, keep):
    """What is left is the dense network with the other layers' channels masked."""
    settings = Channels(amount=0.2, part="all", round_to=1, measure="channels", compensate=False, exclude=out)
    graph = simulate(prepared, Recipe(steps=(settings,), quality="fast", batch_norm="keep"))
    left, dense, found = graph.meta["channels"].outputs, layers(prepared.dense), groups(prepared.dense, (1, 8, 8))
    assert left and not keep & set(left)
    assert all(layers(graph)[name].weight.shape[0] == dense[name].weight.shape[0] for name in keep)
    gone = tuple(
        member.unit[~left[member.name][member.index]].unique() if member.name in left else torch.tensor([], dtype=int)
        for member in (next(m for m in group.makers() if m.name in dense) for group in found)
    )
    assert sum(map(len, gone)) >= 2
    images = prepared.calibration.images[:8]
    torch.testing.assert_close(graph(images), Masked(prepared.dense, found, gone).run(images), atol=1e-4, rtol=1e-4)


def test_what_cannot_go_outside_the_excluded_layers_is_a_sentence(prepared):
    for out, sentence in (("left,right,stem.0", "3 excluded layers"), ("left", "not 90.0%")):
        recipe = Recipe(steps=(Channels(amount=0.9, part="all", round_to=1, exclude=out),), quality="fast")
        with pytest.raises(Unsupported, match=sentence):
            simulate(prepared, recipe)


@pytest.mark.parametrize("step", [
    Prune(exclude="nonsense"), Share(exclude="nonsense"), Factorize(exclude="nonsense"),
    Channels(exclude="nonsense"),
])  # fmt: skip
def test_a_layer_that_the_network_lacks_is_named(prepared, step):
    with pytest.raises(UnknownName, match=rf"{step.kind}\.exclude.*nonsense"):
        simulate(prepared, Recipe(steps=(step,), quality="fast"))


def test_names_are_read_from_lists_and_texts_and_recipes_without_any_are_the_same_as_before():
    assert Prune(exclude=["b", " a ", "a"]) == Prune(exclude="b,a") and Prune(exclude="b, a").excluded == ("a", "b")
    assert Recipe().with_setting("share.exclude", "fc").get("share").excluded == ("fc",)
    with pytest.raises(InvalidSetting, match="commas"):
        Prune(exclude=["a,b"])
    with pytest.raises(InvalidSetting, match=r"prune\.exclude"):
        Prune(exclude="x" * 20_001)
    plain = Recipe(steps=(Prune(),))
    assert "exclude" not in plain.to_json() and Recipe.from_json(plain.to_json()) == plain
    assert plain.hash != Recipe(steps=(Prune(exclude="a"),)).hash
    having = [kind for kind, step in STEPS.items() if "exclude" in step.model_fields]
    assert having == ["channels", "factorize", "prune", "share"] and Step.excluded.fget(Quantize()) == ()
