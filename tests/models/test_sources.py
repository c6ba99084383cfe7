"""How a user names a network."""

import pytest

from compression.errors import UserError
from compression.models.sources import Source, parse


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("torchvision:mobilenet_v3_large.IMAGENET1K_V2", Source("torchvision", "mobilenet_v3_large", "IMAGENET1K_V2")),
        ("timm:efficientnet_lite0.ra_in1k", Source("timm", "efficientnet_lite0", "ra_in1k")),
        ("timm:resnet18", Source("timm", "resnet18")),
        ("timm:hf_hub:owner/a-net.v1", Source("hub", "owner/a-net.v1")),
        ("timm:hf-hub:owner/net@main", Source("hub", "owner/net@main")),
        ("network.onnx", Source("file", "network.onnx")),
        ("/a b/network.PT2", Source("file", "/a b/network.PT2")),
        ("mine", Source("name", "mine")),
    ],
)
def test_each_form_is_read(text: str, source: Source) -> None:
    assert parse(text) == source
    assert parse(str(source)) == source


@pytest.mark.parametrize(
    "text",
    ["", "timm:", "timm:../x", "timm:a b", "timm:hf_hub:owner", "timm:hf_hub:../../x", "timm:hf_hub:a/b/c", "Mine",
     "mine\0.onnx", "torchvision:hf_hub:a/b", "x" * 100_000, "timm:resnet18.", "timm:res\nnet"],
)  # fmt: skip
def test_anything_else_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse(text)
    assert len(str(refusal.value)) < 400
