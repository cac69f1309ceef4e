"""What tables are made of: the scans, decisions, requests and results of a part of a history."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent import ledger as kinds
from agent.finding import entries
from agent.history import Event, History
from agent.streams import Part, stream


@dataclass(frozen=True)
class Measurement:
    """One request with what came of it.

    Parameters
    ----------
    request
        As the decision made it.
    decision
        The event of its decision.
    result
        The event of its result; None if there is none (yet).
    """

    request: Mapping[str, Any]
    decision: Event
    result: Event | None


def measurements(history: History, part: Part) -> Iterator[Measurement]:
    """All requests of a part's decisions, in order."""
    for event in stream(history, decisions_of(part)):
        for request in entries(event.body.get("decision"), "requests"):
            yield Measurement(request, event, result_of(history, event.body["instrument_id"], request["request_id"]))


def result_of(history: History, instrument_id: str, request_id: str) -> Event | None:
    """What came of a request, if anything did."""
    found = history.events(kind=kinds.RESULT_RECEIVED, subject=request_id)
    return next((e for e in found if e.body["instrument_id"] == instrument_id), None)


def decisions_of(part: Part) -> Part:
    """The decisions of a part."""
    return Part(kinds.DECISION_MADE, part.instrument, part.sample, part.scan, part.since)


def scans_of(part: Part) -> Part:
    """The scans of a part."""
    return Part(kinds.SCAN_RECEIVED, part.instrument, part.sample, part.scan, part.since)
