"""`python -m benchmarks [slider | accuracy | files | lessons | sweep | roofline | ui | …]`; see the docstring there."""

import before_compression  # noqa: F401 - before everything else: see there

# isort: split
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.quiet import Quiet, found, require_quiet
from benchmarks.report import publish
from compression.cli.console import Sentences, working
from compression.host.folders import user_folder

ModelOption = Annotated[str, typer.Option(help="A model of the zoo with stored weights for the dataset, or FILE.pt2.")]
DatasetOption = Annotated[str, typer.Option(help="A name from `python -m compression data list`, or folder:PATH.")]
SourceOption = Annotated[str, typer.Option(help="From any source, as `python -m compression compress` takes it.")]
WeightsOption = Annotated[Path | None, typer.Option(help="For a network of torchvision or timm: a file.")]
CalibrationOption = Annotated[int, typer.Option(min=16, max=1024, help="Images to calibrate on.")]
OutOption = Annotated[Path | None, typer.Option(file_okay=False, help="Folder for JSON and Markdown, not stdout.")]

app = typer.Typer(cls=Sentences, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    model: ModelOption = "resnet20",
    dataset: DatasetOption = "fashion-mnist",
    out: OutOption = None,
) -> None:
    """Measure on a quiet machine; without a command, everything."""
    if context.invoked_subcommand is None:
        slider(model, dataset, out)
        from benchmarks.accuracy import Subject

        _accuracy(Subject(model, dataset), out, require_quiet(load_counts=False))
        _run("files", model, dataset, out, after_another=True)


@app.command()
def slider(model: ModelOption = "resnet20", dataset: DatasetOption = "fashion-mnist", out: OutOption = None) -> None:
    """Seconds from a slider's position to its measured points."""
    _run("slider", model, dataset, out)


@app.command()
def accuracy(
    model: SourceOption = "resnet20",
    dataset: DatasetOption = "fashion-mnist",
    weights: WeightsOption = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this row; may be given several times.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="For every row besides: KEY=VALUE.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    calibration: CalibrationOption = 512,
    busy: Annotated[bool, typer.Option(help="Leave out latency, and measure on a busy machine.")] = False,
    out: OutOption = None,
) -> None:
    """Accuracy lost, bytes and time for a list of recipes, over three seeds."""
    from benchmarks.accuracy import Subject

    subject = Subject(model, dataset, weights, calibration, tuple(settings or ()))
    _accuracy(subject, out, found() if busy else require_quiet(), only=tuple(only or ()), seeds=range(seeds), busy=busy)


@app.command()
def files(model: ModelOption = "resnet20", dataset: DatasetOption = "fashion-mnist", out: OutOption = None) -> None:
    """Bytes, latency, loading time and memory of packed files beside unpacked ones and ONNX Runtime's quantizer."""
    _run("files", model, dataset, out)


@app.command()
def sweep(model: ModelOption = "resnet20", dataset: DatasetOption = "fashion-mnist", out: OutOption = None) -> None:
    """Seconds of the sensitivity of every layer, as the page Layers finds it out."""
    _run("sweep", model, dataset, out)


@app.command()
def roofline(
    model: Annotated[str, typer.Option(help="A model of the zoo, or all that have weights: zoo.")] = "zoo",
    dataset: DatasetOption = "fashion-mnist",
    out: OutOption = None,
) -> None:
    """Estimated over measured latency, fp32 and int8, for the networks of the zoo."""
    _run("roofline", model, dataset, out)


@app.command()
def screenshots(
    only: Annotated[list[str] | None, typer.Option(help="Only this page; several times.")] = None,
    photos: Annotated[
        Path | None,
        typer.Option(exists=True, help="Archive of CIFAR-10's images, for the first picture of each README."),
    ] = None,
) -> None:
    """Pictures of every page into docs/screenshots: light, dark and narrow."""
    from benchmarks import screenshots as pictures

    with working() as progress:
        said = pictures.run(progress, tuple(only or ()), photos)
    typer.echo(said, err=True)


@app.command()
def recovery(
    model: ModelOption = "resnet20",
    dataset: DatasetOption = "fashion-mnist",
    minutes: Annotated[float, typer.Option(min=0.01, help="Of training, for each row and seed.")] = 3.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of minutes.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Only this row; may be given several times.")] = None,
    temperatures: Annotated[bool, typer.Option(help="T = 1, 2, 5, 10, 20 for the fp32 and the 3-bit student.")] = False,
    busy: Annotated[bool, typer.Option(help="Run on a machine that is not quiet; give --steps.")] = False,
    out: OutOption = None,
) -> None:
    """Accuracy before and after recovery by training, beside the dense network given the same steps."""
    from benchmarks import recovery as measurements
    from benchmarks.quiet import found

    quiet = found() if busy else require_quiet()
    folder = out or user_folder() / "benchmarks"
    lines = folder / f"recovery-{Path(model).stem}-{Path(dataset.removeprefix('folder:')).stem}.jsonl"
    typer.echo(f"Each result is kept in {lines}.", err=True)
    with working() as progress:
        report = measurements.run(
            model, dataset, quiet, progress, minutes=minutes, steps=steps, seeds=range(seeds), rows=tuple(only or ()),
            temperatures=temperatures, lines=lines,
        )  # fmt: skip
    publish(report, out)


@app.command()
def students(
    model: ModelOption = "resnet20_quarter",
    dataset: DatasetOption = "fashion-mnist",
    teacher: Annotated[str, typer.Option(help="A network of the zoo with stored weights.")] = "resnet56",
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the student's own number.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    out: OutOption = None,
) -> None:
    """A small network trained from scratch, plainly and by a teacher; on a busy machine too."""
    from benchmarks import students as measurements
    from benchmarks.quiet import found

    with working() as progress:
        report = measurements.run(model, dataset, found(), progress, teacher=teacher, epochs=epochs, seeds=range(seeds))
    publish(report, out)


@app.command()
def lessons(
    busy: Annotated[bool, typer.Option(help="Leave out latency, and measure on a busy machine.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this table; may be given several times.")] = None,
    missing: Annotated[bool, typer.Option(help="Only rows that are not measured yet.")] = False,
    samples: Annotated[bool, typer.Option(help="Collect the sample images anew as well.")] = False,
) -> None:
    """What the lessons quote, into compression/lessons/measured.json: about 8 minutes."""
    from benchmarks import lessons as measurements

    if not busy:
        require_quiet()
    with working() as progress:
        if samples or not measurements.measured.SAMPLES.is_file():
            measurements.write_samples()
        if "students" in (only or ()) or not (only or missing):
            measurements.write_students()
        if not busy and ("convolutions" in (only or ()) or not only):
            measurements.write_convolutions()
        if not busy and ("placement" in (only or ()) or not (only or missing)):
            measurements.write_placement()
        said = measurements.run(progress, timed=not busy, only=tuple(only or ()), missing=missing)
    typer.echo(said, err=True)


@app.command()
def peers(
    model: SourceOption = "resnet20",
    dataset: DatasetOption = "fashion-mnist",
    weights: WeightsOption = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this compression; may be given several times.")] = None,
    calibration: CalibrationOption = 512,
    limit: Annotated[float, typer.Option(min=1, help="Seconds after which a peer is stopped.")] = 300,
    busy: Annotated[bool, typer.Option(help="Leave out latency, and measure on a busy machine.")] = False,
    out: OutOption = None,
) -> None:
    """Accuracy, bytes, latency, seconds and memory beside other tools; install requirements-bench.txt first."""
    from benchmarks import peers as measurements
    from benchmarks.accuracy import Subject

    quiet = found() if busy else require_quiet()
    subject = Subject(model, dataset, weights, calibration)
    with working() as progress:
        report = measurements.run(subject, quiet, progress, only=tuple(only or ()), limit_s=limit, busy=busy)
    publish(report, out)


@app.command()
def ui(model: ModelOption = "lenet5", dataset: DatasetOption = "digits", out: OutOption = None) -> None:
    """What a person at the browser waits for; needs Chromium and requirements-dev.txt."""
    _run("ui", model, dataset, out)


@app.command()
def browser(model: ModelOption = "resnet20", dataset: DatasetOption = "digits", out: OutOption = None) -> None:
    """Packed files beside unpacked ones in Chromium's WebAssembly, in turns; what else runs slows all alike."""
    from benchmarks import browser as measurement
    from benchmarks.quiet import found

    with working() as progress:
        report = measurement.run(model, dataset, found(), progress)
    publish(report, out)


@app.command()
def runtimes(
    preset: Annotated[str, typer.Option(help="A name from `python -m compression recipe presets`.")] = "8-bit",
    only: Annotated[list[str] | None, typer.Option(help="MODEL/DATASET; several times. Default: all.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Images that TensorFlow Lite Micro answers at most.")] = 10_000,
    out: OutOption = None,
) -> None:
    """Answers of LiteRT and TFLM beside those of the int8 ONNX file, for every network with weights."""
    from benchmarks import runtimes as measurement
    from benchmarks.quiet import found

    lines = (out or user_folder() / "benchmarks") / f"runtimes-{preset}.jsonl"
    with working() as progress:
        report = measurement.run(preset, found(), progress, lines=lines, only=tuple(only or ()), most=most)
    publish(report, out)


@app.command()
def jobs(model: ModelOption = "lenet5", dataset: DatasetOption = "digits", out: OutOption = None) -> None:
    """How soon a training is cancelled from elsewhere, and how soon a slider is answered beside one."""
    _run("jobs", model, dataset, out)


@app.command()
def memory(
    images: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="Photos, whose pixels are kept on disk.")
    ] = 50_000,
    side: Annotated[int, typer.Option(min=32, max=512, help="Pixels a side, once decoded.")] = 224,
) -> None:
    """Memory of decoding and of passing over more photos than fit into it; on a busy machine too."""
    from benchmarks import memory as measurements

    with working() as progress:
        said = measurements.run(images, side, progress)
    typer.echo(said)


@app.command()
def live(
    model: Annotated[str, typer.Option(help="A network of the list, torchvision:NAME or timm:NAME.")],
    dataset: Annotated[str, typer.Option(help="folder:PATH; random images for torchvision: and timm:.")] = "",
    calibration: CalibrationOption = 512,
    tests: Annotated[int, typer.Option(min=16, help="Random images to test on.")] = 256,
) -> None:
    """Seconds and memory from a network at its own size to points on a chart; on a busy machine too."""
    from benchmarks import live as measurements

    with working() as progress:
        said = measurements.run(model, dataset, calibration, tests, progress)
    typer.echo(said)


@app.command()
def coverage(
    stage: Annotated[list[str] | None, typer.Option(help="module, torchscript, 8-bit, …; all by default.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this network; may be given several times.")] = None,
    seconds: Annotated[int, typer.Option(min=10, help="At most, for one network.")] = 900,
    table: Annotated[bool, typer.Option(help="Only write docs/COVERAGE.md of what was found so far.")] = False,
) -> None:
    """Which classifiers of torchvision and timm come in, and what can be done with them; goes on where it ended."""
    from benchmarks import coverage as networks

    lines = user_folder() / "benchmarks" / "coverage.jsonl"
    if not table:
        with working() as progress:
            networks.run(lines, progress, stages=stage or networks.STAGES, only=only or (), seconds=seconds)
    target = networks.ROOT / "docs" / "COVERAGE.md"
    text = networks.document(networks.read(lines), target.read_text(encoding="utf-8"))
    target.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {target}; each result is kept in {lines}.", err=True)


@app.command()
def search(
    model: ModelOption = "resnet20",
    dataset: DatasetOption = "fashion-mnist",
    minutes: Annotated[float, typer.Option(min=0.1, help="Of each search but the random one.")] = 10.0,
    random_minutes: Annotated[float, typer.Option(min=0.1, help="Of random search.")] = 60.0,
    trials: Annotated[int, typer.Option(min=0, help="At most so many in each search; 0: what the minutes hold.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="auto, tpe, nsga2, random, fixed; several times.")] = None,
    busy: Annotated[bool, typer.Option(help="Measure on a machine that is not quiet.")] = False,
    out: OutOption = None,
) -> None:
    """The volume that a search's front dominates, beside random search and fixed lists; goes on where it ended."""
    from benchmarks import search as measurements
    from benchmarks.quiet import found

    quiet = found() if busy else require_quiet()
    lines = (out or user_folder() / "benchmarks") / f"search-{model}-{dataset}.jsonl"
    typer.echo(f"Each result is kept in {lines}.", err=True)
    with working() as progress:
        report = measurements.run(
            model, dataset, quiet, progress, minutes=minutes, random_minutes=random_minutes, seeds=range(seeds),
            methods=tuple(only or ("auto", "random", "fixed")), lines=lines, trials=trials,
        )  # fmt: skip
    publish(report, out)


@app.command()
def dispatch(
    trials: Annotated[int, typer.Option(min=10, max=100_000, help="They do nothing.")] = 1000,
    sampler: Annotated[str, typer.Option(help="auto, tpe, nsga2 or random.")] = "auto",
    out: OutOption = None,
) -> None:
    """What a search itself costs for each trial, beside 64 workers that do nothing; on a busy machine too."""
    from benchmarks import dispatch as measurements
    from benchmarks.quiet import found

    with working() as progress:
        report = measurements.run(found(), progress, trials=trials, sampler=sampler)
    publish(report, out)


@app.command()
def workers(
    model: ModelOption = "lenet5",
    dataset: DatasetOption = "digits",
    count: Annotated[list[int] | None, typer.Option(min=1, max=64, help="Workers; several times.")] = None,
    trials: Annotated[int, typer.Option(min=10, max=100_000, help="In each search.")] = 150,
    rounds: Annotated[int, typer.Option(min=1, help="All counts in turns, so often.")] = 2,
    sampler: Annotated[str, typer.Option(help="auto, tpe, nsga2 or random.")] = "auto",
    out: OutOption = None,
) -> None:
    """Trials a minute of a search with 1, 2, 4 and 8 workers, and by processor time; on a busy machine too."""
    from benchmarks import workers as measurements
    from benchmarks.quiet import found

    with working() as progress:
        report = measurements.run(
            model, dataset, found(), progress, counts=tuple(count or (1, 2, 4, 8)), trials=trials, rounds=rounds,
            sampler=sampler,
        )  # fmt: skip
    publish(report, out)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.5, help="So long the browsers are at it.")] = 30.0,
    browsers: Annotated[int, typer.Option(min=1, max=50, help="How many at once.")] = 10,
    logs: Annotated[Path | None, typer.Option(file_okay=False, help="New folder for everything of the team.")] = None,
    out: OutOption = None,
) -> None:
    """Browsers at a team's app while workers are killed: error pages, lost runs, memory; on a busy machine too."""
    from benchmarks import soak as measurements
    from benchmarks.quiet import found

    with working() as progress:
        report = measurements.run(minutes, browsers, found(), progress, logs=logs)
    publish(report, out)


@app.command()
def fingerprints(
    path: Annotated[Path, typer.Argument(help="JSON file: written if it is not there, else compared with.")],
    dataset: Annotated[str, typer.Option(help="A name from `python -m compression data list`.")] = "digits",
) -> None:
    """Hashes of the files and answers that the engine makes of the zoo, to compare before and after a change."""
    from benchmarks import fingerprints as hashes

    with working() as progress:
        said = hashes.run(dataset, path, progress)
    typer.echo(said)


@app.command()
def reference(
    model: ModelOption = "resnet20",
    dataset: DatasetOption = "fashion-mnist",
    few: Annotated[bool, typer.Option(help="A third of the recipes, to try the program.")] = False,
    busy: Annotated[bool, typer.Option(help="Measure on a machine that is not quiet; the file says so.")] = False,
    jpeg: Annotated[str, typer.Option(help="Folder with a JPEG copy of the dataset; the file says so.")] = "",
) -> None:
    """The sweep that comes with the app; written into compression/reference."""
    from benchmarks.reference import sweep
    from compression.reference import path_of

    if not busy:
        require_quiet()
    with working() as progress:
        found = sweep(model, dataset, progress, quiet=not busy, few=few, folder=jpeg)
    path = path_of(model, dataset)
    path.write_text(found.to_json(), encoding="utf-8")
    typer.echo(f"Wrote {len(found.points)} points in {path}.", err=True)


def _accuracy(subject: Any, out: Path | None, quiet: Quiet, **more: Any) -> None:
    from benchmarks import accuracy as measurements

    lines = (out or user_folder() / "benchmarks") / "accuracy.jsonl"
    typer.echo(f"Each result is kept in {lines}.", err=True)
    with working() as progress:
        report = measurements.run(subject, quiet, progress, lines=lines, **more)
    publish(report, out)


def _run(name: str, model: str, dataset: str, out: Path | None, *, after_another: bool = False, **more: Any) -> None:
    quiet = require_quiet(load_counts=not after_another)
    with working() as progress:
        report = import_module(f"benchmarks.{name}").run(model, dataset, quiet, progress, **more)
    publish(report, out)


app(prog_name="python -m benchmarks")
