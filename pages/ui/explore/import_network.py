"""A network of one's own: a file that is taken into the list of networks."""

from collections.abc import Hashable
from concurrent.futures import Future
from functools import partial
from typing import Any

import streamlit as st

from compression import jobs, models
from compression.data import DATASETS
from compression.errors import UserError, WorkerLost
from compression.jobs import Refusal
from compression.models import Card
from pages.ui.model import wording
from pages.ui.model.links import link_of
from pages.ui.model.subject import Subject, dataset_title
from pages.ui.page.guard import guarded
from pages.ui.state import Visit, asked, begun, came, forgotten, put, shown, taken

ABOUT = "A classifier of such images into as many classes, saved by PyTorch:"

SAVING = """program = torch.export.export(
    model.eval(), (torch.zeros(2, {shape}),), dynamic_shapes=({{0: torch.export.Dim("n")}},))
torch.export.save(program, "mine.pt2")"""

EACH = "One number a channel, as 0.49,0.48,0.45. Empty: that of the images."

SAID = "bring.said"
"""What the last click of a button here has to tell."""


def draw(visit: Visit) -> None:
    """The file, its name here, and its images; a button that takes it in, how that went, and what is in the list."""
    known = list(dict.fromkeys([*DATASETS, visit.subject.dataset]))
    here = known.index(visit.subject.dataset)
    images = st.selectbox("Images", known, here, format_func=dataset_title, key="bring.images")
    st.markdown(ABOUT)
    st.code(SAVING.format(shape=_shape(images)), language="python")
    st.file_uploader("File", type="pt2", key="bring.file")
    st.text_input("Name", key="bring.name", placeholder="mine", help="Of a-z, 0-9 and _, a letter first.")
    mean, std = st.columns(2)
    mean.text_input("Mean of its images", key="bring.mean", help=EACH)
    std.text_input("Standard deviation", key="bring.std", help=EACH)
    wish = _wish()
    st.button(_offer(), type="primary", disabled=wish is None, on_click=_take)
    if wish and (answer := begun(wish)):
        _tell(answer, visit)
    if said := taken(SAID):
        st.toast(said)
    for network in models.brought():
        st.button(f"Remove {network.model}", icon=":material/delete:", on_click=_dismiss, args=(network.model,))


def _shape(dataset: str) -> str:
    """Channels, height and width of an image as they stand in Python; a folder's are known once it is read."""
    return ", ".join(map(str, DATASETS[dataset].input_shape)) if dataset in DATASETS else "*shape"


def _offer() -> str:
    """The button says which file it takes in: one that is still on its way here is not yet offered."""
    if not (file := shown("bring.file")):
        return "Add to the list"
    return f"Add {wording.plain(file.name)} to the list"


def _wish() -> Hashable | None:
    """What the form says now, if that is enough to begin."""
    file, name = shown("bring.file"), shown("bring.name").strip()
    texts = shown("bring.images"), shown("bring.mean"), shown("bring.std")
    return ("bring", file.file_id, name, *texts) if file and name else None


def _take() -> None:
    """Reads the form anew: since it was drawn, something may have been put in."""
    if (wish := _wish()) is None:
        return
    forgotten(lambda key: key == wish)
    texts = shown("bring.images"), shown("bring.mean"), shown("bring.std")
    asked(wish, jobs.import_network, shown("bring.file").getvalue(), shown("bring.name").strip(), *texts)


def _dismiss(name: str) -> None:
    """What there is to say waits for the form: Streamlit warns where a part's callback draws."""
    guarded(_remove, partial(put, SAID))(name)


def _remove(name: str) -> None:
    models.dismiss(name)
    forgotten(lambda key: isinstance(key, tuple) and key[0] == "bring")
    put(SAID, f"{wording.said(name)} is no longer in the list. Its runs stay on Compare.")


def _tell(answer: Future[Any], visit: Visit) -> None:
    """How it went, once that is known, and the way to the network."""
    with st.spinner("Looking at the network …"):
        came(answer)
    try:
        found = answer.result()
    except (UserError, WorkerLost) as error:
        found = Refusal(str(error))
    if isinstance(found, Refusal):
        st.error(wording.said(found.sentence))
    else:
        _welcome(found, visit)


def _welcome(card: Card, visit: Visit) -> None:
    name = wording.said(card.model)
    measured = card.test_accuracy is not None
    right = f": right on {card.test_accuracy:.1%} of {card.test_images:,} images" if measured else ""
    st.success(f"{name} is in the list of networks{right}.")
    link = link_of(Subject(card.model, models.OWN, shown("bring.images")), visit.recipe)
    st.page_link("pages/lab/explore.py", label=f"Make {name} smaller on Explore", query_params=link)
