"""Bring's form for images: what decoded pictures take, and how many of a folder's are tested."""

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
