"""A tab's link: what the address of the page names, and the address of what is shown."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from compression.errors import UnknownName, UserError
from compression.language import N_, _
from pages.ui.model import links
from pages.ui.model import subject as subjects
from pages.ui.model.choice import Choice
from pages.ui.model.links import RUN, START, link_of, read_link
from pages.ui.model.points import Point
from pages.ui.model.subject import Subject
from pages.ui.model.view import View
from pages.ui.state import language
from pages.ui.state.server import is_of, remembered, store

OUTDATED = N_(
    "The run {run} is of weights that this network has no more. Its recipe is measured on those that it has now."
)
UNREADABLE = N_("This link cannot be opened, so the page shows its usual start.")
MISSING = N_(
    "The run {run} is not in the store here: it was deleted, or measured elsewhere. Its recipe is measured here."
)


@dataclass(frozen=True)
class Opened:
    """What a link names. `run` is the stored run that it names, as a point; `notice` is why it cannot be
    opened, in English sentences, `remark` says what there is to say of the run."""

    choice: Choice
    view: View
    run: Point | None = None
    notice: tuple[str, ...] = ()
    remark: Callable[[], str] = str


@dataclass
class Link:
    """`query` is the link that was opened or written last."""

    query: dict[str, str] = field(default_factory=dict)

    def open(self, query: dict[str, str]) -> Opened:
        """What a link names, whole or not at all; where it cannot be read, the usual start and a notice."""
        self.query = query
        try:
            subject, recipe, view = read_link(query)
        except UserError as error:
            return Opened(Choice(subjects.default(), START), View(), notice=(UNREADABLE, str(error)))
        opened = Opened(Choice(subject, recipe), view)
        return _with_run(opened, query[RUN]) if RUN in query else opened

    def write(self, choice: Choice, view: View, run: Point | None) -> None:
        """Has the browser show the link to what is shown."""
        query = link_of(*choice, view, run.run if run else "")
        if query != self.query or not language.query():  # which the menu's links to other pages leave behind
            self.query = query
            language.show(query)


def _with_run(opened: Opened, wanted: str) -> Opened:
    """The stored run of that id in place of what else the link names; the remark tells where it comes from."""
    try:
        run = store().run(wanted)
        subject, recipe = Subject(run.subject.model, run.subject.weights, run.subject.dataset), run.recipe
        if not subject.is_trained:
            raise UnknownName("network", subject.title, [])
    except UserError:
        return replace(opened, remark=lambda: _(MISSING).format(run=wanted))
    opened = replace(opened, choice=Choice(subject, recipe))
    if not is_of(run, subject):
        return replace(opened, remark=lambda: _(OUTDATED).format(run=wanted))
    if run.accuracy.split == "validation":  # a trial of a search: nothing was measured on the test images yet
        return opened
    return replace(opened, run=remembered(run), remark=partial(links.told, run, store().latencies(run.id)))
