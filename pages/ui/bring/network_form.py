"""A network of one's own: a file, or a name of a library's, that is taken into the list of networks."""

import re
from collections.abc import Hashable
from functools import partial
from pathlib import PurePath
from typing import Any

import streamlit as st

from compression import jobs, models
from compression.data import DATASETS
from compression.jobs import LibraryNetwork
from compression.language import N_, _
from compression.models import Card
from pages.ui.model import wording
from pages.ui.model.links import first_of_own, link_of
from pages.ui.model.subject import Subject, dataset_title
from pages.ui.page.guard import guarded
from pages.ui.page.table import columns
from pages.ui.page.uploader import uploader
from pages.ui.page.waiting import awaited, followed
from pages.ui.state import Visit, asked, begun, forgotten, put, shown, shown_or_none, taken, watched

WHAT, NETWORK, IMAGES = "bring.what", N_("A network"), N_("Images")
FILE, LIBRARY = N_("A file"), N_("torchvision or timm")

SAVING = {
    N_("ONNX, from PyTorch"): """torch.onnx.export(
    model.eval(), (torch.zeros(2, 3, 224, 224),), "mine.onnx", dynamic_shapes=({0: torch.export.Dim("n")},))""",
    N_("PyTorch program"): """program = torch.export.export(
    model.eval(), (torch.zeros(2, 3, 224, 224),), dynamic_shapes=({0: torch.export.Dim("n")},))
torch.export.save(program, "mine.pt2")""",
}

ABOUT = N_(
    "An ONNX file (.onnx), a PyTorch program (.pt2), or weights of a torchvision or timm network (.safetensors, .pth). "
    "Convert other formats to ONNX first."
)
EACH = N_("One number per channel, for example 0.49,0.48,0.45. Empty: computed from the dataset.")
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")
OTHERS = (".h5", ".keras", ".tflite", ".pb")
"""What is no network that can be read, and gets a sentence with the way to ONNX."""

SAID = "bring.said"
"""What the last click of a button here has to tell."""


def draw(visit: Visit) -> None:
    """The source, the network's name here, a button that takes it in, how that went, and what is in the list."""
    source = st.segmented_control(
        _("Source"),
        (FILE, LIBRARY),
        default=FILE,
        key="bring.source",
        label_visibility="collapsed",
        required=True,
        format_func=_,
    )
    if source == LIBRARY:
        _library()
    else:
        _file(visit)
    st.text_input(
        _("Name"),
        key="bring.name",
        placeholder=_suggested() or "mine",
        help=_("Letters a-z, digits and _; must start with a letter."),
    )
    if source == FILE and _suffix() == ".pt2":
        mean, std = st.columns(2)
        mean.text_input(_("Mean of the input images"), key="bring.mean", help=_(EACH))
        std.text_input(_("Standard deviation"), key="bring.std", help=_(EACH))
    wish = _wish()
    st.button(_offer(), key="network.add", type="primary", disabled=wish is None, on_click=_take)
    if wish and (answer := begun(wish)):
        _tell(answer, visit)
    if said := taken(SAID):
        st.toast(said)
    for network in models.brought():
        st.button(
            _("Remove {model}", model=network.model), icon=":material/delete:", on_click=_dismiss, args=(network.model,)
        )


def _file(visit: Visit) -> None:
    st.caption(_(ABOUT))
    with st.expander(_("How to export a network")):
        for title, lines in SAVING.items():
            st.caption(_(title))
            st.code(lines, language="python")
    types = [".onnx", ".pt2", *WEIGHTS, *OTHERS]
    uploader(_("File"), types, key="bring.file")
    if _suffix() in WEIGHTS:
        _choose_network(_("Architecture of the weights"))
    if _suffix() == ".pt2":
        known = list(dict.fromkeys([*DATASETS, visit.subject.dataset]))
        here = known.index(visit.subject.dataset)
        st.selectbox(_("Dataset of the network"), known, here, format_func=dataset_title, key="bring.images")


def _library() -> None:
    chosen = _choose_network(_("Network"))
    if chosen:
        st.caption(wording.quoted(described(chosen)))


def _choose_network(label: str) -> LibraryNetwork | None:
    """The networks of both libraries whose name has the text that is searched."""
    found = awaited(asked("bring.libraries", jobs.library_networks), _("Listing torchvision and timm networks"))
    if not found:
        return None
    left, right = st.columns(2)
    text = left.text_input(_("Search"), key="bring.search", max_chars=80, placeholder=_("e.g. mobilenet v2"))
    known = {each.source: each for each in found if has_text(each.source, text)}
    nothing = _("No name has this text")
    chosen = right.selectbox(
        label, known, index=None, key="bring.library", disabled=not known,
        placeholder=_("{count:,} networks", count=len(known)) if known else nothing,
    )  # fmt: skip
    return known.get(chosen) if chosen else None


def has_text(name: str, text: str) -> bool:
    """Whether a name has a text, without regard to case, blanks, hyphens and underscores."""
    return _bare(text) in _bare(name)


def _bare(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold()


def described(network: LibraryNetwork) -> str:
    """'4.7 million parameters · 0.4 billion MACs · 224×224 pixels · …'; what is unknown is left out."""
    parts = [
        _("{parameters:.1f} million parameters", parameters=network.parameters / 1000000.0)
        if network.parameters
        else "",
        _("{macs:.2f} billion MACs", macs=network.macs / 1000000000.0) if network.macs else "",
        _("{height}×{width} pixels", height=network.height, width=network.width),
        _("{classes:,} classes", classes=network.classes),
        _("{accuracy:.1%} on ImageNet (as published)", accuracy=network.accuracy) if network.accuracy else "",
        _("licence {licence}", licence=network.licence) if network.licence else _("licence unknown"),
    ]
    return " · ".join(filter(None, parts))


def _suffix() -> str:
    """The kind of the file that is chosen; '' for none."""
    file = shown_or_none("bring.file")
    return PurePath(file.name).suffix.lower() if file else ""


def _suggested() -> str:
    """A name after the file's or the library's; '' where that makes none."""
    if shown_or_none("bring.source") == LIBRARY:
        text = (shown_or_none("bring.library") or "").partition(":")[2].partition(".")[0]
    else:
        file = shown_or_none("bring.file")
        text = PurePath(file.name).stem if file else ""
    return re.sub("^[^a-z]+", "", re.sub("[^a-z0-9]+", "_", text.lower())).strip("_")[:31]


def _offer() -> str:
    """The button says what it takes in: a file that is still on its way here is not yet offered."""
    if shown("bring.source") == LIBRARY:
        name = shown_or_none("bring.library")
    else:
        name = file.name if (file := shown_or_none("bring.file")) else None
    return _("Import {name}", name=wording.plain(name)) if name else _("Import")


def _wish() -> Hashable | None:
    """What the form says now, if that is enough to begin."""
    name, library, file = _name(), shown_or_none("bring.library"), shown_or_none("bring.file")
    if not name:
        return None
    if shown("bring.source") == LIBRARY:
        return ("bring", library, name) if library else None
    if file is None or (_suffix() in WEIGHTS and not library):
        return None
    texts = (shown("bring.images"), shown("bring.mean"), shown("bring.std")) if _suffix() == ".pt2" else (library,)
    return ("bring", file.file_id, name, *texts)


def _name() -> str:
    return shown("bring.name").strip() or _suggested()


def _take() -> None:
    """Reads the form anew: since it was drawn, something may have been put in."""
    if (wish := _wish()) is None:
        return
    forgotten(lambda key: key == wish)
    name, library, file = _name(), shown_or_none("bring.library"), shown_or_none("bring.file")
    if shown("bring.source") == LIBRARY:
        watched(wish, jobs.add_network, name, library)
    elif _suffix() == ".pt2":
        texts = shown("bring.images"), shown("bring.mean"), shown("bring.std")
        watched(wish, jobs.import_network, file.getvalue(), name, *texts)
    else:
        source = library if _suffix() in WEIGHTS else ""
        watched(wish, jobs.add_network, name, source, file.name, file.getvalue())


def _dismiss(name: str) -> None:
    """What there is to say waits for the form: Streamlit warns where a part's callback draws."""
    guarded(_remove, partial(put, SAID))(name)


def _remove(name: str) -> None:
    jobs.dismiss_network(name)
    forgotten(lambda key: isinstance(key, tuple) and key[0] in ("bring", "inputs", "ranking"))
    put(SAID, _("{name} removed from the list. Its runs remain on Compare.", name=wording.quoted(name)))


def _tell(answer: Any, visit: Visit) -> None:
    """How it went, once that is known, and the way to the network."""
    if found := followed(answer):
        _welcome(found, visit)


def _welcome(card: Card, visit: Visit) -> None:
    name = wording.quoted(card.model)
    right = (
        ""
        if card.test_accuracy is None
        else _(
            ": accuracy {test_accuracy:.1%} on {test_images:,} images",
            test_accuracy=card.test_accuracy,
            test_images=card.test_images,
        )
    )
    st.success(_("{name} added to the list of networks{right}.", name=name, right=right))
    if card.test_images:
        link = link_of(Subject(card.model, models.OWN, shown("bring.images")), first_of_own(visit.recipe))
        st.page_link("pages/lab/explore.py", label=_("Compress {name} on Explore", name=name), query_params=link)
    else:
        st.button(_("Choose images for {name}", name=name), type="primary", on_click=_go_to_images, args=(card.model,))
    facts(card)


def _go_to_images(network: str) -> None:
    put(WHAT, IMAGES)
    put("images.network", network)


def facts(card: Card) -> None:
    """What is known of a network that was added, and what was checked."""
    sides = "×".join(map(str, card.input_shape))
    rows = {
        "Source": card.origin or card.source,
        "Licence": card.licence or "unknown",
        "Input": _("{sides} (channels, height, width)", sides=sides),
        "Outputs": _("{classes:,} classes", classes=card.classes),
        "Parameters": f"{card.parameters:,}",
        "SHA-256": card.sha256[:16],
        "Checked": card.checked,
    }
    details = [{"": _(name), "Details": value} for name, value in rows.items() if value]
    st.dataframe(details, hide_index=True, column_config=columns(details))
