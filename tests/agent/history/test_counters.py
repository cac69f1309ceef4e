"""Counts of a run."""

import pytest

from agent.history.counters import Histogram, RunCounters
from agent.history.event_log import Event
from tests.support.samples import NOW


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0.5, 1.0, 1.5, 5.0, 9.0):
        histogram.observe(value)
    assert histogram.buckets() == [("1", 2), ("2", 3), ("5", 4), ("+Inf", 5)]
    assert (histogram.count, histogram.sum) == (5, 17.0)


@pytest.mark.parametrize(("share", "bound"), [(0.2, 1), (0.5, 2), (0.8, 5), (0.99, float("inf"))])
def test_a_histogram_knows_the_bound_that_a_share_of_the_values_keeps(share: float, bound: float) -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0.5, 1.5, 1.7, 5.0, 9.0):
        histogram.observe(value)
    assert histogram.quantile(share) == bound
    assert Histogram((1,)).quantile(0.5) is None


def test_only_points_that_a_person_let_pass_count_as_sent_and_only_once() -> None:
    tally = RunCounters()
    decision = {"decision": {"outcome": "types", "requests": [1, 2, 3]}, "seconds": 1.0}
    bodies = [
        ("decision_made", decision),
        ("approval_given", {"requests": [1, 2]}),
        ("recommendation_sent", {}),
        ("recommendation_sent", {}),
        ("command_given", {"command": "stop"}),
    ]
    for seq, (kind, body) in enumerate(bodies, 1):
        tally.apply(Event(seq, NOW, kind, "d-1", body))
    assert (tally.points_sent, tally.seq, dict(tally.commands)) == (2, 5, {"stop": 1})
