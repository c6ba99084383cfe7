"""Stored runs as rows of a table, what a filter leaves of them, and the lines of parallel coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from compression.language import N_, _
from compression.models import title as network_title
from compression.store import Run
from pages.ui.model import wording
from pages.ui.model.subject import dataset_title
from pages.ui.model.words import WORDS

LINES = 400
"""So many runs stand in the parallel coordinates at most: the newest."""


@dataclass(frozen=True)
class Filter:
    """What the table shows. `text` is looked for in recipe, note, network and images; None leaves a choice open."""

    text: str = ""
    subject: tuple[str, str] | None = None
    favourites: bool = False

    def keeps(self, run: Run) -> bool:
        """Whether a run is shown."""
        if self.favourites and not run.favourite:
            return False
        if self.subject is not None and (run.subject.model, run.subject.dataset) != self.subject:
            return False
        wanted = self.text.lower().split()
        where = f"{recipe_line(run)} {run.note} {title(run)} {run.id}".lower() if wanted else ""
        return all(word in where for word in wanted)


def title(run: Run) -> str:
    """'ResNet-20 on Fashion-MNIST'."""
    model = run.subject.model
    return _(
        "{network_title} on {dataset_title}",
        network_title=network_title(model),
        dataset_title=dataset_title(run.subject.dataset),
    )


def recipe_line(run: Run) -> str:
    """The recipe in words; its hash where another version wrote one that this cannot read."""
    recipe = run.readable
    return (
        wording.recipe_line(recipe)
        if recipe
        else _("recipe {recipe_hash} (written by another version)", recipe_hash=run.recipe_hash[:8])
    )


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """By id, one line that tells a run from the others; with its network and images where there are several."""
    several = len({title(run) for run in runs}) > 1
    return {run.id: f"{title(run)}: {_label(run)}" if several else _label(run) for run in runs}


def _label(run: Run) -> str:
    alike = _(" agreement with fp32") if run.accuracy.reference == "fp32" else ""
    alike += _(" on validation images") if run.accuracy.split == "validation" else ""
    accuracy = f"{wording.percent(run.accuracy.value, run.accuracy.n)}{alike}"
    when = _("{when:%d %b %H:%M}", when=run.created.astimezone())
    return f"{recipe_line(run)} – {accuracy}, {wording.size(run.size_bytes)} – {when}"


def row(run: Run) -> dict[str, Any]:
    """A row of the table; numbers stay numbers, so that a column sorts."""
    latency = run.latency
    return {
        "Favourite": "★" if run.favourite else "",
        "Network and dataset": title(run),
        "Recipe": recipe_line(run),
        WORDS[run.accuracy.reference].measure: 100 * run.accuracy.value,
        "Drop": 100 * run.accuracy.drop,
        "Size": run.size_bytes / 1000,
        "Smaller": run.size_ratio,
        "Latency": latency and latency.ratio,
        "MACs": run.macs and run.macs / 1e6,
        "Images": run.accuracy.n,
        "Split": run.accuracy.split,
        "Note": run.note,
        "Measured": run.measured,
        "Run": run.id,
    }


DIMENSIONS = {
    "channels.amount": N_("Channels removed, %"),
    "prune.sparsity": N_("Sparsity, %"),
    "quantize.weight_bits": N_("Weight bits"),
    "quantize.activation_bits": N_("Activation bits"),
}


def parallel(runs: Sequence[Run]) -> go.Figure:
    """A line for each timed run through its settings and measures; a step that is off stands at its neutral value."""
    chosen = [run for run in runs if run.latency and run.readable is not None][:LINES]
    columns = [(_(told), [_setting(run, path) for run in chosen]) for path, told in DIMENSIONS.items()]
    columns += [
        (_("Size, KB"), [run.size_bytes / 1000 for run in chosen]),
        (_("Latency, fp32 = 1"), [run.latency.ratio for run in chosen if run.latency]),
        (_of_all(chosen), [100 * run.accuracy.value for run in chosen]),
    ]
    accuracy = columns[-1][1]
    lines = go.Parcoords(
        dimensions=[{"label": told, "values": values} for told, values in columns if len(set(values)) > 1],
        line={"color": accuracy, "colorscale": "Cividis", "showscale": False},
        labelangle=0, unselected={"line": {"opacity": 0.05}},
    )  # fmt: skip
    return go.Figure(lines, go.Layout(template="none", height=320, margin={"l": 60, "r": 40, "t": 50, "b": 30}))


def _of_all(runs: Sequence[Run]) -> str:
    """What the share of images is called that stands for each run."""
    return _(" or ").join(dict.fromkeys(_(WORDS[run.accuracy.reference].title) for run in runs))


def untimed(runs: Sequence[Run]) -> str:
    """How many runs `parallel` leaves out because nothing tells how long they take here."""
    count = sum(run.latency is None for run in runs)
    return (
        _("Left out: {count} without a latency on this machine.", count=wording.counted(count, "run")) if count else ""
    )


def _setting(run: Run, path: str) -> float:
    kind, _, name = path.partition(".")
    value = getattr(run.recipe.get(kind), name, 32 if "bits" in name else 0.0)
    return 100 * value if isinstance(value, float) else value
