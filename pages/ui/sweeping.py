"""What each layer alone would cost, asked for layer by layer while the page is open."""

from collections.abc import Sequence

import streamlit as st

from compression import insight
from pages.ui import insides, panels
from pages.ui.plot import plot
from pages.ui.state import Visit

SIMULATED = "Simulated in torch on validation images, one layer at a time; the other numbers are of the file."


def sensitivity(visit: Visit, names: Sequence[str], chosen: str) -> None:
    """The curves of the chosen layer and of all, computed in the background while the page is open."""
    st.markdown("#### Sensitivity", help=SIMULATED)
    known, wanted = visit.curves, st.toggle("Compute it in the background", key="layers.sweep")
    missing = [name for name in names if name not in known]
    if wanted and missing:
        sweep(visit, missing, len(names))
    if chosen in known:
        plot(insides.curves(known[chosen]), f"Sensitivity of {chosen}.", key="layers.curves")
    if known:
        ordered = [known[name] for name in names if name in known]
        plot(insides.heatmap(ordered), f"Points lost by each of {len(ordered)} layers.", key="layers.heatmap")
        st.caption(SIMULATED)
    elif not wanted:
        st.caption("Which layers can bear what? Takes a minute or two for a small network; it can be interrupted.")


@st.fragment(run_every=1.0)
def sweep(visit: Visit, missing: Sequence[str], total: int) -> None:
    """Asks for one layer after the other; the page starts afresh with each that comes."""
    done = total - len(missing)
    st.progress(done / total, f"Layer {done + 1} of {total}: {missing[0]} …")
    answer = visit.answer("sensitivity", insight.sensitivity, visit.plain_request, missing[0])
    if answer.done():
        found = panels.awaited(answer, "Computing")
        if found is not None:
            visit.curves[missing[0]] = found
            st.rerun()
