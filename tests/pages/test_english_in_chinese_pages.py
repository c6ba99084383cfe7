"""No page in Chinese shows English but names, formats and units."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from compression.data import DATASETS
from compression.host.machine import this_machine
from compression.lessons.measured import JSON
from compression.models import ARCHITECTURES
from compression.reference import HERE
from pages.ui import state
from pages.ui.model import wording
from tests.pages.running_app import opened
from tests.pages.test_language import LONG, PAGES

LINK = {"model": "lenet5", "dataset": "digits", "quality": "fast", "lang": "zh-CN"}

NAMES = """
LeNet Caffe ResNet MobileNetV ShuffleNetV VGG
Digits Fashion MNIST CIFAR SVHN STL EuroSAT GTSRB Imagenette
Trouser Shirt Pullover Dress Coat Sandal Sneaker Bag
ONNX ORT ort QDQ qdq QuantizeLinear DequantizeLinear ReorderOutput onnx onnxruntime LiteRT TensorFlow
PyTorch torchvision timm Python NumPy JavaScript npm Termux gzip zstd
tflite safetensors pt pth py zip CSV JSON Parquet csv json parquet PDF HTML Markdown
Arduino Jetson CPU RAM VNNI
fp uint KB MB kbit Mbit ms nm mJ dB
flatten relu softmax logit alpha arena roofline
SQNR GPTQ KL MAC McNemar Huffman Lloyd PCM
Han Li Fang Jaderberg Zhang Kim Krishnamoorthi Nagel Hinton Eckart Young Shannon
English
"""
"""The same in every language: networks, datasets, classes, operators and programs, formats, hardware, units, terms that
Chinese papers write so too, methods, authors; and the button that leads to the other language."""
PHRASES = (
    "ONNX Runtime", "TensorFlow Lite Micro", "Deep Compression", "Nano 33 BLE", "Raspberry Pi", "Flowers-102",
    "Oxford-IIIT Pets", "Food-101", "VGG-11 (slim)", "T-shirt/top", "Ankle boot", "k-means", "hard swish",
    "squeeze-and-excite", "max_pool2d", "onnxruntime-web", "report.json", "probe.py", "probe.zip",
    "（best）", "（fast）", "MobileNetV3-small", "reduce_range",
)  # fmt: skip
"""The same, of words that are none by themselves; names of files and of values on the command line."""
PROCESSORS = {this_machine().cpu} | {
    text for file in (*HERE.glob("*.json"), JSON) for text in re.findall(r'"cpu": "([^"]+)"', file.read_text())
}
"""Of this machine, and of those on which what comes with the program was measured."""
EXAMPLES = {"mine", "image"}
"""What a text field shows before something is written into it; a network's input."""

UNREAD = re.compile(
    r"^- \[[^\n]*?\]\([^)]*\)|^- [A-Z][^\n]*?\d{4}, [^\n]*?: |<style>.*?</style>|<[^>]*>"
    r"|\$\$.+?\$\$|\$[^$]+\$|`[^`]*`|\]\([^)]*\)"
    r"|:material/\w+:|https?://\S+|:(small|gray)\[|\?model=\S+|\b[0-9a-f]{16}\b",
    re.DOTALL | re.MULTILINE,
)
"""Sources of a lesson, markup, formulas, code, addresses, numbers of runs."""
WORD = re.compile(r"[A-Za-z][A-Za-z]+")
FIELDS = ("label", "help", "body", "placeholder", "options", "message", "text", "delta", "name")
SAID = {"text", "name", "label", "ticktext", "alt", "words", "title"}
"""Of a figure, or of a table's columns: the fields with what it says."""


def elements(block: Block) -> Iterator[Any]:
    """All elements below a block, and the blocks themselves."""
    for child in block.children.values():
        yield child
        if isinstance(child, Block):
            yield from elements(child)


def strings(value: Any) -> Iterator[str]:
    """All texts in a list, or one alone."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)


def said_in(plain: Any) -> Iterator[str]:
    """The texts of a figure or of a table's columns, which are JSON."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield from strings(value) if name in SAID else ()
            yield from said_in(value)
    elif isinstance(plain, list):
        for each in plain:
            yield from said_in(each)


def texts(shown: AppTest) -> Iterator[str]:
    """Whatever a page shows in words."""
    for root in shown._tree.children.values():
        assert isinstance(root, Block)
        for element in elements(root):
            proto = element.proto
            if element.type in ("code", "image") or proto is None:
                continue
            for field, value in proto.ListFields():
                if field.name in FIELDS:
                    yield from strings(value if isinstance(value, str) else list(value))
                elif field.name in ("spec", "columns", "json"):
                    yield from said_in(json.loads(value))


def english(text: str) -> list[str]:
    """The words of a text that are no names."""
    read = UNREAD.sub(" ", unescape(text))
    for phrase in (*PROCESSORS, *PHRASES):
        read = read.replace(phrase, "")
    return [word for word in WORD.findall(read) if word not in NAMES.split()] if text not in EXAMPLES else []


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page in LONG else page for page in PAGES]
)
def test_a_page_in_chinese_says_nothing_in_english(page: str, own_home: Path) -> None:
    for run in state.store().runs(role=None):  # of other tests, who gave their networks and images English names
        if run.subject.dataset not in DATASETS or run.subject.model not in ARCHITECTURES:
            state.store().delete(run.id)
    shown = opened({"lang": "zh-CN"} if page.startswith("learn") else LINK, page)
    place = wording.place(state.store().place)
    found = {text: words for text in texts(shown) if (words := english(text.replace(place, "")))}
    assert found == {}


def test_english_is_found() -> None:
    said = "ONNX Runtime: see `code`, **the Report** of fp32"
    assert english(said) == ["see", "the", "Report", "of"]
    assert english("把 k-means 用于 <b>ResNet-20</b>") == []
