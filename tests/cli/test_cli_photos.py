"""The command line on folders of pictures: without labels, with other classes, and the file that takes pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compression import models
from compression.data import load
from compression.host.onnx_runtime import session
from tests.cli.test_cli import call

pytestmark = pytest.mark.usefixtures("read_here")  # TestOwnModels has a file read in a process of its own

QUICK = ("--set", "quality=fast", "--set", "quantize.weight_bits=4")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-300-100 for Digits as a file of torch.export."""
    path = tmp_path_factory.mktemp("network") / "mine.pt2"
    batch = {0: torch.export.Dim("n")}
    program = torch.export.export(
        models.load("lenet300", "digits"), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=(batch,)
    )
    torch.export.save(program, path)
    return path


def refusal(*arguments: object) -> str:
    """The last line on stderr of a run that ends as a user's mistake, behind those on its progress."""
    answer = call(*arguments)
    assert (answer.code, answer.out) == (2, "") and "Traceback" not in answer.err
    last = answer.err.splitlines()[-1]
    assert last.startswith("Error: ")
    return last


def pictures(place: Path, names: dict[int, str], count: int = 90) -> Path:
    """Digits as PNG files: those of class i in the folder names[i], or side by side where that is ''."""
    digits = load("digits").test
    for i in range(count):
        if (label := int(digits.labels[i])) in names:
            folder = place / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.images[i, 0].numpy()).save(folder / f"{i:03}.png")
    return place


def test_without_labels_there_is_agreement(network: Path, tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", dict.fromkeys(range(10), ""), 40)
    asked = ("compress", "--model", network, "--dataset", f"folder:{photos}", *QUICK)
    told = call(*asked, "--json").json
    assert 0 < told["agreement_low"] < told["agreement"] <= 1 and "accuracy" not in told
    assert any("only says that it is above" in note for note in told["notes"])
    table = call(*asked, "--test-images", 15).out
    assert "agreement" in table and "accuracy" not in table.replace("--set", "")
    assert "15 unlabelled images" in table and "15 of the 20 test images, drawn by seed 0" in " ".join(table.split())


def test_a_file_of_images_without_labels_is_measured_against_another(network: Path, tmp_path: Path) -> None:
    photos, out = pictures(tmp_path / "photos", dict.fromkeys(range(10), ""), 30), tmp_path / "x.onnx"
    call("compress", "--model", network, "--dataset", f"folder:{photos}", *QUICK, "--out", out)
    assert "no labels, so a file can only be compared" in refusal("measure", out, "--dataset", f"folder:{photos}")
    found = call("measure", out, "--dataset", f"folder:{photos}", "--baseline", out, "--json").json
    assert found["agreement"] == 1.0


def test_a_table_says_which_class_is_which_output(network: Path, tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", {0: "zero", 1: "one", 2: "2", 7: "what is it"})
    table = tmp_path / "classes.csv"
    table.write_text("class,output\nzero,0\none,1\nwhat is it,\n")
    asked = ("compress", "--model", network, "--dataset", f"folder:{photos}", *QUICK)
    assert "answers with 10 classes, but photos has 4" in refusal(*asked)
    found = call(*asked, "--class-map", table, "--json").json
    assert found["accuracy"] > 0.8
    assert any("left out as requested: 'what is it'" in note for note in found["notes"])
    table.write_text("zer0,0\n")
    assert "'zer0', which is not a class of photos" in refusal(*asked, "--class-map", table)
    table.write_text("zero,77\n")
    assert "names none of the network's 10 classes" in refusal(*asked, "--class-map", table)


def test_a_file_that_takes_pictures_is_written_beside_the_plain_one(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    asked = ("compress", "--model", network, "--dataset", "digits", *QUICK)
    told = call(*asked, "--out", out, "--with-preprocessing", "--json").json
    inside = tmp_path / "small.pixels.onnx"
    assert told["out_pixels"] == str(inside)
    data = load("digits")
    images = data.test.images[:50]
    runner = session(inside.read_bytes())
    found = runner.run(None, {"pixels": images.permute(0, 2, 3, 1).numpy()})[0]
    plain = session(out.read_bytes()).run(None, {"image": data.normalize(images).numpy()})[0]
    assert np.array_equal(found, plain)
    assert json.loads(runner.get_modelmeta().custom_metadata_map["classes"]) == list(data.classes)
    assert "--with-preprocessing goes with --out" in refusal(*asked, "--with-preprocessing")
