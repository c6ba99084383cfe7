"""The part of the command line that lists, trains and fetches: networks of the zoo, and datasets."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compression.cli.console import JsonOption, Progress, Row, group, print_json, print_table, printable, working
from compression.cli.inputs import check_dataset, check_known, load_data, pause_for_others
from compression.errors import InvalidFile, InvalidSetting, UnknownName
from compression.host.machine_lock import work_turn
from compression.language import N_, _

if TYPE_CHECKING:
    from compression import training
    from compression.models import Card

zoo_app, data_app = group(help=N_("Networks with trained weights.")), group(help=N_("Datasets."))


@zoo_app.command("list")
def zoo_list(as_json: JsonOption = False) -> None:
    """List the stored weights with their measured accuracy."""
    from compression.models import ARCHITECTURES, cards, title

    known = cards()
    if as_json:
        return print_json([dataclasses.asdict(card) for card in known])
    rows: list[Row] = [("MODEL", "DATASET", "ACCURACY", "PARAMETERS", "NETWORK")]
    for card in known:
        measured = "" if card.test_accuracy is None else f"{card.test_accuracy:.2%}"
        about = card.origin or title(card.model)
        rows.append((card.model, card.dataset, measured, f"{card.parameters:,}", about))
    stored = {card.model for card in known}
    rows += [(name, _("(none yet)"), "", "", a.title) for name, a in ARCHITECTURES.items() if name not in stored]
    print_table(rows)


@zoo_app.command("train")
def zoo_train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `models list`.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A name from `data list`.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs. Default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of initial weights, order and augmentation.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: the GPU if there is one.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher network for distillation, e.g. resnet56.")] = None,
    assistant: Annotated[str | None, typer.Option(help="Network that learns from the teacher, then teaches.")] = None,
    temperature: Annotated[float, typer.Option(min=1, max=20, help="Softening of the teacher's outputs.")] = 4,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Weight of the teacher in the loss.")] = 0.9,
    grown_from: Annotated[
        str | None, typer.Option(help="Shallower ResNet with weights to start from, e.g. resnet20.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder for weights and card.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network and store its weights and card."""
    from compression.models import ARCHITECTURES

    for name in (model, *filter(None, (teacher, assistant, grown_from))):
        check_known("model", name, ARCHITECTURES)
    if assistant and not teacher:
        raise InvalidSetting("--assistant needs --teacher.")
    check_dataset(dataset)
    if out and out.exists() and not out.is_dir():
        raise InvalidFile(f"--out {str(out)!r} is not a folder.")
    if out and not str(out).isascii() and printable(str(out)) != str(out):
        raise InvalidFile(f"--out {str(out)!r} must be a name in UTF-8, which safetensors files need.")
    with working() as progress, work_turn():
        import torch

        from compression import models

        chosen = _device(device, has_gpu=torch.cuda.is_available())
        lesson = models.Distillation(teacher, temperature, alpha, assistant=assistant) if teacher else None
        card = models.train(
            model, dataset, epochs=epochs, seed=seed, device=chosen, out=out, lesson=lesson, grown_from=grown_from,
            progress=_training_line(progress), stop=pause_for_others,
        )  # fmt: skip
    if as_json:
        return print_json(dataclasses.asdict(card))
    print_table(
        [
            ("model", model),
            ("dataset", card.source),
            (
                "accuracy",
                _(
                    "{value:.2%} of {test_images:,} test images",
                    value=card.test_accuracy or 0,
                    test_images=card.test_images,
                ),
            ),
            (
                "training",
                _(
                    "{epochs} epochs, seed {seed}, {training_seconds:.0f} s on {hardware}",
                    epochs=card.epochs,
                    seed=card.seed,
                    training_seconds=card.training_seconds,
                    hardware=card.hardware,
                ),
            ),
        ]
    )


@zoo_app.command("add")
def zoo_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for the network, here and in the app.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="torchvision:NAME, timm:NAME, timm:hf_hub:OWNER/NAME, FILE.onnx, or FILE.pt2 saved by torch.export.",
        ),
    ],
    dataset: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="Dataset for a .pt2 file: a name or folder:PATH.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a library's network: FILE.safetensors, .pth or .pt.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Mean of the input images, one number per channel.")] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation, one number per channel.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a network to the list, for the command line and the app."""
    if name.lower().endswith((".pt2", ".onnx")):  # in either order
        name, source = source, name
    if dataset:
        check_dataset(dataset, folders=True)
    elif mean or std:
        raise InvalidSetting("--mean and --std need a DATASET.")
    if dataset and not source.lower().endswith(".pt2"):
        raise InvalidSetting(f"{source} needs no dataset: leave {dataset} out.")
    with working() as progress, work_turn():
        from compression import models

        progress(_("Reading the network"), 0.0)
        if dataset:
            card = models.bring(Path(source), name, load_data(dataset, mean, std))
        else:
            card = models.add(name, source, weights=weights, progress=progress)
    if as_json:
        return print_json(dataclasses.asdict(card))
    print_table(_card_rows(card))


def _card_rows(card: "Card") -> list[Row]:
    rows: list[Row] = [
        ("model", card.model), ("source", card.origin), ("parameters", f"{card.parameters:,}"),
        ("input", "×".join(map(str, card.input_shape))), ("classes", f"{card.classes:,}"),
    ]  # fmt: skip
    if made := card.preprocess:
        resized = (
            _("{resize} side to {resize_to}", resize=made.resize, resize_to=made.resize_to)
            if made.resize == "shorter"
            else made.resize
        )
        rows.append(
            (
                "images",
                _(
                    "{resized}, {interpolation}, {channels}, mean {mean}, std {std}",
                    resized=resized,
                    interpolation=made.interpolation,
                    channels=made.channels,
                    mean=made.mean,
                    std=made.std,
                ),
            )
        )
    rows += [("licence", card.licence)] if card.licence else []
    rows += [("SHA-256", card.sha256), ("checked", card.checked)] if card.checked else []
    if card.test_accuracy is not None:
        told = _(
            "{test_accuracy:.2%} of {test_images:,} test images of {source}",
            test_accuracy=card.test_accuracy,
            test_images=card.test_images,
            source=card.source,
        )
        rows.append(("accuracy", told))
    return rows


@zoo_app.command("search")
def zoo_search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Words in the name, e.g. efficientnet lite.")],
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of results.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Search the classifiers of torchvision and timm."""
    with working() as progress:
        progress(_("Listing the libraries"), 0.0)
        from compression.models import libraries

        found = libraries.search(text)
    if as_json:
        return print_json([dataclasses.asdict(each) | {"source": each.source} for each in found[:limit]])
    if not found:
        raise UnknownName("network of a library", text, libraries.nearest(text))
    rows: list[Row] = [("SOURCE", "CLASSES", "INPUT", "PARAMETERS", "MACS", "ACCURACY", "LICENCE")]
    for each in found[:limit]:
        numbers = (f"{value:,}" if value else "" for value in (each.parameters, each.macs))
        published = f"{each.accuracy:.1%}" if each.accuracy else ""
        shape = "×".join(map(str, each.input_shape))
        rows.append((each.source, f"{each.classes:,}", shape, *numbers, published, each.licence))
    print_table(rows)
    if len(found) > limit:
        typer.echo(_("{count} more; --limit shows them.", count=len(found) - limit), err=True)


@zoo_app.command("remove")
def zoo_remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the network.")], as_json: JsonOption = False
) -> None:
    """Remove an imported network from the list; its runs are kept."""
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
    print_table(
        [*rows, ("folder:PATH", _("your own images: class folders, train and test, a label table, or unlabelled"))]
    )


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `data list`.")], as_json: JsonOption = False
) -> None:
    """Download a dataset and show its source."""
    check_dataset(name)
    with working() as progress:
        progress(_("Fetching {name}", name=name), 0.0)
        data = load_data(name)
    counts = {part: len(getattr(data, part)) for part in ("train", "validation", "test")}
    if as_json:
        return print_json({"dataset": name, "source": data.source, **counts})
    print_table([("source", data.source), ("images", ", ".join(f"{n:,} {part}" for part, n in counts.items()))])


def _device(name: str | None, *, has_gpu: bool) -> str:
    if name not in (None, "cpu", "cuda"):
        raise InvalidSetting(f"--device must be cpu or cuda, not {name!r}.")
    if name == "cuda" and not has_gpu:
        raise InvalidSetting("--device cuda needs a GPU supported by PyTorch, and none was found; use cpu.")
    return name or ("cuda" if has_gpu else "cpu")


def _training_line(progress: Progress) -> "Callable[[training.Progress], None]":
    """A training's progress as a sentence and a share; off a terminal that is one line an epoch."""

    def show(now: "training.Progress") -> None:
        reached = "" if now.accuracy is None else _(", validation {accuracy:.2%}", accuracy=now.accuracy)
        left = (
            _(", loss {loss:.3f}, {seconds_left:.0f} s left", loss=now.loss, seconds_left=now.seconds_left)
            if progress.live
            else ""
        )
        progress(
            _(
                "Epoch {epoch} of {epochs}{reached}{left}",
                epoch=now.epoch + 1,
                epochs=now.epochs,
                reached=reached,
                left=left,
            ),
            now.step / now.steps,
        )

    return show
