from inspect import signature

import numpy as np
import pytest

from rewards.composite import DEFAULT_CRITERIA, criteria_table
from rewards.metrics import METRICS
from rewards.panel import panel
from rewards.registry import REWARDS
from rewards.spatial import spatial
from tests.support.data.clouds import blobs, representation

QUICK = {"components": (1, 2, 3, 4), "restarts": 2}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_panel_is_the_spatial_reward_with_every_reward_s_metrics() -> None:
    subject = representation(blobs(3, n_each=100))
    together, alone = panel(subject, rng=rng(), resamples=2, **QUICK), spatial(subject, rng=rng(), **QUICK)
    assert together.value == alone.value
    assert dict(alone.metrics).items() <= dict(together.metrics).items()
    assert {"stability", "stability_halves", "topology", "K_topology", "bic_gain_per_d"} <= set(together.metrics)


def test_its_options_have_the_defaults_of_the_spatial_reward() -> None:
    mine, its = (signature(f).parameters for f in (panel, spatial))
    assert {name: p.default for name, p in its.items()}.items() <= {name: p.default for name, p in mine.items()}.items()


def test_the_direction_of_every_metric_of_ours_is_known() -> None:
    quick = {"bgmm": {"settings": {"components": 2, "steps": 2}}}
    subject = representation(blobs(2, n_each=60))
    for name in ("panel", "bgmm", "variance", "reconstruction"):
        assert set(REWARDS[name](subject, rng=rng(), **quick.get(name, {})).metrics) <= set(METRICS)


def test_its_metrics_make_the_table_that_the_default_criteria_need() -> None:
    metrics = [panel(representation(blobs(k, n_each=60)), rng=rng(), resamples=1, **QUICK).metrics for k in (1, 3)]
    table = criteria_table(metrics, DEFAULT_CRITERIA)
    assert table.shape == (2, 3)
    assert table[1, 2] > table[0, 2] == pytest.approx(0)
