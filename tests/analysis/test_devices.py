"""Fits follow from the bytes that each runtime stores; estimates from work and rates alone."""

import dataclasses

import pytest

from compression import models
from compression.analysis.devices import DEVICES, KB, NETWORKS, Load, device, estimate_ms, fit, transfer_seconds
from compression.data import load
from compression.errors import UnknownName
from compression.export import export
from compression.measure.memory import activations
from compression.measure.roofline import WIDTHS, Constants, Work, work_of
from compression.measure.roofline import estimate_ms as roofline_ms
from compression.network.graph import macs
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe
from compression.steps import Quantize

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def files():
    prepared = prepare(models.load("resnet20", "digits"), load("digits"), calibration_images=64)
    recipe = Recipe(steps=(Quantize(weight_bits=4),), quality="fast", calibration_images=64)
    return prepared.baseline, compress_prepared(prepared, recipe)


def load_of(candidate) -> Load:
    peak = activations(candidate.onnx, SHAPE, portable=True).peak_bytes
    return Load(work_of(candidate.onnx, SHAPE), len(candidate.onnx), candidate.parameters, peak)


@pytest.mark.parametrize("name", ["lenet300", "vgg11", "resnet20"])
def test_work_has_the_multiply_accumulates_of_the_network(name):
    graph = trace(models.load(name, "digits"), SHAPE)
    work = work_of(export(graph, SHAPE, packed=False).onnx, SHAPE)
    assert sum(w.macs for w in work) == sum(macs(graph, SHAPE).values())


def test_work_of_depthwise_layers_is_counted_once():
    graph = trace(models.load("mobilenetv2", "digits"), SHAPE)
    work = work_of(export(graph, SHAPE, packed=False).onnx, SHAPE)
    assert sum(w.macs for w in work) == pytest.approx(sum(macs(graph, SHAPE).values()), rel=0.15)
    assert sum(w.kind == "depthwise" for w in work) == 17


def test_maps_are_as_large_in_8_bits_as_in_floats(files):
    """ONNX Runtime has the channels last in 8 bits, and in blocks or first in floats."""
    maps = [[w.places for w in work_of(each.onnx, SHAPE) if w.kind in ("conv", "pointwise")] for each in files]
    assert sorted(maps[0]) == sorted(maps[1])
    assert sorted({*maps[0]}) == [4, 16, 64]


def test_a_microcontroller_stores_dense_bytes_and_onnx_runtime_the_file(files):
    _, small = files
    load = load_of(small)
    assert load.integer
    micro, pi = fit(load, device("nano33")), fit(load, device("pi4"))
    assert micro.need.weights == small.parameters and micro.need.decoded_weights == 0
    assert pi.need.weights == len(small.onnx) < small.parameters
    assert pi.need.decoded_weights == small.parameters


def test_float_weights_do_not_fit_where_8_bit_ones_do(files):
    baseline, small = files
    dense, packed = (fit(load_of(each), device("nano33")) for each in (baseline, small))
    assert not dense.flash and dense.estimated_ms is None
    assert packed.fits and packed.estimated_ms and packed.estimated_mj == packed.estimated_ms * device("nano33").watts


def test_a_byte_too_much_does_not_fit(files):
    load = load_of(files[1])
    found = fit(load, device("nano33"))
    for field, needed in (("flash_bytes", found.need.flash), ("ram_bytes", found.need.ram)):
        exact = dataclasses.replace(device("nano33"), **{field: needed})
        assert fit(load, exact).fits
        assert not fit(load, dataclasses.replace(exact, **{field: needed - 1})).fits


def test_the_slower_of_arithmetic_and_memory_counts():
    chip = dataclasses.replace(
        device("pi4"),
        int8_macs_per_second=1e9,
        fp32_macs_per_second=1e8,
        bytes_per_second=1e6,
        seconds_per_operator=0.0,
    )
    work = Work("QLinearConv", "conv", True, 10_000_000, 1000, 16)
    assert estimate_ms([work], chip) == pytest.approx(10)
    assert estimate_ms([dataclasses.replace(work, integer=False)], chip) == pytest.approx(100)
    assert estimate_ms([dataclasses.replace(work, bytes=50_000)], chip) == pytest.approx(50)


def test_this_processors_estimate_interpolates_rates():
    widths = ((8, 1e9), (128, 16e9))
    maps = ((4, tuple((width, rate / 4) for width, rate in widths)), (196, widths))
    rates = {(kind, integer): maps for kind in WIDTHS for integer in (False, True)}
    constants = Constants(rates, 1e12, 1e-6, 5e-6)
    work = Work("Conv", "conv", False, 4_000_000, 0, 32.0, places=196)
    assert constants.rate(work) == pytest.approx(4e9)
    assert constants.rate(dataclasses.replace(work, places=28)) == pytest.approx(2e9)
    assert constants.rate(dataclasses.replace(work, places=1)) == pytest.approx(1e9)
    assert roofline_ms([work, work], constants) == pytest.approx(1e3 * (5e-6 + 2 * (1e-6 + 1e-3)))
    assert constants.rate(dataclasses.replace(work, width=1.0)) == pytest.approx(1e9)


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_says_where_its_figures_come_from(name):
    found = DEVICES[name]
    assert len(found.source) > 20 and len(found.basis) > 20
    assert found.int8_macs_per_second > found.fp32_macs_per_second > 0
    assert found.ram_bytes >= 64 * KB


def test_transfer_time_is_bits_over_rate():
    assert transfer_seconds(3_000_000, "3G (3 Mbit/s)") == pytest.approx(8)
    assert [transfer_seconds(1000, name) for name in NETWORKS] == sorted(
        (transfer_seconds(1000, name) for name in NETWORKS), reverse=True
    )


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownName, match="nano33"):
        device("toaster")
    with pytest.raises(UnknownName, match="3G"):
        transfer_seconds(1, "pigeon")
