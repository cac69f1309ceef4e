"""Narratives of scans, requests, instruments, runs, and single events."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

from agent.history.event_log import Event, History
from agent.history.filters import EventFilter, filtered_events
from agent.history.lookup import first_found
from agent.history.readers import reading_event, scan_event
from agent.provenance.narrative import Narrative, NarrativeSection, counted, event_sentence, length, number, place, timestamp
from agent.reporting.export.rows import measurements_of
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord
from agent.schema.wording import ELSEWHERE, OUTCOMES, UNASKED
from instrument_adapters.protocol.messages import MeasurementRequest

_MOST_LISTED = 30  # events


def scan_narrative(history: History, event: Event) -> Narrative:
    """Narrative of a "scan_received" event."""
    with reading_event(event):
        header, owner = event.body["header"], event.body["instrument_id"]
        frame = header["frame"]
        about = list(filtered_events(history, EventFilter(instrument=owner, scan=event.subject)))
        channels = ", ".join(f"{c['name']} ({c['unit'] or 'no unit'})" for c in header["channels"])
        size = f"{frame['rows']} x {frame['cols']} pixels over {length(frame['size_slow_m'])} x {length(frame['size_fast_m'])}"
        centre = place(frame["x_offset_m"], frame["y_offset_m"])
        received = f"received {timestamp(event.recorded_at)} (event {event.seq})"
        began, ended = (header.get(name) or "?" for name in ("started_at", "finished_at"))
        facts = (
            f"{owner} recorded it on sample {event.body['sample_id']}: {size}, centred at {centre}",
            f"Channels: {channels}",
            f"Recorded from {began} to {ended} by the instrument's clock; {received}",
        )
        decided = tuple(_decision_lines(about))
    sections = (
        NarrativeSection("The scan", facts),
        NarrativeSection("What followed", decided),
        NarrativeSection("Events", tuple(map(event_sentence, about))),
    )
    title = f"Scan {event.subject} of {owner} (sample {event.body['sample_id']})"
    return Narrative("scan", event.subject, title, sections, {"event": event.seq, "header": header})


def _decision_lines(about: list[Event]) -> Iterator[str]:
    for e in about:
        if e.kind == kinds.SEARCH_CANCELLED:
            yield f"No decision: {e.body['reason']}"
        if e.kind == kinds.DECISION_MADE:
            decision = e.body["decision"]
            yield f"Decision {e.subject} (event {e.seq}, after {e.body['seconds']:.1f} s): {decision['explanation']}"
    counts = Counter(e.body["status"] for e in about if e.kind == kinds.RESULT_RECEIVED)
    if counts:
        yield f"Results: {', '.join(f'{n} {status}' for status, n in counts.items())}"
    if not any(e.kind in (kinds.SEARCH_CANCELLED, kinds.DECISION_MADE) for e in about):
        yield "No decision has been made on it"


def request_narrative(history: History, decision: Event, request_id: str) -> Narrative:
    """Narrative of one request of a "decision_made" event, and of its result."""
    with reading_event(decision):
        record = DecisionRecord.model_validate(decision.body["decision"])
        found = first_found(m for m in measurements_of(history, decision) if m.request["request_id"] == request_id)
        request, result = MeasurementRequest.model_validate(found.request), found.result
        owner = decision.body["instrument_id"]
        sections = (
            NarrativeSection("Why this point", tuple(_why_here(record, request, found.fate))),
            NarrativeSection("What happened", tuple(_event_lines(history, decision, request_id, result))),
            NarrativeSection("What was measured", tuple(_measurement_lines(request, result))),
            NarrativeSection("Later decisions", tuple(_later_decisions(history, record.sample_id, result))),
        )
    facts = {"request": request.model_dump(mode="json"), "result": None if result is None else result.body}
    return Narrative("request", request_id, f"Request {request_id} to {owner}", sections, facts)


def _why_here(record: DecisionRecord, r: MeasurementRequest, fate: str) -> Iterator[str]:
    if fate:
        yield f"{fate[0].upper()}{fate[1:]}"
    cluster = first_found(c for c in record.clusters if c.cluster == r.cluster)
    share = cluster.points / max(sum(c.points for c in record.clusters), 1)
    yield f"Decision {record.decision_id} on {record.scan_id}; {place(r.x_m, r.y_m)}, pixel (row {r.row}, column {r.col})"
    core = f"{cluster.core_points} of its {cluster.points} points are core points"
    yield f"Type {r.cluster} of {len(record.clusters)}, {share:.0%} of the key points; {core}"
    typicality = "the most typical" if r.rank == 0 else f"number {r.rank + 1} by typicality"
    yield f"Among the requests for this type it is {typicality}: core distance {r.core_distance:.2f} (Mahalanobis)"
    settings = record.config.get("recommend", {})
    ids = [q.request_id for q in record.requests]
    if r.request_id not in ids:
        return
    position = ids.index(r.request_id) + 1
    yield f"It is number {position} of {len(ids)} in the measuring order (policy '{settings.get('policy')}')"
    if record.drift.nm_per_min is not None:
        pixel_xy = record.frame.to_metres(_pixel(r))[0]
        shift = ((r.x_m - pixel_xy[0]) ** 2 + (r.y_m - pixel_xy[1]) ** 2) ** 0.5
        drift = f"drift {record.drift.nm_per_min:.1f} nm/min"
        yield f"It was shifted by {length(shift)} from its pixel to where the sample will be ({drift})"


def _pixel(r: MeasurementRequest) -> Any:
    import numpy as np

    return np.array([[float(r.row), float(r.col)]])


def _event_lines(history: History, decision: Event, request_id: str, result: Event | None) -> Iterator[str]:
    yield event_sentence(decision)
    for e in history.events(mentioning=decision.subject):
        of_decision = e.subject == decision.subject or e.body.get("decision_id") == decision.subject
        if of_decision and e.kind not in (kinds.DECISION_MADE, kinds.CANDIDATES_SCORED, kinds.RESULT_RECEIVED):
            yield event_sentence(e)
    for e in history.events(mentioning=request_id):
        if e.kind not in (kinds.DECISION_MADE, kinds.RESULT_RECEIVED) and request_id in (e.subject, e.body.get("request_id")):
            yield event_sentence(e)
    yield event_sentence(result) if result is not None else "No result yet"


def _measurement_lines(request: MeasurementRequest, result: Event | None) -> Iterator[str]:
    if result is None:
        return
    body = result.body
    if body.get("x_m") is not None and body.get("y_m") is not None:
        distance = math.hypot(body["x_m"] - request.x_m, body["y_m"] - request.y_m)
        yield f"At {place(body['x_m'], body['y_m'])}, {length(distance)} from the requested position, {body.get('measured_at')}"
    for name, value in body.get("parameters", {}).items():
        yield f"{name}: {value:.6g}"
    for name, digest in result.arrays.items():
        yield f"Array {name}: {digest[:12]}"


def _later_decisions(history: History, sample_id: str, result: Event | None) -> Iterator[str]:
    """Later decisions that took the result into account."""
    if result is None:
        return
    for e in history.events(kind=kinds.DECISION_MADE, after=result.seq):
        last_known = e.body.get("asked", {}).get("after", result.seq)
        if e.body["decision"]["sample_id"] == sample_id and last_known >= result.seq:
            weight = e.body["decision"].get("evidence_weight")
            usable = result.body["status"] == "ok" and not {ELSEWHERE, UNASKED} & set(result.body.get("judged", ()))
            evidence = f"results weighed {weight or 0:.0%}" if usable else "not used as evidence"
            avoided = "" if result.body["status"] == "skipped" else ", and the point was avoided"
            yield f"Decision {e.subject} (event {e.seq}): {evidence}{avoided}"


def instrument_narrative(history: History, instrument_id: str) -> Narrative:
    """Narrative of everything that one instrument did."""
    events = list(history.events(instrument=instrument_id))
    connected = [e for e in events if e.kind == kinds.INSTRUMENT_CONNECTED]
    latest = connected[-1].body if connected else {}
    limits = latest.get("limits", {})
    identity = [f"{latest.get('model')}, {latest.get('software')}", *(f"{name}: {value:g}" for name, value in limits.items())]
    notable = [e for e in events if e.kind not in _COUNTED_KINDS]
    sections = (
        NarrativeSection("Instrument and limits", tuple(identity) if connected else ()),
        NarrativeSection("Counts", tuple(_count_lines(events))),
        NarrativeSection("Other events", tuple(map(event_sentence, notable[-_MOST_LISTED:]))),
    )
    return Narrative(
        "instrument", instrument_id, f"Instrument {instrument_id}", sections, {"limits": limits, "events": len(events)}
    )


_COUNTED_KINDS = (
    kinds.SCAN_RECEIVED,
    kinds.CANDIDATES_SCORED,
    kinds.DECISION_MADE,
    kinds.RECOMMENDATION_READY,
    kinds.RECOMMENDATION_SENT,
    kinds.RECOMMENDATION_ACKNOWLEDGED,
    kinds.APPROVAL_ASKED,
    kinds.APPROVAL_GIVEN,
    kinds.RESULT_RECEIVED,
)


def _count_lines(events: list[Event]) -> Iterator[str]:
    scans = [e for e in events if e.kind == kinds.SCAN_RECEIVED]
    samples = sorted({e.body["sample_id"] for e in scans})
    yield f"{counted(len(scans), 'scan')} of {counted(len(samples), 'sample')}" + (f" ({', '.join(samples)})" if samples else "")
    decisions = [e for e in events if e.kind == kinds.DECISION_MADE]
    outcomes = Counter(OUTCOMES.get(outcome := e.body["decision"]["outcome"], outcome) for e in decisions)
    points = sum(len(e.body["decision"]["requests"]) for e in decisions)
    by_outcome = f" ({', '.join(f'{outcome}: {n}' for outcome, n in outcomes.items())})" if outcomes else ""
    yield f"{counted(len(decisions), 'decision')}{by_outcome}; {counted(points, 'point')} recommended"
    statuses = Counter(e.body["status"] for e in events if e.kind == kinds.RESULT_RECEIVED)
    yield f"{counted(sum(statuses.values()), 'result')}" + (
        f" ({', '.join(f'{n} {s}' for s, n in statuses.items())})" if statuses else ""
    )
    times = sorted(e.body["seconds"] for e in decisions)
    if times:
        yield f"A decision took {statistics.median(times):.1f} s (median), {number(times[-1], 1)} s at most"


def run_narrative(history: History) -> Narrative:
    """Narrative of a whole run."""
    events = list(history.events())
    if not events:
        return Narrative("run", "", f"Run {history.run_directory.name}", (NarrativeSection("", ("No events yet",)),))
    started = [e for e in events if e.kind == kinds.RUN_STARTED]
    instruments = sorted({e.body["instrument_id"] for e in events if e.kind == kinds.INSTRUMENT_CONNECTED})
    lines = [
        f"{counted(len(events), 'event')}, from {timestamp(events[0].recorded_at)} to {timestamp(events[-1].recorded_at)}",
        f"Started {counted(len(started), 'time')}; {_shutdowns(events)}",
        f"Instruments: {', '.join(instruments) or 'none'}",
    ]
    notable = [e for e in events if e.kind not in _COUNTED_KINDS]
    sections = (
        NarrativeSection("In short", tuple(lines)),
        NarrativeSection("Counts", tuple(_count_lines(events))),
        *(
            NarrativeSection(
                f"Instrument {name}", tuple(_count_lines([e for e in events if e.body.get("instrument_id") == name]))
            )
            for name in instruments
        ),
        NarrativeSection("Other events", tuple(map(event_sentence, notable[-_MOST_LISTED:]))),
    )
    name = started[0].subject if started else history.run_directory.name
    kinds_counted = dict(Counter(e.kind for e in events))
    return Narrative(
        "run", name, f"Run {name} in {history.run_directory}", sections, {"kinds": kinds_counted, "head": str(history.head)}
    )


def _shutdowns(events: list[Event]) -> str:
    """How often the agent stopped without a clean shutdown, and whether it is running."""
    killed, running = 0, False
    for e in events:
        if e.kind == kinds.RUN_STARTED:
            killed, running = killed + running, True
        elif e.kind == kinds.RUN_STOPPED:
            running = False
    now = "; now running, or killed" if running else ""
    return f"terminated {counted(killed, 'time')} without a clean shutdown (killed, or power failure){now}"


def event_narrative(history: History, event: Event) -> Narrative:
    """Narrative of any other event."""
    lines = [event_sentence(event), f"Subject: {event.subject}"]
    owner = event.body.get("instrument_id")
    if owner and owner != event.subject:
        lines.append(f"Instrument {owner}")
    if isinstance(scan_id := event.body.get("scan_id"), str) and owner:
        lines.append(f"Scan {scan_id} (event {scan_event(history, owner, scan_id).seq})")
    lines.append(f"Hash {event.hash[:16]}..., which covers this event and, through the chain, all events before it")
    body = json.dumps(event.body, indent=2, ensure_ascii=False)
    sections = (NarrativeSection("What happened", tuple(lines)), NarrativeSection("Body", quoted=body))
    return Narrative(
        "event", str(event.seq), f"Event {event.seq}: {event.kind}", sections, {"event": event.seq, "body": event.body}
    )
