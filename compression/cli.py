"""The command line: compress, measure, zoo, data, runs and jobs.

The result goes to stdout and nothing else does: one JSON object with `--json`, else a short table. Progress and errors
go to stderr. Exit code 0 is success, 2 a user's mistake (one sentence, no traceback), 1 any other failure. torch is
imported inside the commands, so that `--help` answers at once.
"""

import dataclasses
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compression import cli_machine, cli_store
from compression.console import (
    Progress,
    Row,
    check_writable,
    group,
    print_json,
    print_table,
    read_bytes,
    working,
    write_atomically,
)
from compression.errors import (
    InvalidFile,
    InvalidModel,
    InvalidRecipe,
    InvalidSetting,
    UnknownName,
)
from compression.measure.lock import computing, give_way
from compression.presets import PRESETS
from compression.recipe import Recipe
from compression.steps import STEPS, Settings, allowed, default_of

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from compression import training
    from compression.data import Dataset
    from compression.pipeline import Candidate, Prepared
    from compression.results import Measurement

    Model = nn.Module | ExportedProgram


app = group(help="Compress image classifiers and measure the file that comes out.")
zoo_app, data_app = group(help="Networks with trained weights."), group(help="Datasets.")
app.add_typer(zoo_app, name="zoo")
app.add_typer(data_app, name="data")
app.add_typer(cli_store.runs_app, name="runs")
app.add_typer(cli_store.jobs_app, name="jobs")
app.command()(cli_machine.machine)


def settings_help() -> str:
    """Every setting of a recipe with what it takes, its default and its description, read from the settings' fields."""
    lines = ["\b", "Settings for --set KEY=VALUE:"]
    for prefix, settings in [("", Recipe), *((f"{kind}.", settings) for kind, settings in STEPS.items())]:
        lines += _fields_help(prefix, settings)
    return "\n".join(lines)


def _fields_help(prefix: str, settings: type[Settings]) -> list[str]:
    lines: list[str] = []
    for name, field in settings.model_fields.items():
        if field.description:
            lines.append(f"  {prefix}{name}  {allowed(field)} [default: {default_of(field)}]")
            lines += textwrap.wrap(field.description, 72, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines


DatasetOption = Annotated[
    str, typer.Option("--dataset", help="A name from `data list`, or folder:PATH with train/ and test/.")
]
MeanOption = Annotated[
    str | None, typer.Option(help="Per channel, comma-separated, of pixels in [0, 1]; instead of the dataset's own.")
]
StdOption = Annotated[str | None, typer.Option(help="Like --mean: the standard deviations.")]
ThreadsOption = Annotated[int, typer.Option(min=1, max=256, help="Threads of the latency measurement.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(epilog=settings_help())
def compress(
    model: Annotated[str, typer.Option(help="A name from `zoo list`, or FILE.pt2 saved by torch.export.")],
    dataset: DatasetOption,
    weights: Annotated[Path | None, typer.Option(help="Own weights for a zoo model: FILE.safetensors.")] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Start from FILE.yaml or FILE.json.")] = None,
    preset: Annotated[str | None, typer.Option(help=f"Start from one of {', '.join(PRESETS)}.")] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=N.")] = None,
    threads: ThreadsOption = 1,
    out: Annotated[Path | None, typer.Option(help="Where to write the compressed .onnx file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compress a network and measure the file. What comes of the zoo's own weights is kept in the app's store too."""
    _check_model(model, weights)
    _check_dataset(dataset, folders=True)
    chosen = read_recipe(recipe, settings or [], seed, preset=preset)
    if out:
        check_writable(out, inputs=[file for file in (Path(model), weights, recipe) if file])
    known = not (weights or mean or std or _is_exported(model))
    with working() as progress, computing(quick=chosen.get("recover") is None):
        from compression import pipeline
        from compression.worker import Request

        data = load_data(dataset, mean, std)
        prepared = pipeline.prepare(
            load_model(model, data, weights), data,
            seed=chosen.seed, calibration_images=chosen.calibration_images, progress=progress, stop=_give_way,
        )  # fmt: skip
        candidate, measurement = carry_out(chosen, prepared, threads=threads, progress=progress, stop=_give_way)
        request = Request(model, data.name, dataset, chosen.to_json(), threads)
        run = cli_store.keep(request, prepared, candidate, measurement) if known else None
    if out:
        write_atomically(out, candidate.onnx)
    context = {"model": model, "dataset": dataset, "data_source": data.source, "recipe": chosen.to_dict(), "run": run}
    if as_json:
        return print_json(measurement.summary() | context | {"out": str(out) if out else None})
    rows = [("model", model), ("dataset", data.title), *_recipe_rows(chosen), *measurement_rows(measurement)]
    rows += [("file", str(out))] if out else []
    print_table([*rows, ("run", run)] if run else rows)


@app.command()
def measure(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="Any classifier that takes the dataset's images.")],
    dataset: DatasetOption,
    baseline: Annotated[
        Path | None, typer.Option(help="FILE.onnx to compare with; else the file is its own baseline.")
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Measure any ONNX classifier."""
    _check_dataset(dataset, folders=True)
    content, reference = read_bytes(file), read_bytes(baseline) if baseline else None
    with working() as progress:
        from compression import pipeline

        data = load_data(dataset, mean, std)
        progress("Measuring the file", 0.0)
        measurement = pipeline.measure_file(content, data, baseline=reference, threads=threads)
    if as_json:
        context = {"file": str(file), "baseline": str(baseline) if baseline else None, "dataset": dataset}
        return print_json(measurement.summary() | context | {"data_source": data.source})
    rows = [("file", str(file)), ("dataset", data.title), *measurement_rows(measurement)]
    print_table(rows if baseline else [row[:2] for row in rows])


@zoo_app.command("list")
def zoo_list(as_json: JsonOption = False) -> None:
    """List the stored weights with their measured accuracy."""
    from compression.zoo import ARCHITECTURES, cards

    known = cards()
    if as_json:
        return print_json([dataclasses.asdict(card) for card in known])
    rows: list[Row] = [("MODEL", "DATASET", "ACCURACY", "PARAMETERS", "NETWORK")]
    for card in known:
        title = ARCHITECTURES[card.model].title
        rows.append((card.model, card.dataset, f"{card.test_accuracy:.2%}", f"{card.parameters:,}", title))
    stored = {card.model for card in known}
    rows += [(name, "(none yet)", "", "", a.title) for name, a in ARCHITECTURES.items() if name not in stored]
    print_table(rows)


@zoo_app.command("train")
def zoo_train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `zoo list`.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A name from `data list`.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's number.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides first weights, order and augmentation.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default the GPU where there is one.")] = None,
    teacher: Annotated[str | None, typer.Option(help="A network of the zoo to learn from, e.g. resnet56.")] = None,
    assistant: Annotated[str | None, typer.Option(help="Learns from the teacher first, then teaches.")] = None,
    temperature: Annotated[float, typer.Option(min=1, max=20, help="How far the teacher's answers are softened.")] = 4,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Weight of the teacher; the rest are the labels.")] = 0.9,
    out: Annotated[Path | None, typer.Option(help="Folder for the weights and their card.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network and store its weights and card."""
    from compression.zoo import ARCHITECTURES

    for name in (model, *filter(None, (teacher, assistant))):
        _check_known("model", name, ARCHITECTURES)
    if assistant and not teacher:
        raise InvalidSetting("--assistant goes with --teacher: somebody must teach the assistant.")
    _check_dataset(dataset)
    if out and out.exists() and not out.is_dir():
        raise InvalidFile(f"--out {str(out)!r} is not a folder; weights and card are two files in one.")
    with working() as progress, computing():
        import torch

        from compression import zoo

        chosen = _device(device, has_gpu=torch.cuda.is_available())
        lesson = zoo.Lesson(teacher, temperature, alpha, assistant=assistant) if teacher else None
        card = zoo.train(
            model, dataset, epochs=epochs, seed=seed, device=chosen, out=out, lesson=lesson,
            progress=_training_line(progress), stop=_give_way,
        )  # fmt: skip
    if as_json:
        return print_json(dataclasses.asdict(card))
    print_table([
        ("model", model), ("dataset", card.source),
        ("accuracy", f"{card.test_accuracy:.2%} of {card.test_images:,} test images"),
        ("training", f"{card.epochs} epochs, seed {card.seed}, {card.training_seconds:.0f} s on {card.hardware}"),
    ])  # fmt: skip


@data_app.command("list")
def data_list(as_json: JsonOption = False) -> None:
    """List the datasets that have a name."""
    from compression.data import DATASETS

    if as_json:
        return print_json([dataclasses.asdict(spec) for spec in DATASETS.values()])
    rows: list[Row] = [("DATASET", "TITLE", "CLASSES", "IMAGES")]
    for spec in DATASETS.values():
        rows.append((spec.name, spec.title, str(spec.classes), "×".join(map(str, spec.input_shape))))
    print_table([*rows, ("folder:PATH", "your own, with train/CLASS/IMAGE and test/CLASS/IMAGE")])


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `data list`.")], as_json: JsonOption = False
) -> None:
    """Get a dataset onto this machine and say where it came from."""
    _check_dataset(name)
    with working() as progress:
        progress(f"Fetching {name}", 0.0)
        data = load_data(name)
    counts = {part: len(getattr(data, part)) for part in ("train", "validation", "test")}
    if as_json:
        return print_json({"dataset": name, "source": data.source, **counts})
    print_table([("source", data.source), ("images", ", ".join(f"{n:,} {part}" for part, n in counts.items()))])


def _check_known(kind: str, name: str, known: Any) -> None:
    if name not in known:
        raise UnknownName(kind, name, known)


def _check_dataset(name: str, *, folders: bool = False) -> None:
    from compression.data import DATASETS

    if not (folders and name.startswith("folder:")):
        _check_known("dataset", name, [*DATASETS, "folder:PATH"] if folders else DATASETS)


def _device(name: str | None, *, has_gpu: bool) -> str:
    if name not in (None, "cpu", "cuda"):
        raise InvalidSetting(f"--device must be cpu or cuda, not {name!r}.")
    if name == "cuda" and not has_gpu:
        raise InvalidSetting("--device cuda needs a GPU that torch can use, and there is none; cpu always works.")
    return name or ("cuda" if has_gpu else "cpu")


def _training_line(progress: Progress) -> "Callable[[training.Progress], None]":
    """A training's progress as a sentence and a share; off a terminal that is one line an epoch."""

    def show(now: "training.Progress") -> None:
        reached = "" if now.accuracy is None else f", validation {now.accuracy:.2%}"
        left = f", loss {now.loss:.3f}, {now.seconds_left:.0f} s left" if progress.live else ""
        progress(f"Epoch {now.epoch + 1} of {now.epochs}{reached}{left}", now.step / now.steps)

    return show


def _give_way() -> bool:
    """Pauses where somebody on this machine takes the time, or waits at a slider; never ends the work."""
    give_way()
    return False


def carry_out(
    recipe: Recipe,
    prepared: "Prepared",
    *,
    threads: int = 1,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple["Candidate", "Measurement"]:
    """The file that `recipe` makes of a prepared network, and its measurement on the whole test split."""
    from compression import pipeline

    candidate = pipeline.compress_prepared(prepared, recipe, progress=progress, stop=stop)
    if progress:
        progress("Measuring the file", 0.0)
    return candidate, pipeline.measure(candidate, prepared, threads=threads, stop=stop)


def read_recipe(file: Path | None, settings: list[str], seed: int | None, *, preset: str | None = None) -> Recipe:
    """The recipe in `file` or that of the preset, else none, with each KEY=VALUE of `settings` and with `seed`."""
    if file and preset:
        raise InvalidSetting(f"--recipe and --preset are two places to start from: leave out {file} or {preset}.")
    if preset:
        _check_known("preset", preset, PRESETS)
    recipe = _recipe_in(file) if file else PRESETS[preset].recipe if preset else Recipe()
    changes: dict[str, Any] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise InvalidSetting(f"--set takes KEY=VALUE, for example prune.sparsity=0.5, not {setting!r}.")
        changes[path.strip()] = value.strip()
    return recipe.with_settings(changes if seed is None else changes | {"seed": seed})


def _recipe_in(file: Path) -> Recipe:
    readers = {".yaml": Recipe.from_yaml, ".yml": Recipe.from_yaml, ".json": Recipe.from_json}
    if file.suffix.lower() not in readers:
        raise InvalidFile(f"A recipe file ends in {', '.join(readers)}, not {file.suffix!r} as in {str(file)!r}.")
    try:
        return readers[file.suffix.lower()](read_bytes(file).decode())
    except UnicodeDecodeError:
        raise InvalidRecipe(f"{str(file)!r} is not a recipe: it is not text in UTF-8.") from None


def load_data(dataset: str, mean: str | None = None, std: str | None = None) -> "Dataset":
    """The dataset, with its normalisation replaced where `mean` or `std` ('0.49,0.48,0.45') are given."""
    from compression import data

    loaded = data.load(dataset)
    given = {
        name: _per_channel(f"--{name}", text, loaded.input_shape[0])
        for name, text in (("mean", mean), ("std", std))
        if text is not None
    }
    if any(value <= 0 for value in given.get("std", ())):
        raise InvalidSetting(f"--std must be above 0 in every channel, not {std!r}.")
    return dataclasses.replace(loaded, **given)  # type: ignore[arg-type]


def _per_channel(option: str, text: str, channels: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != channels or not all(map(math.isfinite, values)):
        wanted = "1 number" if channels == 1 else f"{channels} comma-separated numbers, one per channel"
        raise InvalidSetting(f"{option} takes {wanted}, not {text!r}.")
    return values


def load_model(model: str, data: "Dataset", weights: Path | None = None) -> "Model":
    """A zoo network with its stored weights or those of `weights`, or the network in FILE.pt2."""
    from compression import pt2, zoo
    from compression.zoo import stored

    _check_model(model, weights)
    if _is_exported(model):
        return pt2.load_pt2(model)
    if not weights:
        return zoo.load(model, data.name)
    network = zoo.build(model, input_shape=data.input_shape, classes=len(data.classes))
    return stored.read_weights(network, weights)


def _check_model(model: str, weights: Path | None) -> None:
    """Refuses what cannot be loaded, without loading torch."""
    from compression.zoo import ARCHITECTURES

    if _is_exported(model) and weights:
        raise InvalidModel(f"--weights goes with a model of the zoo; {model!r} brings its own.")
    if not _is_exported(model):
        _check_known("model", model, [*ARCHITECTURES, "FILE.pt2"])
    file = Path(model) if _is_exported(model) else weights
    if file and not file.is_file():
        raise InvalidFile(f"There is no file {str(file)!r}.")


def _is_exported(model: str) -> bool:
    return model.lower().endswith(".pt2")


def _recipe_rows(recipe: Recipe) -> list[Row]:
    shared = {"seed": recipe.seed, "calibration_images": recipe.calibration_images, "batch_norm": recipe.batch_norm}
    settings = [("recipe", shared), *((step.kind, step.model_dump()) for step in recipe.steps)]
    return [(kind, ", ".join(f"{name} {value}" for name, value in values.items())) for kind, values in settings]


def measurement_rows(measurement: "Measurement") -> list[Row]:
    """A measurement as (name, value, remark) for people: percent, KB, milliseconds."""
    accuracy, latency = measurement.accuracy, measurement.latency
    rows: list[Row] = [
        (
            "accuracy",
            f"{accuracy.value:.2%} ({accuracy.interval.low:.2%} to {accuracy.interval.high:.2%})",
            f"baseline {accuracy.baseline:.2%}, {0.0 - 100 * accuracy.drop:+.2f} points, {measurement.n_test:,} images",
        ),
        (
            "size",
            f"{measurement.size_bytes / 1000:,.1f} KB",
            f"baseline {measurement.baseline_size_bytes / 1000:,.1f} KB, {measurement.size_ratio:.1f} times smaller",
        ),
    ]
    if latency:
        low, high = latency.ratio_interval.low, latency.ratio_interval.high
        rows.append((
            "latency",
            f"{latency.p50_ms:.3f} ms (p95 {latency.p95_ms:.3f}), threads: {latency.threads}",
            f"baseline {latency.baseline_p50_ms:.3f} ms, {latency.ratio:.2f} of it ({low:.2f} to {high:.2f})",
        ))  # fmt: skip
    if measurement.macs:
        rows.append(("cost", f"{measurement.macs:,} MACs, {measurement.parameters:,} parameters"))
    for found in measurement.reached:
        asked = "" if found.requested is None else f", {found.requested:.1%} asked for"
        rows.append((found.step, f"{found.reached:.1%} of the {found.measure} removed{asked}", found.note))
    return rows
