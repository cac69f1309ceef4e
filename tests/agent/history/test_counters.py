"""Counts of a run."""

from agent.history.counters import Histogram, RunCounters
from agent.history.event_log import Event
from tests.support.samples import NOW


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0.5, 1.0, 1.5, 5.0, 9.0):
        histogram.observe(value)
    assert histogram.buckets() == [("1", 2), ("2", 3), ("5", 4), ("+Inf", 5)]
    assert (histogram.count, histogram.sum) == (5, 17.0)


def test_only_approved_points_count_as_sent_and_only_once() -> None:
    counters = RunCounters()
    decision = {"decision": {"outcome": "types", "requests": [1, 2, 3]}, "seconds": 1.0}
    bodies = [
        ("decision_made", decision),
        ("approval_given", {"requests": [1, 2]}),
        ("recommendation_sent", {}),
        ("recommendation_sent", {}),
        ("command_given", {"command": "stop"}),
    ]
    for seq, (kind, body) in enumerate(bodies, 1):
        counters.apply(Event(seq, NOW, kind, "d-1", body))
    assert (counters.points_sent, counters.seq, dict(counters.commands)) == (2, 5, {"stop": 1})
