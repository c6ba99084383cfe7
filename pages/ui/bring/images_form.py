"""Images of one's own: an archive, pictures or a folder; and how they reach a network."""

from concurrent.futures import Future
from functools import partial
from typing import Any

import streamlit as st

from compression import jobs, models
from compression.data import added_folders
from compression.jobs import Extracted, Inputs, Ranking, Refusal
from compression.language import N_, _
from compression.models import Card
from compression.recipe import Recipe
from compression.records.preprocess import Preprocess
from pages.ui.bring import network_form
from pages.ui.model import wording
from pages.ui.model.choice import Choice
from pages.ui.model.links import first_of_own, link_of
from pages.ui.model.subject import FOLDER, Subject
from pages.ui.page.guard import heard, repeated
from pages.ui.page.table import columns
from pages.ui.page.test_images import sampled
from pages.ui.page.uploader import uploader
from pages.ui.page.waiting import answered, followed, progress_of
from pages.ui.state import Visit, asked, forgotten, put, shown, shown_or_none, taken, watched, watched_beside

TYPES = [
    ".zip",
    ".tar",
    ".tgz",
    ".gz",
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".gif",
]
ABOUT = N_(
    "An archive (.zip, .tar) or single images. Layouts: train/CLASS and test/CLASS, one folder per class, a table of "
    "paths and labels (.csv, .tsv), or images without labels (files are then compared by agreement with fp32)."
)
ARCHIVES = (".zip", ".tar", ".tgz", ".gz")
PATH = N_("A folder on this computer")
CLASS, OUTPUT = N_("Image class"), N_("Network output")
PARTS = {"train": N_("for calibration and training"), "validation": N_("for validation"), "test": N_("for testing")}
WANTED = "images.wanted"
"""Set by a click on the button that adds: what the button says may come again where the page is drawn anew."""

ADDED = "images.added"
"""The dataset that was added last in this tab, and how that went."""

WAIT_S, LOOK_S = 60.0, 1.0
GIB = 1 << 30


def draw(visit: Visit) -> None:
    """Where the images are, the network they are for, and how it sees them."""
    _for_network(visit, _images())
    _decoded()


def _for_network(visit: Visit, dataset: str) -> None:
    """The network that the images are for, and how it sees them."""
    networks = models.brought()
    if not networks:
        st.info(_("Add a network first, or use these images on Explore with one of the built-in networks."))
        if dataset:
            _to_explore(visit, Subject(visit.subject.model, visit.subject.weights, dataset))
        return
    names = [card.model for card in networks]
    card = next(c for c in networks if c.model == st.selectbox(_("Network"), names, key="images.network"))
    if dataset:
        _look(visit, card, dataset)


def _images() -> str:
    """The name of the dataset that is chosen; '' while there is none."""
    st.caption(_(ABOUT))
    files = uploader(_("Archive or images"), TYPES, accept_multiple_files=True, key="images.files")
    offer = _("Add {count} files", count=len(files)) if len(files) > 1 else _("Add these images")
    st.button(offer, key="images.add", type="primary", disabled=not files, on_click=put, args=(WANTED, True))
    if taken(WANTED) and files:
        _add(files)
    added, said = shown_or_none(ADDED) or ("", "")
    if said and added == shown_or_none("images.dataset"):
        st.success(said)
    known = {**added_folders(), PATH: _(PATH)}
    chosen = st.selectbox(_("Images"), known, key="images.dataset", format_func=lambda name: known.get(name, name))
    if chosen == PATH:
        path = st.text_input(_("Folder"), key="images.path", placeholder="/path/to/images").strip()
        chosen = f"{FOLDER}{path}" if path else ""
    return sampled(chosen, "images.test") if chosen else ""


def _add(files: list[Any]) -> None:
    """Unpacks one archive, or keeps pictures, with a bar; a click meanwhile stops it and leaves nothing."""
    bar, stop = st.progress(0.0, _("Reading")), st.empty()
    stop.button(_("Cancel"), key="images.stop")

    def show(text: str, share: float) -> None:
        bar.progress(share, text)

    packed = [file for file in files if file.name.lower().endswith(ARCHIVES)]
    found: Extracted | Refusal
    if packed and len(files) > 1:
        found = Refusal(_("{name!r} is an archive: add it alone, or add images without it.", name=packed[0].name))
    elif packed:
        found = jobs.unpack_pictures(packed[0], packed[0].name, progress=show)
    else:
        found = jobs.keep_uploaded((file.name, file.getvalue()) for file in files)
    bar.empty()
    stop.empty()
    if isinstance(found, Refusal):
        st.error(wording.said(found.sentence))
        return
    besides = _(" {ignored:,} other files were skipped.", ignored=found.ignored) if found.ignored else ""
    put("images.dataset", found.dataset)
    put(ADDED, (found.dataset, _("{count:,} images added.{besides}", count=found.pictures, besides=besides)))


def _decoded() -> None:
    """What decoded pictures take on the disk; their limit, and a button that removes them."""
    now = jobs.picture_usage()
    taken, limit_ = now.size_bytes / GIB, now.limit_bytes / GIB
    with st.expander(_("Image cache: {taken:.2f} of {limit:g} GiB", taken=taken, limit=limit_)):
        st.caption(_("Images are decoded once per size. The least recently used are removed first."))
        limit = st.number_input(_("Limit, GiB"), 1.0, value=limit_, step=1.0, key="images.limit")
        st.button(_("Set limit"), disabled=limit * GIB == now.limit_bytes, on_click=_limit, args=(limit,))
        st.button(_("Clear cache"), disabled=not now.files, on_click=_clear)


@heard
def _clear() -> None:
    jobs.clear_pictures()


@heard
def _limit(gibibytes: float) -> None:
    if isinstance(found := jobs.limit_pictures(round(gibibytes * GIB)), Refusal):
        st.toast(wording.said(found.sentence))


def _look(visit: Visit, card: Card, dataset: str) -> None:
    """What the network sees of the images."""
    key = ("inputs", card.model, card.sha256, card.reading, dataset)
    found = followed(watched(key, jobs.inputs_of, card.model, models.OWN, dataset), partial(forgotten, key.__eq__))
    if not isinstance(found, Inputs):
        return
    _to_explore(visit, Subject(card.model, models.OWN, dataset))
    counts = ", ".join(f"{n:,} {_(PARTS[part])}" for part, n in found.images.items())
    st.markdown(
        _("**Images** · {counts}{value}", counts=counts, value="" if found.labelled else _(" · without labels"))
    )
    for note in found.notes:
        st.caption(wording.said(note))
    if found.skipped:
        with st.expander(_("{count:,} files skipped", count=len(found.skipped))):
            files = [{"File": wording.shown(line)} for line in found.skipped]
            st.dataframe(files, hide_index=True, column_config=columns(files))
    st.image(list(found.pictures), caption=[wording.plain(name) or " " for name in found.captions], width=150)
    if card.preprocess is not None:
        st.markdown(_("**Preprocessing** · {told}", told=wording.quoted(told(card.preprocess))))
    if found.rankable:
        _rank(card, dataset)
    _classes(visit, card, dataset, found)
    with st.expander(_("Network details")):
        network_form.facts(card)


def _rank(card: Card, dataset: str) -> None:
    """Other preprocessings, tried while the page goes on: nobody has to wait for them."""
    key = ("ranking", card.model, card.sha256, card.reading, dataset)
    answer = watched_beside(key, jobs.ranked_preprocessings, card.model, models.OWN, dataset)
    if not answer.done():
        repeated(partial(progress_of, answer), LOOK_S)
    elif isinstance(found := answered(answer, _("Finishing")), Ranking) and found.ranked and card.preprocess:
        _preprocessings(card, card.preprocess, found)


def _preprocessings(card: Card, now: Preprocess, found: Ranking) -> None:
    """Ways in which pictures become inputs that do better or worse on labelled training pictures."""
    rows = [
        {"Preprocessing": title, "Accuracy": accuracy, "In use": "✓" if same(preprocess, now) else ""}
        for title, preprocess, accuracy in found.ranked
    ]
    st.caption(_("Tried on {tried:,} training images:", tried=found.tried))
    st.dataframe(
        rows,
        hide_index=True,
        column_config=columns(rows, {"Accuracy": st.column_config.NumberColumn(format="percent")}),
    )
    titles = [title for title, preprocess, _ in found.ranked if not same(preprocess, now)]
    st.selectbox(_("Change preprocessing"), titles, index=None, key="images.preprocess", placeholder=_("Keep current"))
    chosen = shown("images.preprocess")
    preprocess = next((each for title, each, _ in found.ranked if title == chosen), None)
    st.button(_("Apply"), disabled=preprocess is None, on_click=_prefer, args=(card.model, preprocess))


def told(preprocess: Preprocess) -> str:
    """'shorter side to 256 px, crop to 224×224, bilinear, RGB, mean …'."""
    resized = {
        "shorter": _(
            "shorter side to {value} px, crop to",
            value=preprocess.resize_to or min(preprocess.height, preprocess.width),
        ),
        "exact": _("stretched to"),
        "letterbox": _("padded to"),
    }[preprocess.resize]
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (preprocess.mean, preprocess.std))
    sides = f"{preprocess.height}×{preprocess.width}"
    return _(
        "{resized} {sides}, {interpolation}, {channels}, mean {mean}, std {std}",
        resized=resized,
        sides=sides,
        interpolation=preprocess.interpolation,
        channels=preprocess.channels,
        mean=mean,
        std=std,
    )


def same(one: Preprocess, other: Preprocess) -> bool:
    """Whether two records make the same inputs, to three digits of the numbers."""

    def numbers(each: Preprocess) -> list[float]:
        return [round(value, 3) for value in (*each.mean, *each.std)]

    return one.pixels_hash == other.pixels_hash and numbers(one) == numbers(other)


@heard
def _prefer(model: str, preprocess: Preprocess) -> None:
    _done(asked(("preprocess", model, preprocess), jobs.choose_preprocessing, model, preprocess))


def _classes(visit: Visit, card: Card, dataset: str, found: Inputs) -> None:
    """Which output of the network each class of the images is; the user corrects it."""
    if found.classes is None:
        return
    outputs = found.classes.outputs
    rows = [
        {CLASS: each.name, OUTPUT: None if each.output is None else outputs[each.output], "Matched by": each.how}
        for each in found.classes.classes
    ]
    st.markdown(
        _(
            "**Classes** · {count:,} of {count_2:,} matched to network outputs",
            count=len(rows) - len(found.classes.open),
            count_2=len(rows),
        )
    )
    column = st.column_config.SelectboxColumn(options=sorted(set(outputs)))
    edited = st.data_editor(
        rows, hide_index=True, disabled=[CLASS, "Matched by"], key=f"images.classes.{card.model}",
        column_config=columns(rows, {OUTPUT: column}),
    )  # fmt: skip
    changed = {
        row[CLASS]: row[OUTPUT] or "" for row, before in zip(edited, rows, strict=True) if row[OUTPUT] != before[OUTPUT]
    }
    st.button(_("Apply class mapping"), disabled=not changed, on_click=_correct,
              args=(Subject(card.model, models.OWN, dataset), changed))  # fmt: skip


@heard
def _correct(subject: Subject, corrections: dict[str, str]) -> None:
    request = Choice(subject, Recipe()).request
    _done(asked(("classes", subject, tuple(corrections.items())), jobs.correct_classes, request, corrections))


def _done(answer: Future[Any]) -> None:
    """Waits for what the worker writes, so that the page shows it. Raises what the worker does."""
    found = answer.result(WAIT_S)
    forgotten(lambda key: isinstance(key, tuple) and key[0] in ("inputs", "ranking", "preprocess", "classes"))
    if isinstance(found, Refusal):
        st.toast(wording.said(found.sentence))


def _to_explore(visit: Visit, subject: Subject) -> None:
    link = link_of(subject, first_of_own(visit.recipe))
    label = _("Compress {model} with these images", model=wording.quoted(subject.model))
    st.page_link("pages/lab/explore.py", label=label, icon=":material/arrow_forward:", query_params=link)
