"""Counts over a run, computed from its history, so that they continue after a restart of the agent."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.history.event_log import Event
from agent.schema import event_kinds as kinds

DECISION_BOUNDS_S = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Histogram:
    """Counts of values up to each of several bounds.

    Parameters
    ----------
    bounds
        Upper bounds in ascending order.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """Number of values observed."""
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float]]:
        """(bound as text, number of values up to it) for each bound and "+Inf", as Prometheus expects them."""
        total, out = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            total += count
            out.append((bound, float(total)))
        return out


@dataclass
class RunCounters:
    """Counts over the whole run up to event `seq`; changed only by `apply`."""

    seq: int = 0
    events: Counter[str] = field(default_factory=Counter)
    scans: Counter[str] = field(default_factory=Counter)  # by instrument
    decisions: Counter[str] = field(default_factory=Counter)  # by outcome
    results: Counter[str] = field(default_factory=Counter)  # by status
    refused: Counter[str] = field(default_factory=Counter)  # by code
    commands: Counter[str] = field(default_factory=Counter)  # by order
    points_sent: int = 0
    decision_s: Histogram = field(default_factory=lambda: Histogram(DECISION_BOUNDS_S))
    _unsent_points: dict[str, int] = field(default_factory=dict)  # by decision

    def apply(self, event: Event) -> None:
        """Update the counts with the next event."""
        self.seq = event.seq
        self.events[event.kind] += 1
        body = event.body
        if event.kind == kinds.SCAN_RECEIVED:
            self.scans[str(body.get("instrument_id"))] += 1
        elif event.kind == kinds.RESULT_RECEIVED:
            self.results[str(body.get("status"))] += 1
        elif event.kind == kinds.MESSAGE_REFUSED:
            self.refused[str(body.get("code"))] += int(body.get("count", 1))  # further ones are recorded as a sum
        elif event.kind == kinds.COMMAND_GIVEN:
            self.commands[str(body.get("command"))] += 1
        elif event.kind == kinds.APPROVAL_GIVEN:
            self._unsent_points[event.subject] = len(body.get("requests", ()))
        elif event.kind == kinds.DECISION_MADE:
            self._count_decision(event)
        elif event.kind == kinds.RECOMMENDATION_SENT:
            self.points_sent += self._unsent_points.pop(event.subject, 0)  # a repeated message sends no new points

    def _count_decision(self, event: Event) -> None:
        decision = event.body.get("decision", {})
        self.decisions[str(decision.get("outcome"))] += 1
        self.decision_s.observe(float(event.body.get("seconds", 0.0)))
        self._unsent_points[event.subject] = len(decision.get("requests", ()))


def decision_summary(event: Event) -> dict[str, Any]:
    """A "decision_made" event in a few fields, as plain JSON."""
    body = event.body
    decision = body.get("decision", {})
    return {
        "seq": event.seq,
        "recorded_at": event.recorded_at.isoformat(),
        "decision_id": event.subject,
        "scan_id": body.get("scan_id"),
        "sample_id": decision.get("sample_id"),
        "instrument_id": body.get("instrument_id"),
        "outcome": decision.get("outcome"),
        "explanation": decision.get("explanation"),
        "places": len(decision.get("requests", ())),
        "seconds": float(body.get("seconds", 0.0)),
    }
