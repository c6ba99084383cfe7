"""What the lessons quote: every planned row measured on its file, and a few real images and moments to play with.

Writes compression/lessons/measured.json (machine, versions and the whole recipe with every row) and, where images are
missing or `--samples` asks for it, samples.safetensors. A row whose step this version does not know is left out, and
the lesson says that it is not measured.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import timm
import torch
from safetensors.numpy import save_file
from torch import nn

from compression import models
from compression.cli.console import Progress
from compression.data import Dataset, load
from compression.errors import UserError
from compression.export import export
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.lessons import architectures, distillation, measured
from compression.lessons.distillation import Course
from compression.lessons.pruning import STUDIED
from compression.lessons.tables import TABLES, Planned
from compression.measure.latency import latency
from compression.network.graph import module_of, operator_name
from compression.network.placement import placeable
from compression.network.tracing import trace
from compression.pipeline import candidate, compress, measuring, placing
from compression.records.measurement import Measurement

IMAGES_EACH_CLASS = 2
TEACHER_IMAGES = 1000
STUDY_IMAGES, STUDY_GROUP = 512, 16


def run(progress: Progress, *, timed: bool, only: tuple[str, ...] = (), missing: bool = False) -> str:
    """Measures every planned row (of the tables `only`, if named) once and writes them; a sentence says how many.

    Rows of other tables that were measured before stay, and with `missing` all that are measured. Without `timed` the
    milliseconds are left out.
    """
    wanted = {measured.key(p): p for name, table in TABLES.items() if not only or name in only for p in table}
    if missing:
        there = {measured.key(row.planned) for name in TABLES for row in measured.rows(name) if row.measurement}
        wanted = {key: planned for key, planned in wanted.items() if key not in there}
    known = {measured.key(planned) for table in TABLES.values() for planned in table}
    kept = {
        entry["key"]: entry
        for entry in measured.document().get("rows", ())
        if (only or missing) and entry["key"] in known
    }
    found = dict(kept)
    for key, entry in _rows(wanted, progress, timed=timed):
        found[key] = entry
        write({"machine": asdict(this_machine()), "at": datetime.now(UTC).isoformat(timespec="seconds"),
               "timed": timed or bool(kept), "rows": [found[k] for k in sorted(found)]})  # fmt: skip
    return f"{len(found)} of {len(known)} rows are measured."


def write_students() -> None:
    """How the lesson's students fare by temperature and alpha, and with an assistant; over seeds, on test images."""
    grid: list[dict[str, float]] = []
    for alpha in distillation.ALPHAS:
        for temperature in distillation.TEMPERATURES:
            if alpha == 0 and grid:  # the temperature plays no part
                grid.append({**grid[0], "temperature": temperature})
                continue
            found = [distillation.outcome(Course(temperature, alpha, seed=s)) for s in range(distillation.SEEDS)]
            grid.append({"temperature": temperature, "alpha": alpha, **_spread(found)})
    small = [Course(hidden=distillation.SMALL, seed=seed) for seed in range(distillation.SEEDS)]
    assistants = {
        "labels": _spread([distillation.outcome(replace(course, alpha=0.0)) for course in small]),
        "direct": _spread([distillation.outcome(course) for course in small]),
        "assistant": _spread([distillation.through_assistant(course) for course in small]),
    }
    write({"students": {"grid": grid, "assistants": assistants, "seeds": distillation.SEEDS}})


def _spread(found: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(found)), "deviation": float(np.std(found, ddof=1))}


def write_convolutions() -> None:
    """Each kind of block in ONNX Runtime, in turn with the standard one: 64 channels on maps of 14 × 14, one thread."""
    shape = (architectures.WIDTH, architectures.SIDE, architectures.SIDE)
    files = {kind: export(trace(block, shape), shape, packed=False).onnx for kind, block in _blocks().items()}
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    found = []
    for kind, file in files.items():
        took = latency(session(file), session(files["standard"]), image)
        share = architectures.share_of_standard(kind, shape[0], shape[0], architectures.KERNEL, architectures.GROUPS)
        found.append({"name": architectures.KINDS[kind], "macs_share": share, "time_share": took.ratio})
    write({"convolutions": found})


def write_placement() -> None:
    """MobileNetV3-small's operators timed in integers and in floats, and whole files of placements in turns with fp32.

    Its weights are random: latency does not depend on them.
    """
    torch.manual_seed(0)
    shape, machine = (3, 224, 224), this_machine()
    graph = trace(timm.create_model("mobilenetv3_small_100", pretrained=False).eval(), shape)
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    kinds = {n.name: operator_name(n) or type(module_of(graph, n)).__name__ for n in placeable(graph)}
    costs, flows = placing.kernel_costs(graph, shape, image, set(kinds))
    found = placing.measured(graph, shape, session(export(graph, shape, packed=False).onnx))
    listed = kinds if found.operators is None else found.operators
    write({"placement": {
        "operators": ["{} {} {:.6f} {:.6f}".format(name, kind, *costs[name]) for name, kind in kinds.items()],
        "flows": [f"{f.giver} {','.join(map(str, f.readers))} {f.into:.6f} {f.out_of:.6f}" for f in flows],
        "ratios": found.ratios, "chosen": found.chosen, "listed": sorted(listed),
        "cpu": machine.cpu, "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }})  # fmt: skip


def _blocks() -> dict[str, nn.Module]:
    """One block of each kind, with a pooling behind that is the same for all."""
    n, k, g = architectures.WIDTH, architectures.KERNEL, architectures.GROUPS
    torch.manual_seed(0)
    layers: dict[str, list[nn.Module]] = {
        "standard": [nn.Conv2d(n, n, k, padding=k // 2)],
        "grouped": [nn.Conv2d(n, n, k, padding=k // 2, groups=g)],
        "shuffled": [
            nn.Conv2d(n, n, 1, groups=g), nn.ChannelShuffle(g), nn.Conv2d(n, n, k, padding=k // 2, groups=n),
            nn.Conv2d(n, n, 1, groups=g),
        ],
        "separable": [nn.Conv2d(n, n, k, padding=k // 2, groups=n), nn.Conv2d(n, n, 1)],
    }  # fmt: skip
    return {kind: nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval() for kind, parts in layers.items()}


def write(values: dict[str, Any]) -> None:
    """Replaces what the file says under these names and keeps the rest."""
    measured.document.cache_clear()
    text = json.dumps(measured.document() | values, indent=1, sort_keys=True)
    measured.JSON.write_text(text + "\n", encoding="utf-8")
    measured.document.cache_clear()


def _rows(wanted: dict[str, Planned], progress: Progress, *, timed: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Network by network, so that each is calibrated once for each number of images."""
    data: dict[str, Dataset] = {}
    prepared: dict[tuple[Any, ...], candidate.Prepared] = {}
    for number, (key, planned) in enumerate(sorted(wanted.items(), key=_last_if_trained)):
        recipe = measured.recipe_of(planned)
        if recipe is None:
            continue
        progress(f"{planned.model}: {planned.name}", number / len(wanted))
        data.setdefault(planned.dataset, load(planned.dataset))
        same = (planned.model, planned.dataset, recipe.seed, recipe.calibration_images)
        try:
            if same not in prepared:
                prepared[same] = compress.prepare(
                    models.load(planned.model, planned.dataset), data[planned.dataset],
                    seed=recipe.seed, calibration_images=recipe.calibration_images,
                )  # fmt: skip
            result = measuring.measure(compress.compress_prepared(prepared[same], recipe), prepared[same])
        except UserError as error:
            progress(f"{planned.name}: {error}", number / len(wanted))
            continue
        yield key, _entry(key, planned, recipe.to_dict(), result if timed else replace(result, latency=None))


def _last_if_trained(row: tuple[str, Planned]) -> tuple[bool, str]:
    """Rows that are trained come last: they take longest."""
    key, planned = row
    return any(step["step"] == "recover" for step in planned.recipe["steps"]), key


def _entry(key: str, planned: Planned, recipe: dict[str, Any], result: Measurement) -> dict[str, Any]:
    return {"key": key, "model": planned.model, "dataset": planned.dataset, "recipe": recipe,
            "measurement": result.to_plain()}  # fmt: skip


def write_samples() -> None:
    """Real images, and for one layer the second moments and gradients over training images."""
    data, model = load("fashion-mnist"), models.load("resnet20", "fashion-mnist")
    places = _places(data.test.labels)
    second_moment, gradient_square = _study(model, data)
    save_file(
        {
            "images": data.test.images[places].numpy(),
            "labels": data.test.labels[places].numpy(),
            "places": places.numpy(),
            "second_moment": second_moment.astype(np.float32),
            "gradient_square": gradient_square.astype(np.float32),
            **_teachers_answers(model, data),
            **_digits(),
        },
        measured.SAMPLES,
        metadata={"source": data.source, "fingerprint": data.fingerprint, "layer": STUDIED},
    )
    measured.samples.cache_clear()


@torch.inference_mode()
def _teachers_answers(model: nn.Module, data: Dataset) -> dict[str, np.ndarray]:
    """The network's scores for validation images, and their labels."""
    scores = model(data.normalize(data.validation.images[:TEACHER_IMAGES]))
    labels = data.validation.labels[:TEACHER_IMAGES].numpy().astype(np.uint8)
    return {"teacher_scores": scores.numpy().astype(np.float16), "teacher_labels": labels}


def _digits() -> dict[str, np.ndarray]:
    """All of Digits in its three splits."""
    data, found = load("digits"), dict[str, np.ndarray]()
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        found[f"digits_{name}_images"] = split.images[:, 0].numpy()
        found[f"digits_{name}_labels"] = split.labels.numpy().astype(np.uint8)
    return found


def _places(labels: torch.Tensor) -> torch.Tensor:
    """The first images of each class, class by class."""
    return torch.cat([(labels == c).nonzero()[:IMAGES_EACH_CLASS, 0] for c in range(int(labels.max()) + 1)])


def _study(model: nn.Module, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Of the studied layer: Σ x xᵀ / n [d, d] of its patches, and its weights' squared gradients, averaged over groups.

    The loss is the cross-entropy with the labels of training images, in groups of STUDY_GROUP.
    """
    graph = trace(model, data.input_shape)
    layer = graph.get_submodule(STUDIED)
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    images = data.normalize(data.train.images[:STUDY_IMAGES]).split(STUDY_GROUP)
    squares = torch.zeros_like(layer.weight)  # type: ignore[arg-type]
    for group, labels in zip(images, data.train.labels[:STUDY_IMAGES].split(STUDY_GROUP), strict=True):
        loss = nn.functional.cross_entropy(graph(group), labels)
        squares += torch.autograd.grad(loss, layer.weight)[0].square() / len(images)  # type: ignore[arg-type]
    hook.remove()
    rows = nn.functional.unfold(torch.cat(seen), 3, padding=1).transpose(1, 2).flatten(0, 1)  # [n, d]
    return (rows.T @ rows / len(rows)).numpy(), squares.detach().numpy()
