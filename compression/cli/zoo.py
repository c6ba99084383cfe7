"""The part of the command line that lists, trains and fetches: networks of the zoo, and datasets."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compression.cli.console import JsonOption, Progress, Row, group, print_json, print_table, printable, working
from compression.cli.inputs import check_dataset, check_known, load_data, pause_for_others
from compression.errors import InvalidFile, InvalidSetting
from compression.host.machine_lock import work_turn

if TYPE_CHECKING:
    from compression import training

zoo_app, data_app = group(help="Networks with trained weights."), group(help="Datasets.")


@zoo_app.command("list")
def zoo_list(as_json: JsonOption = False) -> None:
    """List the stored weights with their measured accuracy."""
    from compression.models import ARCHITECTURES, cards, title

    known = cards()
    if as_json:
        return print_json([dataclasses.asdict(card) for card in known])
    rows: list[Row] = [("MODEL", "DATASET", "ACCURACY", "PARAMETERS", "NETWORK")]
    for card in known:
        numbers = f"{card.test_accuracy:.2%}", f"{card.parameters:,}"
        rows.append((card.model, card.dataset, *numbers, title(card.model)))
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
    from compression.models import ARCHITECTURES

    for name in (model, *filter(None, (teacher, assistant))):
        check_known("model", name, ARCHITECTURES)
    if assistant and not teacher:
        raise InvalidSetting("--assistant goes with --teacher: somebody must teach the assistant.")
    check_dataset(dataset)
    if out and out.exists() and not out.is_dir():
        raise InvalidFile(f"--out {str(out)!r} is not a folder; weights and card are two files in one.")
    if out and not str(out).isascii() and printable(str(out)) != str(out):
        raise InvalidFile(f"--out {str(out)!r} must be a name in UTF-8, which safetensors files need.")
    with working() as progress, work_turn():
        import torch

        from compression import models

        chosen = _device(device, has_gpu=torch.cuda.is_available())
        lesson = models.Distillation(teacher, temperature, alpha, assistant=assistant) if teacher else None
        card = models.train(
            model, dataset, epochs=epochs, seed=seed, device=chosen, out=out, lesson=lesson,
            progress=_training_line(progress), stop=pause_for_others,
        )  # fmt: skip
    if as_json:
        return print_json(dataclasses.asdict(card))
    print_table([
        ("model", model), ("dataset", card.source),
        ("accuracy", f"{card.test_accuracy:.2%} of {card.test_images:,} test images"),
        ("training", f"{card.epochs} epochs, seed {card.seed}, {card.training_seconds:.0f} s on {card.hardware}"),
    ])  # fmt: skip


@zoo_app.command("add")
def zoo_add(
    file: Annotated[Path, typer.Argument(metavar="FILE.pt2", help="A network saved by torch.export.save.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called from now on, here and in the app.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Images that it can read: a name, or folder:PATH.")],
    mean: Annotated[str | None, typer.Option(help="Normalization of its images, one number a channel.")] = None,
    std: Annotated[str | None, typer.Option(help="Normalization of its images, one number a channel.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a network of your own, to compress it in the app too."""
    check_dataset(dataset, folders=True)
    with working() as progress, work_turn():
        from compression import models

        progress("Looking at the network", 0.0)
        card = models.bring(file, name, load_data(dataset, mean, std))
    if as_json:
        return print_json(dataclasses.asdict(card))
    print_table([
        ("model", card.model), ("parameters", f"{card.parameters:,}"),
        ("accuracy", f"{card.test_accuracy:.2%} of {card.test_images:,} test images of {card.source}"),
    ])  # fmt: skip


@zoo_app.command("remove")
def zoo_remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called here.")], as_json: JsonOption = False
) -> None:
    """Take a network of your own out of the list; what was measured of it stays."""
    from compression import models

    models.dismiss(name)
    print_json({"removed": name}) if as_json else print_table([("removed", name)])


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
    check_dataset(name)
    with working() as progress:
        progress(f"Fetching {name}", 0.0)
        data = load_data(name)
    counts = {part: len(getattr(data, part)) for part in ("train", "validation", "test")}
    if as_json:
        return print_json({"dataset": name, "source": data.source, **counts})
    print_table([("source", data.source), ("images", ", ".join(f"{n:,} {part}" for part, n in counts.items()))])


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
