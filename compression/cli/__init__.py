"""The command line: compress, measure, search, models, data, runs, jobs, usage and what workers and probes need.

The result goes to stdout and nothing else does: one JSON object with `--json`, else a short table. Progress and errors
go to stderr. Exit code 0 is success, 2 a user's mistake (one sentence, no traceback), 1 any other failure. torch is
imported inside the commands, so that `--help` answers at once.
"""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compression.cli import cluster, machine, pictures, probe, search, store, usage, zoo
from compression.cli.console import (
    JsonOption,
    Progress,
    Row,
    check_readable,
    check_writable,
    group,
    print_json,
    print_table,
    working,
    write_file,
)
from compression.cli.inputs import (
    check_dataset,
    check_model,
    is_own,
    load_data,
    load_images,
    load_inputs,
    pause_for_others,
    read_recipe,
    sampled,
)
from compression.cli.tflite import is_tflite, measure_tflite, prepared_recipe, tflite_json, tflite_rows, write_tflite
from compression.errors import InvalidSetting
from compression.host.machine_lock import work_turn
from compression.language import N_, _
from compression.models import OWN
from compression.models.sources import parse
from compression.recipe import Recipe
from compression.recipe.machine_defaults import default_of
from compression.recipe.presets import PRESETS
from compression.steps import STEPS, Settings, allowed

if TYPE_CHECKING:
    from compression.pipeline.candidate import Candidate, Prepared
    from compression.records.measurement import Latency, Measurement, Reached
    from compression.records.tflite import TfliteMeasurement

app = group(help=N_("Compress image classifiers and measure the resulting file."))
app.add_typer(zoo.zoo_app, name="models")
app.add_typer(zoo.zoo_app, name="zoo", hidden=True)
app.add_typer(pictures.data_app, name="data")
app.add_typer(store.runs_app, name="runs")
app.add_typer(store.jobs_app, name="jobs")
app.add_typer(probe.probe_app, name="probe")
app.command()(machine.machine)
app.command()(search.search)
app.command()(cluster.scheduler)
app.command()(cluster.worker)
app.command()(cluster.certificates)
app.command()(usage.usage)


def settings_help() -> str:
    """Every setting of a recipe with what it takes, its default and its description, read from the settings' fields."""
    lines = ["\b", _("Settings for --set KEY=VALUE:")]
    every: dict[str, type[Settings]] = {"": Recipe, **{f"{kind}.": settings for kind, settings in STEPS.items()}}
    for prefix, settings in every.items():
        lines += _fields_help(prefix, settings)
    return "\n".join(lines)


def _fields_help(prefix: str, settings: type[Settings]) -> list[str]:
    lines: list[str] = []
    for name, field in settings.model_fields.items():
        if field.description:
            lines.append(f"  {prefix}{name}  {allowed(field)} [default: {default_of(field)}]")
            lines += textwrap.wrap(field.description, 72, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines


DatasetOption = Annotated[str, typer.Option("--dataset", help="A name from `data list`, or folder:PATH with images.")]
MeanOption = Annotated[
    str | None, typer.Option(help="Mean per channel of pixels in [0, 1], comma-separated. Default: the dataset's.")
]
StdOption = Annotated[str | None, typer.Option(help="Standard deviation per channel, like --mean.")]
TestImagesOption = Annotated[
    int | None, typer.Option(min=1, help="Number of test images, sampled by the seed. Default: all.")
]
ThreadsOption = Annotated[int, typer.Option(min=1, max=256, help="Threads for the latency measurement.")]


@app.command(epilog=settings_help())
def compress(
    model: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="A name from `models list`, torchvision:NAME, timm:NAME, timm:hf_hub:OWNER/NAME, FILE.onnx, FILE.pt2.",
        ),
    ],
    dataset: DatasetOption,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a network given by name: FILE.safetensors, .pth or .pt.")
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting; can be repeated.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file to start from (.yaml or .json).")] = None,
    preset: Annotated[str | None, typer.Option(help=f"Preset to start from: {', '.join(PRESETS)}.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as --set seed=N.")] = None,
    threads: ThreadsOption = 1,
    test_images: TestImagesOption = None,
    out: Annotated[Path | None, typer.Option(help="Output file: .onnx or .tflite.")] = None,
    in_4_bits: Annotated[
        bool, typer.Option("--tflite-4-bit", help="In a .tflite file, weights take 4 bits where they fit.")
    ] = False,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="Also write FILE.pixels.onnx, which takes uint8 images.")
    ] = False,
    class_map: Annotated[
        Path | None, typer.Option(help="FILE.csv with lines CLASS,OUTPUT for class names that do not match.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compress a network and measure the file. Results of networks in the list are also stored for the app."""
    check_model(model, weights)
    check_dataset(dataset, folders=True)
    chosen = read_recipe(recipe, settings or [], seed, preset=preset)
    dataset = sampled(dataset, test_images, chosen.seed)
    as_tflite = is_tflite(out)
    if in_4_bits and not as_tflite:
        raise InvalidSetting("--tflite-4-bit goes with --out FILE.tflite, whose weights then take 4 bits.")
    if as_tflite:
        chosen, form = prepared_recipe(chosen, in_4_bits)
    if with_preprocessing and (not out or as_tflite):
        raise InvalidSetting("--with-preprocessing goes with --out FILE.onnx: the second file is written beside it.")
    if out:
        check_writable(out, inputs=[file for file in (Path(model), weights, recipe) if file],
                       ending=".tflite" if as_tflite else ".onnx")  # fmt: skip
    known = not (weights or mean or std) and parse(model).kind == "name"
    with working() as progress:
        from compression.jobs.messages import Request
        from compression.pipeline.compress import prepare

        network, data = load_inputs(
            model, dataset, weights=weights, mean=mean, std=std, class_map=class_map, progress=progress
        )
        with work_turn(quick=chosen.get("recover") is None):
            prepared = prepare(
                network, data,
                seed=chosen.seed, calibration_images=chosen.calibration_images,
                progress=progress, stop=pause_for_others,
            )  # fmt: skip
            candidate, measurement = carry_out(
                chosen, prepared, threads=threads, progress=progress, stop=pause_for_others
            )
            device = write_tflite(out, candidate, prepared, form) if out and as_tflite else None
            if out and not as_tflite:
                write_file(out, candidate.onnx)
            pixels = write_pixels(out, candidate, prepared) if out and with_preprocessing else None
            request = Request(model, OWN if is_own(model) else data.name, dataset, chosen.to_json(), threads)
            run = store.store_result(request, prepared, candidate, measurement) if known else None
    context = {
        "model": model, "dataset": dataset, "data_source": data.source, "notes": list(prepared.data.notes),
        "skipped": list(prepared.data.skipped),
        "recipe": chosen.to_dict(), "recipe_as_made": chosen.as_made(measurement.reached).to_dict(), "run": run,
        "out": str(out) if out else None, "out_pixels": str(pixels) if pixels else None,
        "tflite": tflite_json(device) if device else None,
    }  # fmt: skip
    if as_json:
        return print_json(measurement.summary() | context)
    print_table(_compressed_rows(context, chosen, data.title, measurement, device))


def _compressed_rows(
    context: dict[str, Any], recipe: Recipe, title: str, measurement: "Measurement", device: "TfliteMeasurement | None"
) -> list[Row]:
    rows: list[Row] = [("model", context["model"]), ("dataset", title), *_recipe_rows(recipe)]
    rows += measurement_rows(measurement)
    rows += [("file", context["out"])] if context["out"] else []
    rows += tflite_rows(device, ".onnx file") if device else []
    rows += [(_("takes pixels"), context["out_pixels"])] if context["out_pixels"] else []
    if skipped := context["skipped"]:
        rows.append(
            (
                _("left out"),
                _("{count:,} images that cannot be decoded, first {skipped}", count=len(skipped), skipped=skipped[0]),
            )
        )
    rows += [("note", note) for note in context["notes"]]
    return [*rows, ("run", context["run"])] if context["run"] else rows


@app.command()
def measure(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx or .tflite classifier for the dataset.")],
    dataset: DatasetOption,
    baseline: Annotated[Path | None, typer.Option(help="Baseline FILE.onnx. Default: the file itself.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Network in the list that the file was made from; its preprocessing is used.")
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    threads: ThreadsOption = 1,
    test_images: TestImagesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure any classifier in an ONNX or .tflite file."""
    check_dataset(dataset, folders=True)
    dataset = sampled(dataset, test_images, 0)
    for given in filter(None, (file, baseline)):
        check_readable(given)
    if is_tflite(file) and threads != 1:
        raise InvalidSetting("A .tflite file is timed on one thread; leave --threads out.")
    with working() as progress:
        from compression.pipeline import measuring

        data = load_images(model, dataset, mean, std) if model else load_data(dataset, mean, std)
        progress(_("Measuring the file"), 0.0)
        with work_turn(quick=True):
            if is_tflite(file):
                told, rows = measure_tflite(file, data, baseline, pause_for_others)
            else:
                found = measuring.measure_file(file, data, baseline=baseline, threads=threads, stop=pause_for_others)
                told, rows = found.summary(), measurement_rows(found)
                rows = rows if baseline else [row[:2] for row in rows]
    if as_json:
        context = {"file": str(file), "baseline": str(baseline) if baseline else None, "dataset": dataset}
        return print_json(told | context | {"data_source": data.source, "notes": list(data.notes)})
    notes = [("note", note) for note in data.notes]
    print_table([("file", str(file)), ("dataset", data.title), *rows, *notes])


def carry_out(
    recipe: Recipe,
    prepared: "Prepared",
    *,
    threads: int = 1,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple["Candidate", "Measurement"]:
    """The file that `recipe` makes of a prepared network, and its measurement on the whole test split."""
    from compression.pipeline import measuring
    from compression.pipeline.compress import compress_prepared

    candidate = compress_prepared(prepared, recipe, progress=progress, stop=stop)
    if progress:
        progress(_("Measuring the file"), 0.0)
    return candidate, measuring.measure(candidate, prepared, threads=threads, stop=stop)


def _answers_row(measurement: "Measurement") -> Row:
    """Accuracy or, of images without labels, agreement with the baseline."""
    found = measurement.accuracy
    share = _(
        "{value:.2%} ({low:.2%} to {high:.2%})", value=found.value, low=found.interval.low, high=found.interval.high
    )
    if found.reference == "fp32":
        return "agreement", share, _("with the fp32 file, {n_test:,} unlabelled images", n_test=measurement.n_test)
    told = _(
        "baseline {baseline:.2%}, {drop:+.2f} points, {n_test:,} images",
        baseline=found.baseline,
        drop=0.0 - 100 * found.drop,
        n_test=measurement.n_test,
    )
    return "accuracy", share, told


def write_pixels(out: Path, candidate: "Candidate", prepared: "Prepared") -> Path:
    """Writes the candidate's file with preprocessing inside beside `out`, once it is verified; returns its path."""
    from compression.export.snippets import PIXELS_SUFFIX
    from compression.pipeline.verification import with_preprocessing

    path = out.with_name(out.name.removesuffix(".onnx") + PIXELS_SUFFIX)
    write_file(path, with_preprocessing(candidate.onnx, prepared.data))
    return path


def _recipe_rows(recipe: Recipe) -> list[Row]:
    shared = {"seed": recipe.seed, "calibration_images": recipe.calibration_images, "batch_norm": recipe.batch_norm}
    settings = [("recipe", shared), *((step.kind, step.model_dump()) for step in recipe.steps)]
    return [(kind, ", ".join(f"{name} {value}" for name, value in values.items())) for kind, values in settings]


def measurement_rows(measurement: "Measurement") -> list[Row]:
    """A measurement as (name, value, remark) for people: percent, KB, milliseconds."""
    latency = measurement.latency
    rows: list[Row] = [
        _answers_row(measurement),
        (
            "size",
            f"{measurement.size_bytes / 1000:,.1f} KB",
            _(
                "baseline {baseline_size_bytes:,.1f} KB, {size_ratio:.1f}× smaller",
                baseline_size_bytes=measurement.baseline_size_bytes / 1000,
                size_ratio=measurement.size_ratio,
            ),
        ),
    ]
    if latency:
        rows.append(_latency_row(latency))
    if measurement.macs:
        cost = _("{macs:,} MACs, {parameters:,} parameters", macs=measurement.macs, parameters=measurement.parameters)
        rows.append(("cost", cost))
    return [*rows, *map(_reached_row, measurement.reached)]


def _latency_row(latency: "Latency") -> Row:
    """Milliseconds of an image, or of as many as a file takes at once, and the ratio to the baseline."""
    together = _(" for {batch} images at once", batch=latency.batch) if latency.batch > 1 else ""
    took = _(
        "{p50_ms:.3f} ms{together} (p95 {p95_ms:.3f}), threads: {threads}",
        p50_ms=latency.p50_ms,
        together=together,
        p95_ms=latency.p95_ms,
        threads=latency.threads,
    )
    beside = _(
        "baseline {baseline_p50_ms:.3f} ms, ratio {ratio:.2f} ({low:.2f} to {high:.2f})",
        baseline_p50_ms=latency.baseline_p50_ms,
        ratio=latency.ratio,
        low=latency.ratio_interval.low,
        high=latency.ratio_interval.high,
    )
    return "latency", took, beside


def _reached_row(found: "Reached") -> Row:
    """How far a step went, beside what was asked of it."""
    from compression.records.measurement import OPERATORS

    if found.measure == OPERATORS:
        told = _("{reached:.0%} of the {measure}", reached=found.reached, measure=found.measure)
    else:
        asked = "" if found.requested is None else _(", {requested:.1%} requested", requested=found.requested)
        told = _(
            "{reached:.1%} of the {measure} removed{asked}", reached=found.reached, measure=found.measure, asked=asked
        )
    return found.step, told, found.note
