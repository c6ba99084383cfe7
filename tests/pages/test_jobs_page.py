"""The Jobs page: a job in words, and the page itself with a real worker on Digits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from compression.recipe import Recipe
from compression.store import JobRecord
from pages.ui import state
from pages.ui.model import job_rows, links
from pages.ui.model.subject import Subject
from tests.pages.points import DIGITS
from tests.pages.running_app import opened


@pytest.mark.usefixtures("engine")
def test_the_jobs_page_trains_lists_and_hands_out_tables() -> None:
    page = opened(links.link_of(DIGITS, links.START))
    page.switch_page("pages/lab/jobs.py").run()
    assert not page.exception
    assert not page.error
    page.selectbox[1].set_value("digits")
    page.number_input[0].set_value(0.01)
    next(each for each in page.button if each.label == "Train").click().run()
    assert not page.exception
    [job] = [job for job in state.lab().store.jobs.all() if job.kind == "train"]
    assert job.title == "LeNet-300-100 on Digits: training from scratch"
    assert any(job.title in each.value for each in page.markdown)
    state.lab().long.cancel(job.id)
    assert state.lab().store.jobs.get(job.id).state == "cancelled"
    page.run()
    assert {f"Resume.{job.id}", f"Remove.{job.id}"} <= {button.key for button in page.button}
    page.button(key=f"Remove.{job.id}").click().run()
    assert job.title not in " ".join(each.value for each in page.markdown)
    assert "store.sqlite" in page.caption[-1].value


def test_a_job_is_told_in_words() -> None:
    when = datetime(2026, 5, 4, 12, tzinfo=UTC)
    progress = {"step": 1200, "steps": 10_000, "epoch": 2, "loss": 0.521, "accuracy": 0.9123, "seconds_left": 200.0}
    request = {"model": "lenet5", "dataset": "digits", "epochs": 3, "seed": 0}
    job = JobRecord(
        "j", "train", "t", request, 2, "working", "Epoch 3 of 40", 0.1, progress, {"machine": "there"}, None, "r", when,
        when, None, when,
    )  # fmt: skip
    told = job_rows.row(job, "here")
    assert told.line == "Epoch 3 of 40 · step 1,200 of 10,000 · loss 0.521 · validation 91.2% · 3 min left"
    assert told.remark.startswith("on another machine · started ")
    assert told.remark.endswith("priority 2")
    assert (told.can_cancel, told.can_resume, told.share) == (True, False, 0.1)
    assert told.link == links.link_of(Subject("lenet5", "digits", "digits"), Recipe())
    ended = replace(job, state="cancelled", wanted="cancel", ended=when + timedelta(seconds=45))
    assert "took 45 s" in job_rows.row(ended, "there").remark
    assert job_rows.row(ended, "there").share == 0.12  # of the steps, whatever else there was to do
    assert (job_rows.row(ended, "there").can_cancel, job_rows.row(ended, "there").can_resume) == (False, True)
    assert not job_rows.row(ended, "there").can_finish  # a training from scratch goes on, or not
    recovery = replace(ended, kind="compress")
    assert job_rows.row(recovery, "there").can_finish
    assert not job_rows.row(recovery, "here").can_finish  # what it has learned lies there
    for nothing in ({}, progress | {"step": 0}):  # it had not begun to learn
        assert not job_rows.row(replace(recovery, progress=nothing), "there").can_finish
    assert "left" not in job_rows.row(ended, "there").line
    assert [job_rows.duration(s) for s in (45, 200, 7500)] == ["45 s", "3 min", "2 h 05 min"]
