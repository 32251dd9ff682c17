"""Features are named, documented, finite, and tell choices apart."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.tuning import SPACES, conv_task

from espalier.codegen.cpu.spaces import options, problem_of_task
from espalier.tuning.cost_model.features import FEATURES, feature_rows

DEPTHWISE = conv_task(32, 32, 14, groups=32)


@pytest.mark.parametrize("task", [*SPACES, DEPTHWISE])
def test_every_choice_has_its_row(task):
    space = options(*problem_of_task(task))
    rows = feature_rows(task, space)
    assert rows.shape == (len(space), len(FEATURES))
    assert np.isfinite(rows).all()
    assert len(np.unique(rows.round(9), axis=0)) == len(space)
    assert all(FEATURES.values())


def test_a_tile_that_does_not_fit_is_wasteful():
    task = conv_task(16, 64, 14, 1)
    space = {tuple(dict(one.choice.sizes).values()): one for one in options(*problem_of_task(task))}
    whole, partial = (feature_rows(task, [space[tile]])[0] for tile in ((2, 1, 14), (2, 1, 13)))
    waste, last = (list(FEATURES).index(name) for name in ("waste", "last_columns"))
    assert (whole[waste], whole[last]) == (0, 1)
    assert partial[waste] > 0.5
    assert partial[last] == 1 / 13


def test_no_options_have_no_rows():
    assert feature_rows(DEPTHWISE, []).shape == (0, len(FEATURES))
