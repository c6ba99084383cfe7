"""A network of one's own: a file that is taken into the list of networks."""

from collections.abc import Hashable
from concurrent.futures import Future
from functools import partial
from typing import Any

import streamlit as st

from compression import worker, zoo
from compression.errors import UserError, WorkerLost
from compression.worker import Refusal
from pages.ui import words
from pages.ui.guard import heard, repeated
from pages.ui.state import asked, begun, forgotten, shown

EVERY_S = 0.5

ABOUT = """A classifier for images of this size and these classes, saved by PyTorch:
```python
program = torch.export.export(
    model.eval(), (torch.zeros(2, *shape),),
    dynamic_shapes=({0: torch.export.Dim("n")},))
torch.export.save(program, "mine.pt2")
```"""

EACH = "One number a channel, as 0.49,0.48,0.45. Empty: that of the images."


def draw(dataset: str) -> None:
    """The file, its name here, and how its images are normalized; a button that takes it in."""
    with st.popover("Bring your own network", width="stretch"):
        st.caption(ABOUT)
        st.file_uploader("File", type="pt2", key="bring.file")
        st.text_input("Name", key="bring.name", placeholder="mine", help="Of a-z, 0-9 and _, a letter first.")
        st.text_input("Mean of its images", key="bring.mean", help=EACH)
        st.text_input("Standard deviation", key="bring.std", help=EACH)
        wish = _wish(dataset)
        st.button(_offer(), type="primary", disabled=wish is None, on_click=_take, args=(dataset,))
        if wish and (answer := begun(wish)):
            _tell(answer) if answer.done() else repeated(partial(_wait, answer), EVERY_S)
        for network in zoo.brought():
            st.button(f"Remove {network.model}", icon=":material/delete:", on_click=_dismiss, args=(network.model,))


def _offer() -> str:
    """The button says which file it takes in: one that is still on its way here is not yet offered."""
    if not (file := shown("bring.file")):
        return "Add to the list"
    return f"Add {words.plain(file.name)} to the list"


def _wish(dataset: str) -> Hashable | None:
    """What the form says now, if that is enough to begin."""
    file, name = shown("bring.file"), shown("bring.name").strip()
    return ("bring", file.file_id, name, dataset, shown("bring.mean"), shown("bring.std")) if file and name else None


def _take(dataset: str) -> None:
    """Reads the form anew: since it was drawn, something may have been put in."""
    if (wish := _wish(dataset)) is None:
        return
    forgotten(lambda key: key == wish)
    texts = shown("bring.mean"), shown("bring.std")
    asked(wish, worker.bring, shown("bring.file").getvalue(), shown("bring.name").strip(), dataset, *texts)


@heard
def _dismiss(name: str) -> None:
    zoo.dismiss(name)
    forgotten(lambda key: isinstance(key, tuple) and key[0] == "bring")
    st.toast(f"{words.said(name)} is no longer in the list. Its runs stay on Compare.")


def _wait(answer: Future[Any]) -> None:
    """The page goes on meanwhile; it is drawn anew, with what is in the list then, when the answer has come."""
    if answer.done():
        st.rerun()
    st.caption("Looking at the network …")


def _tell(answer: Future[Any]) -> None:
    """How it went."""
    try:
        found = answer.result()
    except (UserError, WorkerLost) as error:
        found = Refusal(str(error))
    if isinstance(found, Refusal):
        st.error(words.said(found.sentence))
    else:
        share = f"{found.test_accuracy:.1%} of {found.test_images:,} images"
        st.success(f"{words.said(found.model)} is in the list of networks: right on {share}.")
