"""What every registered technique must keep, checked over the whole table."""

import pytest

from compression.steps import STEPS
from compression.techniques import TECHNIQUES
from tests.techniques.contract import (
    answers_nearly_alike_on_maps,
    changes_a_copy_and_keeps_its_state,
    tiny_and_calibrated,
)

UNTRAINED = [kind for kind, technique in TECHNIQUES.items() if not technique.train_]
"""All but those that train what the others changed."""


@pytest.fixture(scope="module")
def dense():
    return tiny_and_calibrated()


def test_every_step_has_a_technique_and_every_technique_a_step():
    assert {kind: technique.settings for kind, technique in TECHNIQUES.items()} == STEPS
    assert list(TECHNIQUES) == list(STEPS)


@pytest.mark.parametrize("kind", UNTRAINED)
def test_technique(kind, dense):
    graph, calibration = dense
    changes_a_copy_and_keeps_its_state(graph, kind, calibration)


@pytest.mark.parametrize("kind", UNTRAINED)
def test_linear_layers_on_feature_maps(kind):
    answers_nearly_alike_on_maps(kind)
