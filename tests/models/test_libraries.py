"""What torchvision and timm tell of their classifiers."""

import math

import pytest
import torch
from torchvision import models as torchvision_models

from compression.errors import UnknownName, Unsupported
from compression.models import libraries
from compression.models.sources import parse


def test_torchvision_tells_all_that_the_issue_of_a_network_needs() -> None:
    entry = libraries.entry(parse("torchvision:mobilenet_v3_large.IMAGENET1K_V2"))
    assert (entry.parameters, entry.macs, entry.accuracy) == (5_483_032, 217_000_000, pytest.approx(0.75274))
    assert entry.classes == 1000 and entry.is_default
    assert (entry.preprocess.resize_to, entry.preprocess.interpolation) == (232, "bilinear")
    assert entry.remotes[0].sha256 == "5c1a4163"
    assert libraries.entry(parse("torchvision:mobilenet_v3_large")) == entry


def test_timm_tells_licence_and_images() -> None:
    entry = libraries.entry(parse("timm:efficientnet_lite0.ra_in1k"))
    assert entry.licence == "apache-2.0"
    made = entry.preprocess
    assert (made.height, made.resize_to, made.interpolation) == (224, math.floor(224 / 0.875), "bicubic")
    assert [remote.sha256 for remote in entry.remotes] == ["", "37913777"]


def test_every_classifier_is_listed_and_only_these() -> None:
    listed = libraries.entries()
    assert {each.name for each in listed if each.library == "torchvision"} == set(
        torchvision_models.list_models(module=torchvision_models)
    )
    assert len({each.name for each in listed if each.library == "timm"}) > 900
    assert all(each.classes >= 2 and each.input_shape[0] in (1, 3) for each in listed)
    assert len({each.source for each in listed}) == len(listed)
    assert "vgg16.IMAGENET1K_FEATURES" not in str([each.source for each in libraries.search("vgg16")])
    assert sum(each.is_default for each in listed) <= len({(each.library, each.name) for each in listed})


def test_words_are_searched_in_any_order() -> None:
    found = [each.source for each in libraries.search("LITE efficientnet")]
    assert "timm:tf_efficientnet_lite1.in1k" in found
    assert all("lite" in source and "efficientnet" in source for source in found)
    assert libraries.search("no such network") == ()


def test_unknown_names_are_told_their_neighbours() -> None:
    with pytest.raises(UnknownName, match="resnet18"):
        libraries.entry(parse("timm:resnet19"))
    with pytest.raises(UnknownName, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        libraries.entry(parse("torchvision:resnet50.V9"))
    with pytest.raises(Unsupported, match="no weights that classify images for 'efficientnet_lite2'"):
        libraries.entry(parse("timm:efficientnet_lite2"))


@pytest.mark.parametrize("source", ["torchvision:googlenet", "torchvision:squeezenet1_1", "timm:test_vit"])
def test_a_network_is_built_for_any_number_of_classes(source: str) -> None:
    named = parse(source)
    model = libraries.library(named.library).build(named.name, 7, {})
    assert not model.training
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 160, 160)).shape == (1, 7)


def test_densenets_old_names_are_todays() -> None:
    from compression.models.libraries import torchvision_models as ours

    old = {"features.denseblock1.denselayer1.norm.1.weight": torch.zeros(1)}
    assert list(ours.converted("densenet121", old, 1000, {})) == ["features.denseblock1.denselayer1.norm1.weight"]


def test_class_names_are_those_of_the_weights() -> None:
    from compression.models.libraries import timm_models
    from compression.models.libraries import torchvision_models as ours

    ours_first = ours.class_names(libraries.entry(parse("torchvision:resnet18")))
    theirs = timm_models.class_names(libraries.entry(parse("timm:resnet18")))
    assert ours_first[:2] == ("tench", "goldfish") and len(ours_first) == len(theirs) == 1000
    assert theirs[0].startswith("tench")


def test_names_of_efficientnet_pytorch_are_timms_in_the_same_order() -> None:
    from compression.models.libraries import timm_models

    places = timm_models.build("test_efficientnet", 7, {}).state_dict()
    theirs = {"conv_stem.weight": "_conv_stem.weight", "classifier.weight": "_fc.weight"}
    tensors = {theirs.get(name, f"_blocks.{number}"): tensor for number, (name, tensor) in enumerate(places.items())}
    found = timm_models.converted("test_efficientnet", tensors, 1000, {})
    assert list(found) == list(places) and all(found[name] is tensors_ for name, tensors_ in places.items())
