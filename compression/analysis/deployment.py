"""A finished file on its way to a device: what it needs there, and how it would fare on each device of the catalogue.

What it needs is counted on the file; how it would fare is estimated.
"""

from compression.analysis.devices import DEVICES, Deployment, Load, fit
from compression.measure.memory import activations
from compression.measure.roofline import estimate_ms, this_processor, work_of


def deployment(onnx: bytes, input_shape: tuple[int, int, int], weights: int, *, threads: int = 1) -> Deployment:
    """How the file fares; `weights` is how many it has. Raises `InvalidFile` for bytes that do not load."""
    here = activations(onnx, input_shape)
    anywhere = activations(onnx, input_shape, portable=True)
    load = Load(work_of(onnx, input_shape), len(onnx), weights, anywhere.peak_bytes)
    fits = {name: fit(load, device) for name, device in DEVICES.items()}
    ms = estimate_ms(load.work, this_processor(threads))
    return Deployment(fits, here.peak_bytes, here.peak.operator, len(load.work), load.integer, ms)
