"""How many of a dataset's test images are measured on."""

import streamlit as st

from compression.data.test_samples import TestSample, named, parted
from compression.language import N_, _
from pages.ui.model.subject import sample_title, samples
from pages.ui.state import shown_or_none

ABOUT = N_("Fewer images are faster to measure, with wider intervals.")


def sampled(dataset: str, key: str) -> str:
    """The picker, whose state is called `key`, and the name of the dataset with what is chosen."""
    base, now = parted(dataset)
    kept = shown_or_none(key)  # after a change of language the browser may send a label of the former one
    offered = samples(named(base, kept if isinstance(kept, TestSample) else now))
    chosen = st.selectbox(_("Test images"), offered, key=key, format_func=sample_title, help=_(ABOUT))
    return named(base, chosen if isinstance(chosen, TestSample) else now)
