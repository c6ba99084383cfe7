"""Bring's form for images: what decoded pictures take, and how many of a folder's are tested."""

import pytest

from compression.data import cache_limit
from compression.data.test_samples import ALL, TestSample
from pages.ui.bring import images_form, network_form
from tests.pages.running_app import opened


def test_decoded_pictures_are_shown_limited_and_removed() -> None:
    place = cache_limit.folder() / f"old{cache_limit.ENDING}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"pixels")
    before = cache_limit.limit()
    try:
        page = opened({}, page="lab/bring")
        page.segmented_control(key=network_form.WHAT).set_value(network_form.IMAGES).run()
        assert any(e.label.startswith("Image cache:") and "of 32 GiB" in e.label for e in page.expander)
        page.number_input(key="images.limit").set_value(7.0).run()
        next(b for b in page.button if b.label == "Set limit").click().run()
        assert cache_limit.limit() == 7 << 30
        next(b for b in page.button if b.label == "Clear cache").click().run()
        assert not place.exists() and not page.exception
        page.selectbox(key="images.dataset").set_value(images_form.PATH).run()
        page.text_input(key="images.path").set_value("/nowhere").run()
        assert page.selectbox(key="images.test").options == [
            "All test images", "1,000 test images", "5,000 test images",
        ]  # fmt: skip
        page.selectbox(key="images.test").set_value(TestSample(1000)).run()
        assert page.selectbox(key="images.test").value == TestSample(1000) != ALL and not page.exception
    finally:
        cache_limit.set_limit(before)
        place.unlink(missing_ok=True)


@pytest.mark.parametrize("text", ["mobilenet v2", "MobileNet-V2", "MOBILENET_V2", " mobilenetv2 "])
def test_networks_are_found_without_regard_to_case_blanks_hyphens_and_underscores(text: str) -> None:
    page = opened({}, page="lab/bring")
    page.segmented_control(key="bring.source").set_value(network_form.LIBRARY).run()
    everything = page.selectbox(key="bring.library").options
    page.text_input(key="bring.search").set_value(text).run()
    found = page.selectbox(key="bring.library").options
    assert "timm:mobilenetv2_100.ra_in1k" in found and set(found) < set(everything)
    assert any(name.startswith("torchvision:mobilenet_v2.") for name in found)
    assert all("mobilenetv2" in name.replace("_", "") for name in found) and not page.exception
    page.text_input(key="bring.search").set_value("no such network").run()
    assert page.selectbox(key="bring.library").disabled and not page.exception


@pytest.mark.parametrize(
    ("name", "text", "has"),
    [
        ("torchvision:resnet50", "resnet 50", True),
        ("timm:efficientnet_lite0.ra_in1k", "EfficientNet-Lite0", True),
        ("torchvision:resnet50", "", True),
        ("torchvision:resnet50", "resnet 101", False),
    ],
)
def test_a_name_has_a_text(name: str, text: str, has: bool) -> None:
    assert network_form.has_text(name, text) is has
