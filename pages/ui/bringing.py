"""A network of one's own: a file that is taken into the list of networks."""

import streamlit as st

from compression import worker
from compression.errors import InvalidSetting, UserError
from compression.worker import Refusal
from pages.ui.state import lab

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
        file = st.file_uploader("File", type="pt2", key="bring.file")
        name = st.text_input("Name", key="bring.name", placeholder="mine", help="Of a-z, 0-9 and _, a letter first.")
        texts = {
            "mean": st.text_input("Mean of its images", key="bring.mean", help=EACH),
            "std": st.text_input("Standard deviation", key="bring.std", help=EACH),
        }
        if st.button("Add to the list", type="primary", disabled=file is None or not name) and file:
            try:
                given = {key: _numbers(text) for key, text in texts.items() if text.strip()}
                with st.spinner("Looking at the network"):
                    found = lab().ask(worker.bring, file.getvalue(), name.strip(), dataset, given).result()
            except UserError as error:
                found = Refusal(str(error))
            if isinstance(found, Refusal):
                st.error(found.sentence)
            else:
                share = f"{found.test_accuracy:.1%} of {found.test_images:,} images"
                st.success(f"{found.model} is in the list of networks: right on {share}.")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InvalidSetting(f"Numbers with commas between them are needed, as 0.49,0.48,0.45, not {text!r}.") from None
