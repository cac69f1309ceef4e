"""Accounts of all that is no decision: a scan, a request with its result, an instrument, an event, a run."""

import json
import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

from agent.history.event_log import Event, History
from agent.history.filters import Part, stream
from agent.history.lookup import only
from agent.history.readers import received, trusted
from agent.provenance.narrative import Narrative, Section, at, counted, happened, length, number, place
from agent.reporting.export.rows import measurements_of
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord
from instrument_adapters.protocol.messages import MeasurementRequest

_LISTED = 30


def scan_account(history: History, event: Event) -> Narrative:
    """The account of a "scan_received" event."""
    with trusted(event):
        header, owner = event.body["header"], event.body["instrument_id"]
        frame = header["frame"]
        about = list(stream(history, Part(instrument=owner, scan=event.subject)))
        channels = ", ".join(f"{c['name']} ({c['unit'] or 'no unit'})" for c in header["channels"])
        size = f"{frame['rows']} x {frame['cols']} pixels over {length(frame['size_slow_m'])} x {length(frame['size_fast_m'])}"
        centre = place(frame["x_offset_m"], frame["y_offset_m"])
        began, ended = (header.get(name) or "?" for name in ("started_at", "finished_at"))
        seen = (
            f"{owner} recorded it on sample {event.body['sample_id']}: {size}, centred at {centre}",
            f"Channels: {channels}",
            f"Recorded from {began} to {ended} by the instrument's clock; here since {at(event.recorded_at)} (event {event.seq})",
        )
        became = tuple(_became(about))
    sections = (
        Section("What it shows", seen),
        Section("What became of it", became),
        Section("Its events", tuple(map(happened, about))),
    )
    title = f"Scan {event.subject} of {owner} (sample {event.body['sample_id']})"
    return Narrative("scan", event.subject, title, sections, {"event": event.seq, "header": header})


def _became(about: list[Event]) -> Iterator[str]:
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
        yield "It has not been decided on"


def request_account(history: History, decision: Event, request_id: str) -> Narrative:
    """The account of one request of a "decision_made" event, and of its result."""
    with trusted(decision):
        record = DecisionRecord.model_validate(decision.body["decision"])
        found = only(m for m in measurements_of(history, decision) if m.request["request_id"] == request_id)
        request, result = MeasurementRequest.model_validate(found.request), found.result
        owner = decision.body["instrument_id"]
        sections = (
            Section("Why this place", (*_why_here(record, request, found.fate),)),
            Section("What happened", tuple(_course(history, decision, request_id, result))),
            Section("What was measured", tuple(_measured(request, result))),
            Section("What it bore on", tuple(_bore_on(history, record.sample_id, result))),
        )
    facts = {"request": request.model_dump(mode="json"), "result": None if result is None else result.body}
    return Narrative("request", request_id, f"Request {request_id} to {owner}", sections, facts)


def _why_here(record: DecisionRecord, r: MeasurementRequest, fate: str) -> Iterator[str]:
    if fate:
        yield f"{fate[0].upper()}{fate[1:]}"
    cluster = only(c for c in record.clusters if c.cluster == r.cluster)
    share = cluster.points / max(sum(c.points for c in record.clusters), 1)
    yield f"Decision {record.decision_id} on {record.scan_id}; {place(r.x_m, r.y_m)}, pixel (row {r.row}, column {r.col})"
    typical = f"{cluster.core_points} of its {cluster.points} are typical"
    yield f"Type {r.cluster} of {len(record.clusters)}, {share:.0%} of the key points; {typical}"
    nth = "the most typical that could be measured" if r.rank == 0 else f"number {r.rank + 1}"
    yield f"Among the requests for this type it is {nth}: {r.core_distance:.2f} (Mahalanobis) from the type's centre"
    settings = record.config.get("recommend", {})
    order = [q.request_id for q in record.requests]
    if r.request_id not in order:
        return
    number_ = order.index(r.request_id) + 1
    yield f"It is number {number_} of {len(order)} in the order of measuring; policy '{settings.get('policy')}'"
    if record.drift.nm_per_min is not None:
        asked = record.frame.to_metres(_pixel(r))[0]
        moved = ((r.x_m - asked[0]) ** 2 + (r.y_m - asked[1]) ** 2) ** 0.5
        drift = f"drift {record.drift.nm_per_min:.1f} nm/min"
        yield f"It was moved by {length(moved)} from its pixel, to where the sample will be ({drift})"


def _pixel(r: MeasurementRequest) -> Any:
    import numpy as np

    return np.array([[float(r.row), float(r.col)]])


def _course(history: History, decision: Event, request_id: str, result: Event | None) -> Iterator[str]:
    yield happened(decision)
    for e in history.events(mentioning=decision.subject):
        of_decision = e.subject == decision.subject or e.body.get("decision_id") == decision.subject
        if of_decision and e.kind not in (kinds.DECISION_MADE, kinds.CANDIDATES_SCORED, kinds.RESULT_RECEIVED):
            yield happened(e)
    for e in history.events(mentioning=request_id):
        if e.kind not in (kinds.DECISION_MADE, kinds.RESULT_RECEIVED) and request_id in (e.subject, e.body.get("request_id")):
            yield happened(e)
    yield happened(result) if result is not None else "No result has come"


def _measured(request: MeasurementRequest, result: Event | None) -> Iterator[str]:
    if result is None:
        return
    body = result.body
    if body.get("x_m") is not None and body.get("y_m") is not None:
        off = ((body["x_m"] - request.x_m) ** 2 + (body["y_m"] - request.y_m) ** 2) ** 0.5
        yield f"At {place(body['x_m'], body['y_m'])}, {length(off)} from where it was asked for, {body.get('measured_at')}"
    for name, value in body.get("parameters", {}).items():
        yield f"{name}: {value:.6g}"
    for name, digest in result.arrays.items():
        yield f"Array {name}: {digest[:12]}"


def _bore_on(history: History, sample_id: str, result: Event | None) -> Iterator[str]:
    """Later decisions that knew of the result."""
    if result is None:
        return
    for e in history.events(kind=kinds.DECISION_MADE, after=result.seq):
        known = e.body.get("asked", {}).get("after", result.seq)
        if e.body["decision"]["sample_id"] == sample_id and known >= result.seq:
            weight = e.body["decision"].get("evidence_weight")
            heard = f"results weighed {weight or 0:.0%}" if result.body["status"] == "ok" else "it was no evidence"
            kept = "" if result.body["status"] == "skipped" else ", and the place was kept away from"
            yield f"Decision {e.subject} (event {e.seq}): {heard}{kept}"


def instrument_account(history: History, instrument_id: str) -> Narrative:
    """The account of all that one instrument did."""
    events = list(history.events(instrument=instrument_id))
    connected = [e for e in events if e.kind == kinds.INSTRUMENT_CONNECTED]
    latest = connected[-1].body if connected else {}
    limits = latest.get("limits", {})
    who = [f"{latest.get('model')}, {latest.get('software')}", *(f"{name}: {value:g}" for name, value in limits.items())]
    notable = [e for e in events if e.kind not in _COUNTED]
    sections = (
        Section("Who it is, and what it may do", tuple(who) if connected else ()),
        Section("What it did", tuple(_counts(events))),
        Section("What else happened", tuple(map(happened, notable[-_LISTED:]))),
    )
    return Narrative(
        "instrument", instrument_id, f"Instrument {instrument_id}", sections, {"limits": limits, "events": len(events)}
    )


_COUNTED = (
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


def _counts(events: list[Event]) -> Iterator[str]:
    scans = [e for e in events if e.kind == kinds.SCAN_RECEIVED]
    samples = sorted({e.body["sample_id"] for e in scans})
    yield f"{counted(len(scans), 'scan')} of {counted(len(samples), 'sample')}" + (f" ({', '.join(samples)})" if samples else "")
    decisions = [e for e in events if e.kind == kinds.DECISION_MADE]
    outcomes = Counter(e.body["decision"]["outcome"].replace("_", " ") for e in decisions)
    asked = sum(len(e.body["decision"]["requests"]) for e in decisions)
    told = ", ".join(f"{n} {what}" for what, n in outcomes.items())
    yield f"{counted(len(decisions), 'decision')}" + (f" ({told})" if told else "") + f"; {counted(asked, 'place')} recommended"
    statuses = Counter(e.body["status"] for e in events if e.kind == kinds.RESULT_RECEIVED)
    yield f"{counted(sum(statuses.values()), 'result')}" + (
        f" ({', '.join(f'{n} {s}' for s, n in statuses.items())})" if statuses else ""
    )
    times = sorted(e.body["seconds"] for e in decisions)
    if times:
        yield f"A decision took {statistics.median(times):.1f} s (median), {number(times[-1], 1)} s at most"


def run_account(history: History) -> Narrative:
    """The account of a run as a whole."""
    events = list(history.events())
    if not events:
        return Narrative("run", "", f"Run {history.run_directory.name}", (Section("", ("Nothing has happened yet",)),))
    started = [e for e in events if e.kind == kinds.RUN_STARTED]
    instruments = sorted({e.body["instrument_id"] for e in events if e.kind == kinds.INSTRUMENT_CONNECTED})
    said = [
        f"{counted(len(events), 'event')}, from {at(events[0].recorded_at)} to {at(events[-1].recorded_at)}",
        f"Agents took it up {counted(len(started), 'time')}; {_unended(events)}",
        f"Instruments: {', '.join(instruments) or 'none'}",
    ]
    notable = [e for e in events if e.kind not in _COUNTED]
    sections = (
        Section("In short", tuple(said)),
        Section("What was done", tuple(_counts(events))),
        *(
            Section(f"Instrument {name}", tuple(_counts([e for e in events if e.body.get("instrument_id") == name])))
            for name in instruments
        ),
        Section("What else happened", tuple(map(happened, notable[-_LISTED:]))),
    )
    name = started[0].subject if started else history.run_directory.name
    kinds_counted = dict(Counter(e.kind for e in events))
    return Narrative(
        "run", name, f"Run {name} in {history.run_directory}", sections, {"kinds": kinds_counted, "head": str(history.head)}
    )


def _unended(events: list[Event]) -> str:
    """How many starts were not followed by a stop: crashes, power cuts, or an agent that runs still."""
    killed, running = 0, False
    for e in events:
        if e.kind == kinds.RUN_STARTED:
            killed, running = killed + running, True
        elif e.kind == kinds.RUN_STOPPED:
            running = False
    now = "; it is running, or was killed" if running else ""
    return f"{killed} of them ended without a farewell (killed, or a power cut){now}"


def event_account(history: History, event: Event) -> Narrative:
    """The account of any other event."""
    said = [happened(event), f"It concerns {event.subject}"]
    owner = event.body.get("instrument_id")
    if owner and owner != event.subject:
        said.append(f"Instrument {owner}")
    if isinstance(scan_id := event.body.get("scan_id"), str) and owner:
        said.append(f"Scan {scan_id} (event {received(history, owner, scan_id).seq})")
    said.append(f"Its hash {event.hash[:16]}... covers it and, through its predecessor's, all events before it")
    body = json.dumps(event.body, indent=2, ensure_ascii=False)
    sections = (Section("What happened", tuple(said)), Section("In full", quoted=body))
    return Narrative(
        "event", str(event.seq), f"Event {event.seq}: {event.kind}", sections, {"event": event.seq, "body": event.body}
    )
