"""What a page in Chinese shows in English, but for names, formats and units."""

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from compression.host.machine import this_machine
from compression.jobs.cluster import ROOT
from pages.ui import state
from pages.ui.model import wording

NAMES = """
LeNet Caffe ResNet MobileNetV ShuffleNetV VGG
Digits Fashion MNIST CIFAR SVHN STL EuroSAT GTSRB Imagenette
Trouser Shirt Pullover Dress Coat Sandal Sneaker Bag
ONNX ORT ort QDQ qdq QuantizeLinear DequantizeLinear ReorderOutput onnx onnxruntime LiteRT TensorFlow
PyTorch torchvision timm Python NumPy JavaScript npm Termux gzip zstd
tflite safetensors pt pth py zip tar CSV JSON Parquet csv tsv json parquet PDF HTML Markdown
Arduino Jetson CPU RAM VNNI
fp uint KB MB GiB kbit Mbit ms nm mJ dB
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
    "train/CLASS", "test/CLASS",
)  # fmt: skip
"""The same, of words that are none by themselves; names of files and of values on the command line."""
EXAMPLES = {"mine", "image", "/path/to/images"}
"""What a text field shows before something is written into it; a network's input."""

UNREAD = re.compile(
    r"^- \[[^\n]*?\]\([^)]*\)|^- [A-Z][^\n]*?\d{4}, [^\n]*?: |<style>.*?</style>|<[^>]*>"
    r"|\$\$.+?\$\$|\$[^$]+\$|`[^`]*`|\]\([^)]*\)"
    r"|:material/\w+:|https?://\S+|:(small|gray|[a-z]+-badge)\[|\?model=\S+|\b[0-9a-f]{16}\b",
    re.DOTALL | re.MULTILINE,
)
"""Sources of a lesson, markup, formulas, code, addresses, numbers of runs."""
WORD = re.compile(r"[A-Za-z][A-Za-z]+")
PROCESSORS = {
    this_machine().cpu,
    *(
        name for path in (ROOT / "compression").rglob("*.json")
        for name in re.findall(r'"cpu": "([^"]+)"', path.read_text(encoding="utf-8"))
    ),
}  # fmt: skip
"""This machine's, and those of the machines whose results come with the app."""
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


def english_of(shown: AppTest) -> dict[str, list[str]]:
    """The texts of a page in which such words stand, with these."""
    place = wording.place(state.store().place)
    return {text: words for text in texts(shown) if (words := english(text.replace(place, "")))}
