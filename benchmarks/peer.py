"""One peer's best training-free setting, carried out in a process of its own: `python -m benchmarks.peer FOLDER`.

FOLDER holds `task.json` (tool, setting, model, dataset, weights), `fp32.onnx` (the smallest plain file) and
`calibration.npy` (float32 [n, C, H, W], normalised); the process adds `out.onnx` and `facts.json` (seconds, version).
Imports and loading are not counted, as a program that is running has them behind it. Some of these tools change
PyTorch's own functions when they are imported; that is why each has a process.
"""

import before_compression  # noqa: F401 - before everything else: see there

# isort: split
import copy
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peak_memory import peak_bytes
from compression.cli import inputs
from compression.data import Dataset
from compression.export import export
from compression.network.decisions import classes
from compression.network.tracing import trace

BATCH = 64
CHOSEN_ON = 1_000
"""Validation images that the best of several settings of one tool is chosen on."""


@dataclass(frozen=True)
class Task:
    """What a peer gets. `write` takes the ONNX file of a network in PyTorch, as small as a plain fp32 file can be."""

    folder: Path
    setting: dict[str, Any]
    network: nn.Module
    data: Dataset
    images: torch.Tensor

    @property
    def source(self) -> str:
        """Path of the fp32 file."""
        return str(self.folder / "fp32.onnx")

    @property
    def target(self) -> str:
        """Path of the file that is wanted."""
        return str(self.folder / "out.onnx")

    def write(self, network: nn.Module) -> None:
        """Writes `network` without what other exporters add: peers are not charged for that."""
        graph = trace(network.eval(), self.data.input_shape)
        Path(self.target).write_bytes(export(graph, self.data.input_shape, packed=False).onnx)


def quantize_static(task: Task) -> None:
    """ONNX Runtime's quantizer, uint8 activations, int8 weights per channel."""
    quantization = import_module("onnxruntime.quantization")
    images = task.images if task.setting["method"] == "MinMax" else task.images[:HISTOGRAM_IMAGES]

    class Images(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        """Hands the calibration images over, batch by batch."""

        def __init__(self) -> None:
            self._left: Iterator[torch.Tensor] = iter(images.split(BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next batch, or None."""
            batch = next(self._left, None)
            return None if batch is None else {"image": batch.numpy()}

    quantization.quantize_static(
        task.source, task.target, Images(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, task.setting["method"]),
    )  # fmt: skip


HISTOGRAM_IMAGES = 256
"""For the methods that keep every value of every image in memory before they count."""


def nncf_quantize(task: Task) -> None:
    """NNCF's post-training quantization of the ONNX file, with its default, fast bias correction."""
    nncf, onnx = import_module("nncf"), import_module("onnx")
    images = nncf.Dataset([image[None].numpy() for image in task.images], lambda image: {"image": image})
    model = nncf.quantize(
        onnx.load(task.source), images, subset_size=len(task.images),
        preset=nncf.QuantizationPreset.MIXED, target_device=nncf.TargetDevice.CPU,
    )  # fmt: skip
    onnx.save(model, task.target)


@torch.no_grad()
def brevitas_gptq(task: Task) -> None:
    """Equalization, MSE weight scales per channel, GPTQ and bias correction, as Brevitas' own example combines them."""
    examples = import_module("brevitas_examples.imagenet_classification.ptq.ptq_common")
    calibrate, gptq = import_module("brevitas.graph.calibrate"), import_module("brevitas.graph.gptq")
    prepared = import_module("brevitas.graph.quantize").preprocess_for_quantize(
        copy.deepcopy(task.network), equalize_iters=20, equalize_merge_bias=True, merge_bn=True
    )
    network = examples.quantize_model(
        prepared, backend="fx", weight_bit_width=task.setting["bits"], act_bit_width=8, bias_bit_width=32,
        weight_quant_granularity="per_channel", act_quant_percentile=99.999, act_quant_type="sym",
        scale_factor_type="float_scale", quant_format="int", weight_param_method="mse", act_param_method="stats",
    ).eval()  # fmt: skip
    batches = task.images.split(BATCH)
    network(batches[0])
    with calibrate.calibration_mode(network):
        _run(network, batches)
    with gptq.gptq_mode(network, act_order=False, use_quant_activations=False) as mode:
        for _ in range(mode.num_layers):
            _run(mode.model, batches)
            mode.update()
    with calibrate.bias_correction_mode(network):
        _run(network, batches)
    import_module("brevitas.export").export_onnx_qcdq(
        network, batches[0][:1], export_path=task.target, opset_version=17, input_names=["image"],
        output_names=["scores"], dynamic_axes={"image": {0: "n"}}, dynamo=False,
    )  # fmt: skip


def torch_prune(task: Task) -> None:
    """The smallest weights of all layers become zero."""
    prune = import_module("torch.nn.utils.prune")
    network = copy.deepcopy(task.network)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=task.setting["sparsity"])
    for layer in layers:
        prune.remove(layer, "weight")
    if task.setting["batch_norm"]:
        _measure_batch_norm_(network, task.images)
    task.write(network)


def torch_pruning(task: Task) -> None:
    """The best of three criteria, global and uniform, at half the multiply-accumulates; channels in multiples of 8."""
    tp = import_module("torch_pruning")
    importances = {
        "L1": tp.importance.GroupMagnitudeImportance(p=1), "L2": tp.importance.GroupMagnitudeImportance(p=2),
        "batch-norm scale": tp.importance.BNScaleImportance(),
    }  # fmt: skip
    found: list[tuple[float, int, nn.Module]] = []
    for importance in importances.values():
        for everywhere in (True, False):
            network = _half(tp, task, importance, everywhere)
            if network is not None:
                if task.setting["batch_norm"]:
                    _measure_batch_norm_(network, task.images)
                found.append((_validated(network, task.data), len(found), network))
    task.write(max(found)[2])


def _half(tp: Any, task: Task, importance: Any, everywhere: bool) -> nn.Module | None:
    """The network pruned by the least ratio, in steps of 1/40, that leaves at most half the MACs, or None."""
    example = task.images[:1]
    whole, _ = tp.utils.count_ops_and_params(task.network, example)
    for step in range(8, 36):
        network = copy.deepcopy(task.network)
        last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
        pruner = tp.pruner.BasePruner(
            network, example, importance=importance, pruning_ratio=step / 40, ignored_layers=[last],
            global_pruning=everywhere, round_to=8,
        )  # fmt: skip
        pruner.step()
        if tp.utils.count_ops_and_params(network, example)[0] <= whole / 2:
            return network
    return None


def _run(network: nn.Module, batches: tuple[torch.Tensor, ...]) -> None:
    for batch in batches:
        network(batch)


@torch.no_grad()
def _measure_batch_norm_(network: nn.Module, images: torch.Tensor) -> None:
    """Running statistics become the average over the batches of `images`."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    _run(network, images.split(BATCH))
    network.eval()


@torch.inference_mode()
def _validated(network: nn.Module, data: Dataset) -> float:
    """Accuracy on validation images: the test split chooses nothing."""
    images, labels = data.validation.images[:CHOSEN_ON], data.validation.labels[:CHOSEN_ON]
    scores = torch.cat([network.eval()(data.normalize(part)) for part in images.split(BATCH)])
    return float((classes(scores) == labels).float().mean())


@dataclass(frozen=True)
class Tool:
    """A peer: what carries it out, the package whose version is quoted, and what is loaded before it starts."""

    carry_out: Callable[[Task], None]
    package: str
    modules: tuple[str, ...]


TOOLS = {
    "quantize_static": Tool(quantize_static, "onnxruntime", ("onnxruntime.quantization",)),
    "nncf": Tool(nncf_quantize, "nncf", ("nncf", "nncf.onnx")),
    "brevitas": Tool(
        brevitas_gptq, "brevitas", ("brevitas_examples.imagenet_classification.ptq.ptq_common", "brevitas.export")
    ),
    "torch_prune": Tool(torch_prune, "torch", ("torch.nn.utils.prune",)),
    "torch_pruning": Tool(torch_pruning, "torch-pruning", ("torch_pruning",)),
}


def main(folder: Path) -> None:
    """Carries out the task in `folder`."""
    warnings.filterwarnings("ignore")
    asked = json.loads((folder / "task.json").read_text())
    tool = TOOLS[asked["tool"]]
    for module in tool.modules:
        import_module(module)
    weights = Path(asked["weights"]) if asked["weights"] else None
    network, data = inputs.load_inputs(asked["model"], asked["dataset"], weights=weights)
    if not isinstance(network, nn.Module):  # a program of torch.export, in which tools find no layers
        network = trace(network, data.input_shape)
    network.eval()
    images = torch.from_numpy(np.load(folder / "calibration.npy", allow_pickle=False))
    began = time.perf_counter()
    tool.carry_out(Task(folder, asked["setting"], network, data, images))
    seconds = time.perf_counter() - began
    facts = {"seconds": seconds, "version": version(tool.package), "peak_bytes": peak_bytes()}
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
